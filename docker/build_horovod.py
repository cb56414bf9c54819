"""Builds the Horovod wheel of the image `train`, for the torch of the Python that runs it: build_horovod.py OUT CACHE.

For CPUs, over Gloo, where torch is a CPU build or no CUDA toolkit is mounted at /toolkit; else for CUDA, over the NCCL
that torch brings, so that there is one NCCL in the process. Standard library and infra/setup (on PYTHONPATH) only.
"""

import glob
import os
import shutil
import subprocess
import sys
import sysconfig

import horovod_wheel
import toolchain

TOOLKIT = "/toolkit"  # the root of a CUDA image, or nothing


def toolkit_home(root):
    """Return the CUDA toolkit's folder in a CUDA image mounted at `root`: the newest of its versions, or ""."""
    homes = glob.glob(os.path.join(root, "usr", "local", "cuda-*.*"))
    numbered = [([int(part) for part in os.path.basename(home)[5:].split(".")], home) for home in homes]
    return max(numbered)[1] if numbered else ""


def link_nccl(packages, folder):
    """Make `folder` look like an installed NCCL, of the wheel that torch brought into `packages`; return it, or ""."""
    header = os.path.join(packages, "nvidia", "nccl", "include", "nccl.h")
    libraries = sorted(glob.glob(os.path.join(packages, "nvidia", "nccl", "lib", "libnccl.so.*")))
    if not os.path.exists(header) or not libraries:
        return ""
    for part in ("include", "lib"):
        os.makedirs(os.path.join(folder, part))
    for source in glob.glob(os.path.join(os.path.dirname(header), "*.h")):
        os.symlink(source, os.path.join(folder, "include", os.path.basename(source)))
    os.symlink(libraries[-1], os.path.join(folder, "lib", "libnccl.so"))
    return folder


def plan(torch_cuda, root, packages, folder, env):
    """Return (flavour, toolkit's folder, environment with HOROVOD_NCCL_HOME where there is an NCCL).

    torch_cuda: torch.version.cuda; root: where a CUDA image is mounted; packages: site-packages; folder: for links.
    Raises toolchain.SetupError for a CUDA torch beside half a toolkit.
    """
    home = toolkit_home(root)
    flavour = toolchain.horovod_flavour(torch_cuda, toolchain.find_toolkit(dict(env, CUDA_HOME=home)))
    env = dict(env)
    if flavour == "cuda":
        nccl = link_nccl(packages, folder)
        if nccl:
            env["HOROVOD_NCCL_HOME"] = nccl
    return flavour, home, env


def main():
    """Leave one wheel in OUT, from CACHE where it holds one for this torch; return the exit code."""
    import torch

    out, cache = sys.argv[1:]
    scratch = os.path.join(cache, "building")
    shutil.rmtree(scratch, ignore_errors=True)
    packages = sysconfig.get_path("purelib")
    flavour, home, env = plan(torch.version.cuda, TOOLKIT, packages, "/tmp/nccl", os.environ)
    print(f"Horovod {horovod_wheel.VERSION} for {flavour}, torch {torch.__version__}", flush=True)
    folder = horovod_wheel.wheel_folder(cache, torch.__version__, flavour)
    if not horovod_wheel.cached_wheel(folder):
        nccl = flavour == "cuda" and toolchain.find_nccl(home, env)
        compiler, cmake = toolchain.find_compiler(env), toolchain.find_cmake(env)
        command, env = horovod_wheel.build_command(scratch, env, sys.executable, compiler, cmake, flavour, home, nccl)
        log = os.path.join(cache, "horovod.log")
        with open(log, "w") as handle:
            status = subprocess.call(command, env=env, stdout=handle, stderr=subprocess.STDOUT)
        if status:
            print("building Horovod failed:\n  " + "\n  ".join(horovod_wheel.first_errors(log)), file=sys.stderr)
            return 1
        horovod_wheel.keep(scratch, folder)
        shutil.rmtree(scratch)
    os.makedirs(out, exist_ok=True)
    shutil.copy(horovod_wheel.cached_wheel(folder), out)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except toolchain.SetupError as error:
        sys.exit(f"{error.problem}\n  remedy: {error.remedy}")
