"""What the machine brings: C++ compiler, make, CMake, CUDA toolkit, disk, Python headers. Standard library only."""

import os
import platform
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections import namedtuple

MIN_COMPILER = 9  # torch's headers are C++17 and use what GCC 8 has not
MIN_CMAKE = (3, 13)  # Horovod's own floor
NEED_GB = 6.0

Toolkit = namedtuple("Toolkit", "state home missing")  # state: "none" | "half" | "whole"


class SetupError(Exception):
    """Set-up cannot go on. `problem` says what and where, `remedy` what to do about it."""

    def __init__(self, problem, remedy=""):
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


def wrong_python(version, implementation):
    """Return the complaint about this interpreter, or "" where it is CPython 3.11."""
    if tuple(version[:2]) == (3, 11) and implementation == "CPython":
        return ""
    return "Sightline needs CPython 3.11, this is {} {}.{}".format(implementation, version[0], version[1])


def check_python_parts():
    """Raise SetupError where this Python cannot make virtual environments or compile extensions."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        raise SetupError(
            "this Python has no venv module", "install it (Debian, Ubuntu: apt-get install python3.11-venv)"
        ) from None
    header = os.path.join(sysconfig.get_path("include"), "Python.h")
    if not os.path.exists(header):
        raise SetupError(
            "Python's C headers are missing ({})".format(header),
            "install them (Debian, Ubuntu: apt-get install python3.11-dev)",
        )


def find_compiler(env):
    """Return the path of a C++ compiler that compiles C++17 (CXX, else g++, c++, clang++ on PATH)."""
    remedy = "install one (Debian, Ubuntu: apt-get install g++ make), or set CXX to its path"
    names = [env["CXX"]] if env.get("CXX") else ["g++", "c++", "clang++"]
    found = [path for path in (shutil.which(name, path=env.get("PATH", "")) for name in names) if path]
    if not found:
        raise SetupError("no C++ compiler: {} not found on PATH".format(" or ".join(names)), remedy)
    compiler = found[0]
    reply = subprocess.run([compiler, "-dumpversion"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    major = re.match(r"\s*(\d+)", reply.stdout)
    if not major or int(major.group(1)) < MIN_COMPILER:
        what = "{} is version {}".format(compiler, reply.stdout.strip()[:40] or "unknown")
        raise SetupError("{}, Horovod needs {} or newer".format(what, MIN_COMPILER), remedy)
    with tempfile.TemporaryDirectory() as scratch:
        source = os.path.join(scratch, "probe.cc")
        with open(source, "w") as handle:
            handle.write("#include <cstdint>\n#include <optional>\nstd::optional<std::int64_t> x;\nint main() {}\n")
        command = [compiler, "-std=c++17", "-o", os.path.join(scratch, "probe"), source]
        probe = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if probe.returncode:
            first = (probe.stdout.strip().splitlines() or ["no message"])[0]
            raise SetupError("{} cannot compile a C++17 program: {}".format(compiler, first), remedy)
    return compiler


def check_make(env):
    """Raise SetupError where there is no `make` on PATH (CMake's generator needs it)."""
    if not shutil.which("make", path=env.get("PATH", "")):
        raise SetupError("no `make` on PATH", "install it (Debian, Ubuntu: apt-get install make)")


def find_cmake(env):
    """Return the path of a CMake of 3.13 or newer on PATH, or None."""
    path = shutil.which("cmake", path=env.get("PATH", ""))
    if not path:
        return None
    reply = subprocess.run([path, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    version = re.search(r"version (\d+)\.(\d+)", reply.stdout)
    good = reply.returncode == 0 and version and (int(version.group(1)), int(version.group(2))) >= MIN_CMAKE
    return path if good else None


def check_disk(*folders):
    """Raise SetupError where a folder's file system has less than NEED_GB free."""
    for folder in folders:
        free = shutil.disk_usage(folder).free / 1e9
        if free < NEED_GB:
            raise SetupError(
                "{:.1f} GB free at {}, set-up needs {:.0f} GB".format(free, folder, NEED_GB),
                "free some, or move the caches with SIGHTLINE_CACHE, PIP_CACHE_DIR and UV_CACHE_DIR",
            )


def _missing_parts(home):
    """Return the parts of a CUDA toolkit that `home` lacks, of: nvcc, libcudart, headers."""

    def some(patterns, name):
        return any(os.path.exists(os.path.join(home, pattern, name)) for pattern in patterns)

    machine = platform.machine()
    lib = ["lib64", "lib", "lib/{}-linux-gnu".format(machine), "targets/{}-linux/lib".format(machine)]
    include = ["include", "targets/{}-linux/include".format(machine)]
    parts = {
        "nvcc": os.access(os.path.join(home, "bin", "nvcc"), os.X_OK),
        "libcudart.so": some(lib, "libcudart.so"),
        "cuda_runtime.h": some(include, "cuda_runtime.h"),
    }
    return tuple(name for name, there in parts.items() if not there)


def find_toolkit(env, default="/usr/local/cuda"):
    """Return the CUDA Toolkit (state, home, missing parts) in torch's order of search.

    CUDA_HOME or CUDA_PATH decides alone, and set to nothing it means "no toolkit". Otherwise the folder above the nvcc
    on PATH, then what that nvcc is a link to, then `default`: the first that is whole, else the first that exists.
    """
    named = env.get("CUDA_HOME") or env.get("CUDA_PATH")
    if named:
        candidates = [named]
    elif "CUDA_HOME" in env or "CUDA_PATH" in env:
        candidates = []
    else:
        nvcc = shutil.which("nvcc", path=env.get("PATH", ""))
        above = [os.path.dirname(os.path.dirname(path)) for path in (nvcc, os.path.realpath(nvcc))] if nvcc else []
        candidates = above + ([default] if os.path.exists(default) else [])
    states = []
    for home in candidates:
        missing = _missing_parts(home)
        states.append(Toolkit("half" if missing else "whole", home, missing))
    whole = [toolkit for toolkit in states if toolkit.state == "whole"]
    return (whole or states or [Toolkit("none", None, ())])[0]


def find_nccl(home, env):
    """Return True where NCCL's header and a library to link are in the toolkit, HOROVOD_NCCL_HOME or the system."""
    machine = platform.machine()
    for root in [env.get("HOROVOD_NCCL_HOME"), home, "/usr", "/usr/local"]:
        if root and os.path.exists(os.path.join(root, "include", "nccl.h")):
            for lib in ["lib", "lib64", "lib/{}-linux-gnu".format(machine)]:
                if any(os.path.exists(os.path.join(root, lib, n)) for n in ("libnccl.so", "libnccl_static.a")):
                    return True
    return False


def horovod_flavour(torch_cuda, toolkit):
    """Return "cuda" or "cpu": the Horovod build that fits this torch and this toolkit.

    torch_cuda is torch.version.cuda (None for a CPU build). A CPU torch never needs the toolkit, whatever its state.
    Raises SetupError for a CUDA torch beside half a toolkit: CMake would fail minutes later, with a worse message.
    """
    if torch_cuda is None or toolkit.state == "none":
        return "cpu"
    if toolkit.state == "whole":
        return "cuda"
    raise SetupError(
        "torch is a CUDA {} build, but the CUDA toolkit at {} is incomplete: no {}".format(
            torch_cuda, toolkit.home, ", no ".join(toolkit.missing)
        ),
        "install the whole toolkit and set CUDA_HOME to it; or build Horovod for CPUs only: make setup CUDA_HOME= ; "
        "or, where there is no GPU, let pip find a CPU build of torch (infra/setup/README.md)",
    )
