"""The Horovod wheel: built once per torch, Python, machine and flavour, from its unpatched source, and kept."""

import glob
import hashlib
import os
import platform
import re
import shlex
import shutil
import sys
import tempfile

VERSION = "0.28.1"  # the last release
SDIST = "92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0"  # sha256 of its source archive
BUILD_NEEDS = ["setuptools", "wheel", "packaging", "cloudpickle", "psutil", "pyyaml", "cffi"]

# Horovod asks for C++14, its Gloo and its CUDA kernels for C++11; the headers of torch, of CUDA 13 and of today's
# libstdc++ are C++17, and GCC 13 no longer brings <cstdint> along. A compiler of the same name before the real one
# raises the standard; Horovod's source stays as published. Its sources end in .cc; what nvcc hands over to g++ (.cpp,
# .ii) is preprocessed already and must not be given a header once more.
COMPILER = """#!/bin/sh
n=$# header=
while [ "$n" -gt 0 ]; do
  a=$1; shift; n=$((n - 1))
  case "$a" in -std=*++1[14]) a=-std=c++17 ;; -g) a=-g0 ;; *.cc) header='-include cstdint' ;; esac
  set -- "$@" "$a"
done
exec {compiler} "$@" {also}
"""
# Without this CMake takes up any nvcc it meets, and stops where that toolkit is not whole.
CMAKE_NO_CUDA = """#!/bin/sh
case "$1" in
  --build | --version) exec {cmake} "$@" ;;
  *) exec {cmake} "$@" -DPYTHON_EXECUTABLE:FILEPATH={python} \\
       -DCMAKE_CUDA_COMPILER=NOTFOUND -DCMAKE_DISABLE_FIND_PACKAGE_CUDAToolkit=TRUE ;;
esac
"""
# CMake asks torch for CUDA by `python -c "import torch; ..."`; a CPU build of Horovod wants to hear that there is none.
PYTHON_NO_CUDA = """#!/bin/sh
if [ "$1" = -c ]; then
  code=$2; shift 2
  exec {python} -c "import torch.version; torch.version.cuda = None; $code" "$@"
fi
exec {python} "$@"
"""


def wheel_folder(cache, torch_version, flavour):
    """Return the cache folder for this torch version, Python, machine and flavour ("cpu" | "cuda")."""
    python = "cp{}{}".format(sys.version_info[0], sys.version_info[1])
    name = "torch{}-{}-{}".format(torch_version.replace("+", "-"), python, platform.machine())
    return os.path.join(cache, "wheels", name + ("-cuda" if flavour == "cuda" else ""))


def cached_wheel(folder):
    """Return the wheel in a cache folder, or None."""
    found = sorted(glob.glob(os.path.join(folder, "horovod-{}-*.whl".format(VERSION))))
    return found[0] if found else None


def scratch_folder(cache, venv):
    """Return the folder to build in: in the cache, or in the temporary folder where the cache's path has a space.

    Always the same one for a .venv, so that a set-up finds what a killed one left. Horovod's linker script does not
    survive a space in its path.
    """
    name = hashlib.sha256(venv.encode()).hexdigest()[:16]
    folder = os.path.join(cache, "building", name)
    return os.path.join(tempfile.gettempdir(), "sightline-" + name) if re.search(r"\s", folder) else folder


