"""Builds Sightline's images. Called by `make images`; standard library only.

What to install and how is the Dockerfile's. This says what it is built from: arguments, the caller's package index (as
a secret), the version and the commit. Images are named as the flows look for them, by SIGHTLINE_IMAGES and
SIGHTLINE_IMAGE_TAG: sightline/GROUP:latest.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
WHEELS = os.path.join(HERE, "wheels")
GROUPS = ("spark", "train", "serve", "edge", "flows")
ARGUMENTS = (
    "PYTHON_IMAGE",
    "TORCH_BACKEND",
    "CUDA_IMAGE",
)  # of the Dockerfile; from the environment where they are set
EXAMPLE = "example: python docker/build.py serve edge --json"


class BuildError(Exception):
    """Nothing was built. `problem` says what and where, `remedy` what to do about it."""

    def __init__(self, problem, remedy):
        super().__init__(f"{problem}\n  remedy: {remedy}")


def image(group, env):
    """Return the name of a group's image, as flows/runners/elsewhere.py makes it."""
    return "{}/{}:{}".format(
        env.get("SIGHTLINE_IMAGES") or "sightline", group, env.get("SIGHTLINE_IMAGE_TAG") or "latest"
    )


def index_secret(env):
    """Return shell assignments that give pip's index settings to pip and uv in the build; "" where there are none.

    Addresses that only this machine knows (file:, folders) are left out: see `local_wheels`.
    """
    told = {}
    if env.get("PIP_INDEX_URL"):
        told["PIP_INDEX_URL"] = told["UV_DEFAULT_INDEX"] = env["PIP_INDEX_URL"]
    more = [url for url in env.get("PIP_EXTRA_INDEX_URL", "").split() if "://" in url and not url.startswith("file:")]
    if more:
        told["PIP_EXTRA_INDEX_URL"] = told["UV_INDEX"] = " ".join(more)
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in sorted(told.items()))


def local_wheels(env):
    """Return the wheels of torch in the folders of PIP_FIND_LINKS, which a build cannot reach by itself."""
    folders = [folder for folder in env.get("PIP_FIND_LINKS", "").split() if os.path.isdir(folder)]
    found = [os.path.join(folder, name) for folder in folders for name in sorted(os.listdir(folder))]
    return [path for path in found if os.path.basename(path).startswith("torch-") and path.endswith(".whl")]


def bring(wheels, folder=WHEELS):
    """Link or copy wheels into `folder`, whole or not at all, where they are not there yet."""
    for path in wheels:
        target = os.path.join(folder, os.path.basename(path))
        if os.path.exists(target):
            continue
        try:
            os.link(path, target)
        except OSError:
            shutil.copyfile(path, target + ".partial")
            os.replace(target + ".partial", target)


def find_docker(env):
    """Return the first `docker` of PATH (or DOCKER) that can build with BuildKit. Raises BuildError where none can."""
    if env.get("DOCKER"):
        return env["DOCKER"]
    named = [os.path.join(folder, "docker") for folder in env.get("PATH", "").split(os.pathsep)]
    for docker in [path for path in named if os.access(path, os.X_OK)]:
        asked = [docker, "build", "--help"]
        if not subprocess.run(asked, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            return docker
    remedy = "install Docker's command line with its plugin buildx, or name another one: DOCKER=/path/to/docker"
    raise BuildError("no `docker` on PATH that builds with BuildKit", remedy)


def stamps(env):
    """Return the labels' build arguments: the project's version, and the commit ("-changed" where files differ)."""
    with open(os.path.join(ROOT, "pyproject.toml")) as handle:
        version = next(line.split('"')[1] for line in handle if line.startswith("version = "))
    told = {"VERSION": version, "REVISION": env.get("REVISION", "")}
    if not told["REVISION"]:
        asked = [["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]]
        replies = [subprocess.run(["git", "-C", ROOT] + one, stdout=subprocess.PIPE, text=True) for one in asked]
        known = not any(reply.returncode for reply in replies)
        changed = "-changed" if known and replies[1].stdout else ""
        told["REVISION"] = replies[0].stdout.strip() + changed if known else "unknown"
    return told


def command(docker, group, arguments, env, secret=""):
    """Return the command that builds a group's image; `secret` is the path of the file of index settings, or ""."""
    words = [docker, "build", "--file", os.path.join(HERE, "Dockerfile"), "--target", group, "--tag", image(group, env)]
    for name, value in sorted(arguments.items()):
        words += ["--build-arg", f"{name}={value}"]
    if secret:
        words += ["--secret", "id=index,src=" + secret]
    if env.get("BUILD_NETWORK"):
        words += ["--network", env["BUILD_NETWORK"]]
    return words + [ROOT]


@contextmanager
def secret_file(text):
    """The path of a file of this user's alone with `text`, for as long as the context lasts; "" where it is empty."""
    if not text:
        yield ""
        return
    with tempfile.NamedTemporaryFile("w", prefix="sightline-index-") as handle:
        handle.write(text)
        handle.flush()
        yield handle.name


def size(docker, name, env):
    """Return the bytes of an image, with the layers that it shares."""
    asked = [docker, "image", "inspect", "--format", "{{.Size}}", name]
    return int(subprocess.run(asked, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout)


def build(groups, env):
    """Build the groups' images, one after the other; return a list of {image, bytes, seconds}. Raises BuildError."""
    env = dict(env, DOCKER_BUILDKIT="1")
    docker = find_docker(env)
    if subprocess.run([docker, "version"], env=env, stdout=subprocess.DEVNULL).returncode:
        raise BuildError("no Docker engine answers", "start it, or name it: DOCKER_HOST")
    bring(local_wheels(env))
    arguments = {name: env[name] for name in ARGUMENTS if name in env} | stamps(env)
    built = []
    with secret_file(index_secret(env)) as secret:
        for group in groups:
            began = time.monotonic()
            words = command(docker, group, arguments, env, secret)
            # To stderr: with --json, stdout is for the figures.
            if subprocess.run(words, env=env, stdout=sys.stderr).returncode:
                raise BuildError(f"{image(group, env)} was not built", "see what was said above")
            seconds = round(time.monotonic() - began, 1)
            built.append(
                {"image": image(group, env), "bytes": size(docker, image(group, env), env), "seconds": seconds}
            )
    return built


def main(argv=None):
    """Return the exit code: 0 done, 1 failed, 2 a wrong request."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=EXAMPLE)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="which: {} (default: all)".format(", ".join(GROUPS)))
    parser.add_argument("--json", action="store_true", help="print names, sizes and times as JSON")
    given = parser.parse_args(argv)
    unknown = [group for group in given.groups if group not in GROUPS]
    if unknown:
        parser.error("no such group: {}; there are {}".format(", ".join(unknown), ", ".join(GROUPS)))
    try:
        built = build(given.groups or GROUPS, dict(os.environ))
    except BuildError as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    if given.json:
        print(json.dumps(built, indent=2))
    else:
        for one in built:
            print("  {image:<40} {0:>7.0f} MB {seconds:>8.1f} s".format(one["bytes"] / 1e6, **one))
    return 0


if __name__ == "__main__":
    sys.exit(main())
