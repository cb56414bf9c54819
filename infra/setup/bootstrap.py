"""Make .venv: Python packages, the Horovod wheel and this project. Called by `make setup`; standard library only.

A finished set-up leaves a stamp in .venv, and the next call returns at once. One that was cut short leaves the stamp's
beginning, and the next call starts .venv afresh (downloads and the Horovod wheel are cached, so that is quick).
"""

import hashlib
import json
import os
import platform
import shutil
import signal
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import horovod_wheel  # noqa: E402
import toolchain  # noqa: E402
from jobs import Jobs  # noqa: E402
from toolchain import SetupError  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(HERE))
CONSTRAINTS = os.path.join(HERE, "constraints.txt")
EXCLUDES = os.path.join(HERE, "excludes.txt")
UNFINISHED = "unfinished"
# Settings of the caller's own environment that would send packages elsewhere or change what is imported.
LEAKS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_CONSTRAINT")

NETWORK = "check the network and pip's settings (index, proxy, certificates), then run make setup again"
BUILD = "see the log; known to do: g++ 9 to 14 and 1.5 GB of memory per core; then run make setup again"


class HorovodFailed(SetupError):
    """The build failed, the packages are whole: the next call may go on in this .venv."""


def cache_folder(env):
    """Return the folder that outlives clones: SIGHTLINE_CACHE, else ~/.cache/sightline."""
    return os.path.abspath(os.path.expanduser(env.get("SIGHTLINE_CACHE") or "~/.cache/sightline"))


def wanted_stamp(root):
    """Return the stamp of a finished set-up: a digest of what it depends on, the place and the Python."""
    import tomllib

    digest = hashlib.sha256()
    setup = os.path.join(root, "infra", "setup")
    for name in sorted(n for n in os.listdir(setup) if n.endswith((".py", ".txt"))):
        with open(os.path.join(setup, name), "rb") as handle:
            digest.update(name.encode() + b"\0" + handle.read() + b"\0")
    with open(os.path.join(root, "pyproject.toml"), "rb") as handle:
        project = tomllib.load(handle)
    parts = {key: project.get(key) for key in ("build-system", "project")}
    digest.update(json.dumps(parts, sort_keys=True).encode())
    return {"digest": digest.hexdigest(), "root": root, "python": platform.python_version()}


def read_stamp(venv):
    """Return the stamp in a .venv: a dict, UNFINISHED, or None where set-up never began there."""
    try:
        with open(os.path.join(venv, ".sightline-setup")) as handle:
            text = handle.read()
    except FileNotFoundError:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return UNFINISHED


def write_stamp(venv, stamp):
    """Put a stamp in place (a dict, or UNFINISHED), whole or not at all."""
    path = os.path.join(venv, ".sightline-setup")
    with open(path + ".partial", "w") as handle:
        handle.write(stamp if stamp == UNFINISHED else json.dumps(stamp, indent=2, sort_keys=True))
    os.replace(path + ".partial", path)


def is_ready(venv, wanted):
    """Return True where `venv` holds the finished set-up that is wanted."""
    return os.path.exists(os.path.join(venv, "bin", "python")) and read_stamp(venv) == wanted


def must_start_afresh(venv, wanted):
    """Return True where an existing .venv cannot be updated in place. Raises SetupError for one not made by set-up."""
    stamp = read_stamp(venv)
    if stamp is None:
        raise SetupError("{} exists and was not made by set-up".format(venv), "move it away, or remove it: make clean")
    alive = os.path.exists(os.path.join(venv, "bin", "python"))
    return not alive or stamp == UNFINISHED or any(stamp.get(key) != wanted[key] for key in ("root", "python"))


