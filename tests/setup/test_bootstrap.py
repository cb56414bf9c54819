"""Set-up: what it asks of the machine, how it builds Horovod, when it works again and when it need not."""

import fcntl
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETUP = ROOT / "infra" / "setup"
sys.path.insert(0, str(SETUP))

import bootstrap  # noqa: E402
import horovod_wheel  # noqa: E402
import toolchain  # noqa: E402
from jobs import Jobs  # noqa: E402
from toolchain import SetupError, Toolkit  # noqa: E402

WANTED = {"digest": "d", "root": "/somewhere", "python": "3.11.7"}


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def toolkit(home: Path, *parts: str) -> Path:
    """A made-up CUDA toolkit folder with some of its parts."""
    for part in parts:
        script(home / part, "")
    return home


WHOLE = ("bin/nvcc", "lib64/libcudart.so", "include/cuda_runtime.h")


def bare_copy(tmp_path: Path) -> Path:
    """The files of set-up in a tree of their own."""
    tree = tmp_path / "tree"
    shutil.copytree(SETUP, tree / "infra" / "setup", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    return tree


def run_setup(tree: Path, python: str = sys.executable, **env: str) -> subprocess.CompletedProcess:
    command = [python, str(tree / "infra" / "setup" / "bootstrap.py")]
    home = {"HOME": str(tree), "PATH": str(tree / "empty")}
    return subprocess.run(command, env=home | env, capture_output=True, text=True, timeout=60)


# ---- the CUDA toolkit


@pytest.mark.parametrize("lib", ["lib64", "lib", f"targets/{platform.machine()}-linux/lib"])
def test_a_whole_toolkit_is_seen_in_each_layout(tmp_path, lib):
    home = toolkit(tmp_path / "cuda", "bin/nvcc", f"{lib}/libcudart.so", "include/cuda_runtime.h")
    assert toolchain.find_toolkit({"CUDA_HOME": str(home)}) == Toolkit("whole", str(home), ())


@pytest.mark.parametrize("missing", WHOLE)
def test_half_a_toolkit_names_what_it_lacks(tmp_path, missing):
    home = toolkit(tmp_path / "cuda", *(part for part in WHOLE if part != missing))
    found = toolchain.find_toolkit({"CUDA_PATH": str(home)})
    assert (found.state, found.missing) == ("half", (Path(missing).name,))


def test_no_toolkit(tmp_path):
    assert toolchain.find_toolkit({"PATH": str(tmp_path)}, default=str(tmp_path / "cuda")).state == "none"


def test_cuda_home_set_to_nothing_means_no_toolkit(tmp_path):
    home = toolkit(tmp_path / "cuda", *WHOLE)
    env = {"CUDA_HOME": "", "PATH": str(home / "bin")}
    assert toolchain.find_toolkit(env, default=str(home)).state == "none"


def test_a_named_half_toolkit_is_not_replaced_by_a_whole_one(tmp_path):
    half, whole = toolkit(tmp_path / "half", "bin/nvcc"), toolkit(tmp_path / "whole", *WHOLE)
    assert toolchain.find_toolkit({"CUDA_HOME": str(half)}, default=str(whole)).home == str(half)


def test_an_nvcc_launcher_on_path_leads_to_the_whole_toolkit_beside_it(tmp_path):
    launcher, whole = toolkit(tmp_path / "local", "bin/nvcc"), toolkit(tmp_path / "cuda", *WHOLE)
    found = toolchain.find_toolkit({"PATH": str(launcher / "bin")}, default=str(whole))
    assert (found.state, found.home) == ("whole", str(whole))


def test_a_linked_nvcc_on_path_leads_to_its_toolkit(tmp_path):
    whole = toolkit(tmp_path / "cuda", *WHOLE)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvcc").symlink_to(whole / "bin" / "nvcc")
    found = toolchain.find_toolkit({"PATH": str(tmp_path / "bin")}, default=str(tmp_path / "none"))
    assert (found.state, found.home) == ("whole", str(whole))


@pytest.mark.parametrize(
    "torch_cuda, state, flavour",
    [
        (None, "none", "cpu"),
        (None, "half", "cpu"),
        (None, "whole", "cpu"),
        ("13.0", "none", "cpu"),
        ("13.0", "whole", "cuda"),
    ],
)
def test_the_build_that_fits_torch_and_toolkit(torch_cuda, state, flavour):
    assert toolchain.horovod_flavour(torch_cuda, Toolkit(state, "/cuda", ())) == flavour


def test_half_a_toolkit_beside_a_cuda_torch_is_refused_with_the_ways_out():
    with pytest.raises(SetupError) as caught:
        toolchain.horovod_flavour("13.0", Toolkit("half", "/opt/cuda", ("libcudart.so",)))
    assert "/opt/cuda" in caught.value.problem and "libcudart.so" in caught.value.problem
    assert "CUDA_HOME= " in caught.value.remedy and "whole toolkit" in caught.value.remedy


def test_nccl_needs_header_and_library(tmp_path):
    home = toolkit(tmp_path / "cuda", *WHOLE, "include/nccl.h")
    before = toolchain.find_nccl(str(home), {})
    toolkit(home, "lib/libnccl.so")
    assert toolchain.find_nccl(str(home), {})
    assert not before or os.path.exists("/usr/include/nccl.h")


# ---- compiler, make, Python


def test_the_machines_compiler_will_do():
    assert os.access(toolchain.find_compiler(dict(os.environ)), os.X_OK)


def test_no_compiler(tmp_path):
    with pytest.raises(SetupError, match="no C.. compiler") as caught:
        toolchain.find_compiler({"PATH": str(tmp_path)})
    assert "apt-get install g++" in caught.value.remedy


def test_an_old_compiler_is_refused_by_its_version(tmp_path):
    script(tmp_path / "g++", "echo 7.5.0")
    with pytest.raises(SetupError, match="version 7.5.0, Horovod needs 9"):
        toolchain.find_compiler({"PATH": str(tmp_path)})


def test_a_compiler_that_cannot_compile_is_refused_with_its_own_words(tmp_path):
    script(
        tmp_path / "g++", 'case "$1" in -dumpversion) echo 12 ;; *) echo "cstdint: No such file" >&2; exit 1 ;; esac'
    )
    with pytest.raises(SetupError, match="cstdint: No such file"):
        toolchain.find_compiler({"PATH": str(tmp_path)})


def test_no_make(tmp_path):
    with pytest.raises(SetupError, match="no `make`"):
        toolchain.check_make({"PATH": str(tmp_path)})


@pytest.mark.parametrize("version, usable", [("3.12.9", False), ("3.13.0", True), ("3.9.1", False), ("4.4.4", True)])
def test_cmake_from_3_13_on(tmp_path, version, usable):
    path = script(tmp_path / "cmake", f"echo cmake version {version}")
    assert toolchain.find_cmake({"PATH": str(tmp_path)}) == (str(path) if usable else None)


def test_too_little_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(toolchain, "NEED_GB", shutil.disk_usage(tmp_path).total)
    with pytest.raises(SetupError, match="GB free at"):
        toolchain.check_disk(str(tmp_path))


def other_pythons() -> list[str]:
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [str(path) for minor in (8, 9, 10, 12, 13, 14) for path in versions.glob(f"3.{minor}.*/bin/python")]
    on_path = [shutil.which(f"python3.{minor}", path="/usr/local/bin:/usr/bin") for minor in (8, 9, 10, 12, 13, 14)]
    return found + [path for path in on_path if path]


def test_another_python_gets_one_clear_message(tmp_path):
    pythons = other_pythons()
    if not pythons:
        pytest.skip("no other Python on this machine")
    for python in pythons:
        reply = run_setup(bare_copy(tmp_path / Path(python).parts[-3]), python)
        assert reply.returncode == 1
        assert "needs CPython 3.11, this is CPython 3." in reply.stderr and "make setup PYTHON=" in reply.stderr
        assert "Traceback" not in reply.stderr and len(reply.stderr.splitlines()) == 2


@pytest.mark.parametrize("version, name", [((3, 10, 9), "CPython"), ((3, 12, 0), "CPython"), ((3, 11, 9), "PyPy")])
def test_wrong_pythons(version, name):
    assert toolchain.wrong_python(version, name)


def test_the_right_python():
    assert toolchain.wrong_python((3, 11, 0), "CPython") == ""


def test_no_compiler_ends_set_up_before_any_work(tmp_path):
    tree = bare_copy(tmp_path)
    reply = run_setup(tree)
    assert reply.returncode == 1 and not (tree / ".venv").exists()
    assert "no C++ compiler" in reply.stderr and "remedy: " in reply.stderr and "Traceback" not in reply.stderr


# ---- the Horovod wheel


def test_the_compiler_helper_raises_the_standard_and_keeps_every_other_argument(tmp_path):
    real = script(tmp_path / "real g++", 'for a do echo "$a"; done')
    command, env = horovod_wheel.build_command(str(tmp_path / "scratch"), {}, sys.executable, str(real), "cmake", "cpu")
    given = ["-g", "-std=gnu++14", "-std=c++11", "-std=c++20", "-DA=a b", "x.cc", "-O2"]
    reply = subprocess.run([env["CXX"], *given], capture_output=True, text=True, check=True).stdout.splitlines()
    expected = ["-g0", "-std=c++17", "-std=c++17", "-std=c++20", "-DA=a b", "x.cc", "-O2", "-w", "-include", "cstdint"]
    assert reply == expected
    preprocessed = subprocess.run([env["CXX"], "-c", "x.cudafe1.cpp"], capture_output=True, text=True, check=True)
    assert preprocessed.stdout.splitlines() == ["-c", "x.cudafe1.cpp", "-w"]


def test_the_cpu_build_hides_cuda_from_cmake_and_from_torch(tmp_path):
    script(tmp_path / "torch" / "__init__.py", "")
    (tmp_path / "torch" / "version.py").write_text("cuda = '13.0'\n")
    cmake = script(tmp_path / "cmake", 'for a do echo "$a"; done')
    base = {"HOROVOD_GPU_OPERATIONS": "NCCL", "CUDA_HOME": "/opt/half"}
    command, env = horovod_wheel.build_command(str(tmp_path / "s"), base, sys.executable, "g++", str(cmake), "cpu")
    assert "HOROVOD_GPU_OPERATIONS" not in env
    configure = subprocess.run([env["HOROVOD_CMAKE"], "/source"], capture_output=True, text=True).stdout.splitlines()
    assert "-DCMAKE_CUDA_COMPILER=NOTFOUND" in configure
    assert "-DCMAKE_DISABLE_FIND_PACKAGE_CUDAToolkit=TRUE" in configure
    build = subprocess.run([env["HOROVOD_CMAKE"], "--build", "."], capture_output=True, text=True).stdout.splitlines()
    assert build == ["--build", "."]
    asked = next(line for line in configure if line.startswith("-DPYTHON_EXECUTABLE")).partition("=")[2]
    question = [asked, "-c", "import torch; print(torch.version.cuda)"]
    reply = subprocess.run(question, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    assert reply.stdout == "None\n", reply.stderr


def test_the_cuda_build_raises_nvccs_standard_and_takes_nccl_where_it_is(tmp_path):
    home = tmp_path / "cuda"
    script(home / "bin" / "nvcc", 'for a do echo "$a"; done')
    arguments = (sys.executable, "g++", "cmake", "cuda", str(home))
    _, gloo = horovod_wheel.build_command(str(tmp_path / "a"), {}, *arguments, False)
    _, nccl = horovod_wheel.build_command(str(tmp_path / "b"), {}, *arguments, True)
    assert "HOROVOD_GPU_OPERATIONS" not in gloo and nccl["HOROVOD_GPU_OPERATIONS"] == "NCCL"
    assert gloo["CUDA_HOME"] == str(home) and gloo["HOROVOD_CMAKE"] == "cmake"
    reply = subprocess.run([gloo["CUDACXX"], "-std=c++11", "kernels.cu"], capture_output=True, text=True, check=True)
    assert reply.stdout.splitlines() == ["-std=c++17", "kernels.cu", "-w"]


def test_horovod_is_built_where_no_path_has_a_space():
    assert horovod_wheel.scratch_folder("/home/a/.cache", "/x/.venv").startswith("/home/a/.cache/building/")
    assert " " not in horovod_wheel.scratch_folder("/home/a b/.cache", "/x/.venv")


def test_the_cache_keeps_torch_python_machine_and_flavour_apart():
    names = {horovod_wheel.wheel_folder("/c", v, f) for v in ("2.13.0", "2.13.0+cpu") for f in ("cpu", "cuda")}
    assert len(names) == 4
    assert all(f"cp311-{platform.machine()}" in name and "+" not in name for name in names)


def test_a_wheel_is_in_the_cache_whole_or_not_at_all(tmp_path, monkeypatch):
    built = tmp_path / "scratch" / "out" / f"horovod-{horovod_wheel.VERSION}-cp311-cp311-linux_x86_64.whl"
    built.parent.mkdir(parents=True)
    built.write_bytes(b"wheel")
    folder = str(tmp_path / "cache")

    def disk_full(source, target):
        Path(target).write_bytes(b"wh")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(horovod_wheel.shutil, "copyfile", disk_full)
        with pytest.raises(OSError):
            horovod_wheel.keep(str(tmp_path / "scratch"), folder)
    assert horovod_wheel.cached_wheel(folder) is None
    kept = horovod_wheel.keep(str(tmp_path / "scratch"), folder)
    assert horovod_wheel.cached_wheel(folder) == kept and Path(kept).read_bytes() == b"wheel"


@pytest.mark.parametrize("cores, gigabytes, expected", [(2, 8, 2), (16, 6, 4), (4, 1, 1)])
def test_compilers_at_once(cores, gigabytes, expected):
    assert horovod_wheel.jobs(cores, gigabytes * 1e9) == expected


def test_the_first_errors_of_a_log(tmp_path):
    log = tmp_path / "log"
    said = ["a.cc:3: error: no member", "/usr/bin/ld: cannot open it", "CMake Error at x", "make: *** [x] Error 2"]
    log.write_text("\nfine\nexcept ImportError as error:\n".join(said) + "\nlast\n")
    assert horovod_wheel.first_errors(log) == said
    log.write_text("\n".join(f"line {i}" for i in range(20)))
    assert horovod_wheel.first_errors(log, 2) == ["line 18", "line 19"]


def test_the_wheel_that_is_installed_runs_an_allreduce():
    code = "import torch, horovod.torch as h; h.init(); print(h.allreduce(torch.ones(3), op=h.Sum).tolist(), h.size())"
    reply = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120)
    assert reply.stdout.strip().endswith("[1.0, 1.0, 1.0] 1"), reply.stderr


# ---- jobs


def lock_file(tmp_path):
    return os.open(tmp_path, os.O_RDONLY)


def test_a_failed_job_shows_its_first_errors_its_log_and_a_remedy(tmp_path):
    jobs = Jobs(str(tmp_path / "logs"), lock_file(tmp_path), str(tmp_path))
    with pytest.raises(SetupError) as caught:
        jobs.run("x", ["/bin/sh", "-c", "echo 'b.cc:1: fatal error: q.h'; exit 3"], {}, "building x", "do this")
    assert "building x failed" in caught.value.problem and "b.cc:1: fatal error: q.h" in caught.value.problem
    assert str(tmp_path / "logs" / "setup-x.log") in caught.value.problem and caught.value.remedy == "do this"


def test_a_full_disk_is_named_as_such(tmp_path):
    jobs = Jobs(str(tmp_path / "logs"), lock_file(tmp_path), str(tmp_path))
    with pytest.raises(SetupError) as caught:
        jobs.run("x", ["/bin/sh", "-c", "echo 'write: No space left on device'; exit 1"], {}, "installing")
    assert "disk" in caught.value.remedy


def test_stopping_ends_children_of_children(tmp_path):
    jobs = Jobs(str(tmp_path / "logs"), lock_file(tmp_path), str(tmp_path))
    job = jobs.start("x", ["/bin/sh", "-c", "sleep 60 & echo $!; wait"], {"PATH": os.environ["PATH"]})
    while not (text := Path(job.log).read_text().strip()):
        time.sleep(0.02)
    jobs.stop()
    assert job.returncode == -signal.SIGTERM
    deadline = time.monotonic() + 5
    while _running(int(text)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _running(int(text))


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# ---- stamps: when there is work


def test_a_stamp_is_read_back(tmp_path):
    assert bootstrap.read_stamp(str(tmp_path)) is None
    bootstrap.write_stamp(str(tmp_path), bootstrap.UNFINISHED)
    assert bootstrap.read_stamp(str(tmp_path)) == bootstrap.UNFINISHED
    bootstrap.write_stamp(str(tmp_path), WANTED)
    assert bootstrap.read_stamp(str(tmp_path)) == WANTED


@pytest.mark.parametrize(
    "stamp, ready, afresh",
    [
        (WANTED, True, False),
        (WANTED | {"digest": "older"}, False, False),  # other pins: updated in place
        (WANTED | {"root": "/moved"}, False, True),  # scripts in .venv/bin name the old place
        (WANTED | {"python": "3.11.6"}, False, True),
        (bootstrap.UNFINISHED, False, True),
    ],
)
def test_what_a_stamp_leads_to(tmp_path, stamp, ready, afresh):
    script(tmp_path / "bin" / "python", "")
    bootstrap.write_stamp(str(tmp_path), stamp)
    assert bootstrap.is_ready(str(tmp_path), WANTED) is ready
    assert bootstrap.must_start_afresh(str(tmp_path), WANTED) is afresh


def test_a_venv_whose_python_is_gone_is_made_afresh(tmp_path):
    bootstrap.write_stamp(str(tmp_path), WANTED)
    assert not bootstrap.is_ready(str(tmp_path), WANTED)
    assert bootstrap.must_start_afresh(str(tmp_path), WANTED)


def test_someone_elses_venv_is_left_alone(tmp_path):
    tree = bare_copy(tmp_path)
    mine = script(tree / ".venv" / "mine", "")
    with pytest.raises(SetupError, match="was not made by set-up"):
        bootstrap.must_start_afresh(str(tree / ".venv"), WANTED)
    assert mine.exists()


def test_the_stamp_follows_pins_dependencies_and_set_up_itself_but_not_tool_settings(tmp_path):
    tree = bare_copy(tmp_path)
    before = bootstrap.wanted_stamp(str(tree))
    project = (tree / "pyproject.toml").read_text()
    (tree / "pyproject.toml").write_text(project.replace("line-length = 120", "line-length = 99"))
    assert bootstrap.wanted_stamp(str(tree)) == before
    (tree / "pyproject.toml").write_text(project.replace('"hyperopt"', '"hyperopt>=0.3"'))
    assert bootstrap.wanted_stamp(str(tree)) != before
    (tree / "pyproject.toml").write_text(project)
    for name in ("constraints.txt", "excludes.txt", "bootstrap.py", "horovod_wheel.py"):
        text = (tree / "infra" / "setup" / name).read_text()
        (tree / "infra" / "setup" / name).write_text(text + "\n# changed\n")
        assert bootstrap.wanted_stamp(str(tree)) != before
        (tree / "infra" / "setup" / name).write_text(text)
    assert bootstrap.wanted_stamp(str(tree)) == before


def test_a_second_set_up_returns_within_two_seconds_and_says_nothing():
    assert bootstrap.is_ready(str(ROOT / ".venv"), bootstrap.wanted_stamp(str(ROOT))), "run `make setup` first"
    began = time.monotonic()
    reply = subprocess.run([sys.executable, str(SETUP / "bootstrap.py")], capture_output=True, text=True)
    assert (reply.returncode, reply.stdout, reply.stderr) == (0, "", "")
    assert time.monotonic() - began < 2


def test_two_set_ups_in_one_folder_take_turns(tmp_path):
    tree = bare_copy(tmp_path)
    lock = os.open(tree / "infra" / "setup", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    command = [sys.executable, "-u", str(tree / "infra" / "setup" / "bootstrap.py")]
    env = {"HOME": str(tree), "PATH": str(tree)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as second:
        assert "waiting for another set-up" in second.stdout.readline()
        assert second.poll() is None
        os.close(lock)
        assert "no C++ compiler" in second.communicate(timeout=30)[1]


# ---- the environment that set-up made


def test_pip_settings_reach_uv_and_leaks_do_not():
    env = bootstrap.child_environment({"PIP_INDEX_URL": "https://index", "PYTHONPATH": "/x", "PIP_USER": "1", "A": "b"})
    assert env["UV_DEFAULT_INDEX"] == "https://index" and env["A"] == "b"
    assert "PYTHONPATH" not in env and "PIP_USER" not in env


def pins() -> dict[str, str]:
    lines = (line.split("#")[0].strip() for line in (SETUP / "constraints.txt").read_text().splitlines())
    return dict(line.split("==") for line in lines if line)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_packages_step_hands_uv_the_pins_and_what_to_leave_out(tmp_path):
    class Started(Exception):
        pass

    class Recorder:
        def start(self, name, command, env):
            raise Started(name, command)

    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / f"horovod-{horovod_wheel.VERSION}-cp311-cp311-linux_x86_64.whl").touch()
    with pytest.raises(Started) as caught:
        bootstrap.install_rest(str(tmp_path), str(wheels), str(tmp_path / "scratch"), Recorder(), {}, None)
    name, command = caught.value.args
    given = dict(zip(command, command[1:], strict=False))
    assert (name, given["-c"]) == ("packages", str(SETUP / "constraints.txt"))
    assert given["--excludes"] == str(SETUP / "excludes.txt") and "--all-extras" in command


def test_uv_leaves_out_what_is_excluded_and_nothing_else(tmp_path):
    for name, needs in (("asks", ["opencv-python", "brings"]), ("brings", []), ("opencv_python", [])):
        about = f"{name}-1.dist-info"
        wants = "".join(f"Requires-Dist: {need}\n" for need in needs)
        with zipfile.ZipFile(tmp_path / f"{name}-1-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{wants}")
            wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{about}/RECORD", "")
    ask = [Path(sys.executable).parent / "uv", "pip", "install", "--python", sys.executable, "--dry-run", "--no-config"]
    ask += ["--no-cache", "--no-index", "--find-links", tmp_path, "asks"]

    def would(*excludes: str) -> list[str]:
        env = {"HOME": str(tmp_path)}
        reply = subprocess.run([*ask, *excludes], env=env, capture_output=True, text=True, timeout=60)
        return sorted(re.findall(r"^ \+ (.+)==1$", reply.stderr, re.MULTILINE))

    assert would() == ["asks", "brings", "opencv-python"]
    assert would("--excludes", bootstrap.EXCLUDES) == ["asks", "brings"]


def test_one_opencv_is_installed():
    found = {normal(d.name) for d in metadata.distributions() if normal(d.name).startswith("opencv")}
    assert found == {"opencv-python-headless"}


def test_what_is_installed_is_what_is_pinned():
    own = {"sightline", "horovod", "pip"}
    installed = {normal(d.name): d.version.split("+")[0] for d in metadata.distributions() if normal(d.name) not in own}
    cuda = ("nvidia-", "cuda-", "triton")  # a CUDA torch brings these, at versions it pins itself
    strays = {n: v for n, v in installed.items() if pins().get(n) != v and not n.startswith(cuda)}
    assert not strays, f"not as pinned in infra/setup/constraints.txt: {strays}"


def test_every_extra_is_pinned_and_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + sum(project["optional-dependencies"].values(), [])
    names = {normal(re.match(r"[\w.-]+", requirement).group()) for requirement in wanted}
    assert names <= set(pins())
    assert all(metadata.version(name) for name in names)