def jobs(cores, memory_bytes):
    """Return how many compilers to run at once: one per core, with 1.5 GB of memory for each."""
    return max(1, min(cores, int(memory_bytes // 1.5e9)))


def build_command(scratch, base, python, compiler, cmake, flavour, toolkit_home=None, nccl=False):
    """Write the helpers into `scratch`; return (command, environment) that leave one wheel in scratch/out.

    base: the environment to start from; flavour: "cpu" (Gloo) or "cuda" (against toolkit_home, with NCCL if `nccl`).
    """
    tools = os.path.join(scratch, "tools")
    os.makedirs(os.path.dirname(scratch), exist_ok=True)
    os.mkdir(scratch, 0o700)
    os.mkdir(tools)
    os.mkdir(os.path.join(scratch, "tmp"))
    quoted = {"compiler": shlex.quote(compiler), "cmake": shlex.quote(cmake), "python": shlex.quote(python)}
    _script(os.path.join(tools, "g++"), COMPILER.format(also="-w $header", **quoted))
    env = dict(base)
    for name in [n for n in env if n.startswith("HOROVOD_") and n not in ("HOROVOD_NCCL_HOME", "HOROVOD_NCCL_LINK")]:
        del env[name]
    if flavour == "cuda":
        real = shlex.quote(os.path.join(toolkit_home, "bin", "nvcc"))
        nvcc = _script(os.path.join(tools, "nvcc"), COMPILER.format(compiler=real, also="-w"))
        env.update(CUDA_HOME=toolkit_home, CUDAToolkit_ROOT=toolkit_home, CUDACXX=nvcc, HOROVOD_CMAKE=cmake)
        if nccl:
            env["HOROVOD_GPU_OPERATIONS"] = "NCCL"
    else:
        asking = os.path.join(tools, "python-no-cuda")
        _script(asking, PYTHON_NO_CUDA.format(**quoted))
        script = CMAKE_NO_CUDA.format(**dict(quoted, python=shlex.quote(asking)))
        env["HOROVOD_CMAKE"] = _script(os.path.join(tools, "cmake"), script)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    env.update(
        CXX=os.path.join(tools, "g++"),
        MAKEFLAGS="-j{}".format(jobs(os.cpu_count() or 1, memory)),
        CMAKE_POLICY_VERSION_MINIMUM="3.5",  # CMake 4 refuses Gloo's older minimum
        HOROVOD_WITH_PYTORCH="1",
        HOROVOD_WITHOUT_TENSORFLOW="1",
        HOROVOD_WITHOUT_MXNET="1",
        HOROVOD_WITH_GLOO="1",
        HOROVOD_WITHOUT_MPI="1",
        HOROVOD_WITHOUT_NVTX="1",
        HOROVOD_CPU_OPERATIONS="GLOO",
        TMPDIR=os.path.join(scratch, "tmp"),
        PATH=os.path.dirname(python) + os.pathsep + env.get("PATH", ""),
    )
    wanted = os.path.join(scratch, "horovod.txt")
    with open(wanted, "w") as handle:
        handle.write("horovod=={} --hash=sha256:{}\n".format(VERSION, SDIST))
    command = [python, "-m", "pip", "wheel", "-v", "--no-cache-dir", "--no-deps", "--no-build-isolation"]
    command += ["--no-binary", "horovod", "--require-hashes", "-w", os.path.join(scratch, "out"), "-r", wanted]
    return command, env


def keep(scratch, folder):
    """Move the built wheel into the cache, whole or not at all; return its path."""
    built = glob.glob(os.path.join(scratch, "out", "horovod-*.whl"))[0]
    os.makedirs(folder, exist_ok=True)
    final = os.path.join(folder, os.path.basename(built))
    partial = "{}.{}.partial".format(final, os.getpid())
    shutil.copyfile(built, partial)
    os.replace(partial, final)
    return final


def first_errors(log, count=6):
    """Return the first lines of a build log that say what went wrong, or its last lines."""
    with open(log, errors="replace") as handle:
        lines = [line.strip() for line in handle if line.strip() and not line.lstrip().startswith('"')]  # quoted code
    telling = re.compile(r"(?i)\berror: \S|\bCMake Error\b|\bld: |No space left|\bKilled\b|\*\*\* .*Error \d")
    return [line[:300] for line in lines if telling.search(line)][:count] or [line[:300] for line in lines[-count:]]


def _script(path, text):
    with open(path, "w") as handle:
        handle.write(text)
    os.chmod(path, 0o755)
    return path