def child_environment(env):
    """Return the environment for pip, uv and the build: without leaks, and with pip's index and certificates for uv."""
    child = {name: value for name, value in env.items() if name not in LEAKS}
    for ours, theirs in (("PIP_INDEX_URL", "UV_DEFAULT_INDEX"), ("PIP_CERT", "SSL_CERT_FILE")):
        if env.get(ours):
            child.setdefault(theirs, env[ours])
    child.setdefault("UV_HTTP_TIMEOUT", "180")
    child["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    return child


def say(what, began):
    print("  {:<58} {:6.1f} s".format(what, time.monotonic() - began), flush=True)


def check_machine(env, cache):
    """Check what must be there before any work; return (compiler, CUDA toolkit)."""
    began = time.monotonic()
    toolchain.check_python_parts()
    compiler = toolchain.find_compiler(env)
    toolchain.check_make(env)
    toolchain.check_disk(ROOT, cache)
    toolkit = toolchain.find_toolkit(env)
    say("checks (compiler {}, CUDA toolkit: {})".format(os.path.basename(compiler), toolkit.state), began)
    return compiler, toolkit


def make_venv(venv, wanted, jobs, env):
    """Leave a .venv, old or new, that is marked as unfinished."""
    began = time.monotonic()
    if os.path.lexists(venv) and must_start_afresh(venv, wanted):
        shutil.rmtree(venv)
        say("unfinished or outdated .venv removed", began)
        began = time.monotonic()
    if os.path.exists(venv):
        write_stamp(venv, UNFINISHED)
        return
    os.makedirs(venv)
    write_stamp(venv, UNFINISHED)  # first of all: whatever ends this early, the next call knows the folder for its own
    jobs.run("venv", [sys.executable, "-m", "venv", venv], env, "making the virtual environment")
    say("virtual environment", began)


def install_torch(python, cmake, jobs, env):
    """Install torch, uv and what the Horovod build needs; return (torch's version, its CUDA version or None)."""
    began = time.monotonic()
    wants = ["torch==" + pinned("torch"), "uv"] + horovod_wheel.BUILD_NEEDS + ([] if cmake else ["cmake"])
    jobs.run("torch", [python, "-m", "pip", "install", "-c", CONSTRAINTS] + wants, env, "installing torch", NETWORK)
    ask = "import torch.version as v; print('torch', v.__version__, v.cuda or '')"
    log = jobs.run("torch-version", [python, "-W", "ignore", "-c", ask], env, "importing torch")
    with open(log) as handle:
        words = [line.split() for line in handle if line.startswith("torch ")][-1]
    version, cuda = words[1], (words[2] if len(words) > 2 else None)
    say("torch {}".format(version), began)
    if cuda and not os.path.exists("/dev/nvidiactl"):
        print(
            "  note: a CUDA build of torch, and no GPU here; infra/setup/README.md says how to get the CPU build",
            flush=True,
        )
    return version, cuda


def install_rest(venv, wheels, scratch, jobs, env, horovod):
    """Install the packages and, beside that, build the Horovod wheel where the folder `wheels` has none.

    `horovod` makes the build's (command, environment) for the folder `scratch`.
    """
    began = time.monotonic()
    python = os.path.join(venv, "bin", "python")
    uv = [os.path.join(venv, "bin", "uv"), "pip", "install", "--python", python]
    wheel = horovod_wheel.cached_wheel(wheels)
    built = "Horovod {} built".format(horovod_wheel.VERSION)
    if not wheel:
        print("  installing the packages and building Horovod side by side (2 minutes on 2 cores) ...", flush=True)
    pins = ["-c", CONSTRAINTS, "--excludes", EXCLUDES]
    everything = ["--compile-bytecode"] + pins + ["-r", "pyproject.toml", "--all-extras"]
    waiting = {jobs.start("packages", uv + everything, env): ("packages", "installing the packages", NETWORK)}
    if not wheel:
        command, build_env = horovod(scratch)
        waiting[jobs.start("horovod", command, build_env)] = (built, "building Horovod", BUILD)
    failure = None
    while waiting:
        for job in [job for job in waiting if job.poll() is not None]:
            done, what, remedy = waiting.pop(job)
            try:
                jobs.done(job, what, remedy)
                say(done, began)
            except SetupError as error:
                if done == "packages":
                    raise
                failure = error  # the packages are let through first: then the next call has Horovod alone to do
        time.sleep(0.1)
    if failure:
        raise HorovodFailed(failure.problem, failure.remedy)
    doubt = "remove {}, then run make setup again".format(wheel) if wheel else BUILD
    fresh = not wheel
    wheel = wheel or horovod_wheel.keep(scratch, wheels)
    began = time.monotonic()
    from_wheel = ["--no-deps", "--offline", "--reinstall-package", "horovod", wheel]
    jobs.run("wheel", uv + from_wheel, env, "installing Horovod")
    # A plain path entry: packages that appear in the tree later are importable without another set-up.
    editable = ["--no-deps", "--no-build-isolation", "-C", "editable_mode=compat", "-e", "."]
    jobs.run("project", uv + editable, env, "installing Sightline itself")
    loads = "import horovod.torch as h; assert h.gloo_built(), 'Horovod was built without Gloo'"
    jobs.run("check", [python, "-c", loads], env, "loading Horovod", doubt)
    say("Sightline and Horovod{} installed".format("" if fresh else " (from the cache)"), began)


def install(venv, wanted, jobs, env):
    """Do the whole work, from the checks to the stamp."""
    cache = cache_folder(env)
    os.makedirs(cache, exist_ok=True)
    compiler, toolkit = check_machine(env, cache)
    make_venv(venv, wanted, jobs, env)
    python, cmake = os.path.join(venv, "bin", "python"), toolchain.find_cmake(env)
    torch_version, torch_cuda = install_torch(python, cmake, jobs, env)
    write_stamp(venv, dict(wanted, digest="torch only"))  # where the next line refuses, the next call goes on from here
    flavour = toolchain.horovod_flavour(torch_cuda, toolkit)
    write_stamp(venv, UNFINISHED)

    def horovod(scratch):
        nccl = flavour == "cuda" and toolchain.find_nccl(toolkit.home, env)
        tool = cmake or os.path.join(venv, "bin", "cmake")
        return horovod_wheel.build_command(scratch, env, python, compiler, tool, flavour, toolkit.home, nccl)

    wheels = horovod_wheel.wheel_folder(cache, torch_version, flavour)
    scratch = horovod_wheel.scratch_folder(cache, venv)
    shutil.rmtree(scratch, ignore_errors=True)  # what a killed set-up left; the lock says that nobody is in it
    try:
        install_rest(venv, wheels, scratch, jobs, env, horovod)
    except HorovodFailed:
        write_stamp(venv, dict(wanted, digest="no Horovod"))
        raise
    finally:
        jobs.stop()
        shutil.rmtree(scratch, ignore_errors=True)
    write_stamp(venv, wanted)


def pinned(package):
    """Return the version that the constraints pin for a package."""
    with open(CONSTRAINTS) as handle:
        return next(line.split("==")[1].split()[0] for line in handle if line.startswith(package + "=="))


def main():
    """Run set-up; return the exit code (0 done, 1 failed, 130 interrupted)."""
    complaint = toolchain.wrong_python(sys.version_info, platform.python_implementation())
    if complaint:
        remedy = "install Python 3.11 (pyenv or uv can), then name it: make setup PYTHON=/path/to/python3.11"
        print("setup: {} ({})\n  remedy: {}".format(complaint, sys.executable, remedy), file=sys.stderr)
        return 1
    import fcntl

    began = time.monotonic()
    venv = os.path.join(ROOT, ".venv")
    wanted = wanted_stamp(ROOT)
    if is_ready(venv, wanted):
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    lock = os.open(HERE, os.O_RDONLY)
    jobs = Jobs(os.path.join(ROOT, ".sightline", "logs"), lock, ROOT)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("setup: waiting for another set-up in this folder", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_ready(venv, wanted):
            print("setup: {} (the first time takes a few minutes)".format(venv), flush=True)
            install(venv, wanted, jobs, child_environment(dict(os.environ)))
            say("total", began)
        return 0
    except SetupError as error:
        print("setup: {}\n  remedy: {}".format(error.problem, error.remedy), file=sys.stderr)
        return 1
    except OSError as error:
        remedy = "look at the disk and its permissions, then run make setup again"
        print("setup: {}\n  remedy: {}".format(error, remedy), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nsetup: interrupted; run make setup again", file=sys.stderr)
        return 130
    finally:
        jobs.stop()


if __name__ == "__main__":
    sys.exit(main())
