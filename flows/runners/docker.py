"""A stage as a container: its group's image, the workspace mounted where it is, as the user who runs the flow."""

import os
import sys
from contextlib import suppress
from pathlib import Path

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from requests.exceptions import RequestException

from components.core import paths
from components.core.errors import SightlineError, TransientError
from components.core.files import atomic_path
from flows.needs import Needs
from flows.runners.elsewhere import container_name, image, passed_on

MOUNTS = "SIGHTLINE_MOUNTS"  # folders that stages read besides the workspace, separated by colons
HOME = "/tmp"  # writable for any user
STOP_S = 5


def run(command: list[str], stage: str, needed: Needs) -> int:
    """Runs the command in a container, its lines on stdout as they come; returns its exit code.

    What a killed flow left of this stage is removed first. Raises SightlineError where the image is not there,
    TransientError where the engine does not answer.
    """
    try:
        client = docker.from_env()
        _remove(client, container_name(stage))
        container = client.containers.create(**specification(command, stage, needed))
    except ImageNotFound:
        remedy = "build it, or name another place or tag: SIGHTLINE_IMAGES, SIGHTLINE_IMAGE_TAG"
        raise SightlineError(f"{stage}: there is no image {image(needed.image)}", remedy) from None
    except (DockerException, RequestException) as error:
        raise TransientError(f"{stage}: the Docker engine: {error}", "see that it runs; DOCKER_HOST names it") from None
    try:
        container.start()
        for block in container.logs(stream=True, follow=True):
            sys.stdout.buffer.write(block)
            sys.stdout.buffer.flush()
        status = container.wait()["StatusCode"]
        container.reload()
        if container.attrs["State"]["OOMKilled"]:
            print(f"{stage}: out of memory: flows/stages.yaml gives it {needed.memory_gb:g} GB", file=sys.stderr)
        return status
    except APIError as error:
        raise SightlineError(f"{stage}: the Docker engine refuses: {error.explanation}", "see its own log") from None
    except RequestException as error:
        raise TransientError(f"{stage}: the Docker engine is gone: {error}", "see that it runs") from None
    finally:
        with suppress(DockerException, RequestException):  # how the stage ended counts, not how it was removed
            _remove(client, container.name)


def end_stages(network: str) -> list[str]:
    """Stops and removes this workspace's stages on a network; returns their names. SightlineError as `run` does."""
    try:
        client = docker.from_env()
        mine = {"label": f"sightline.workspace={paths.workspace()}", "network": network}
        found = client.containers.list(all=True, filters=mine, ignore_removed=True)
        for container in found:
            _remove(client, container.name)
        return [container.labels["sightline.stage"] for container in found]
    except (DockerException, RequestException) as error:
        raise TransientError(f"the Docker engine: {error}", "see that it runs; DOCKER_HOST names it") from None


def specification(command: list[str], stage: str, needed: Needs) -> dict:
    """The keyword arguments of `containers.create`."""
    root = str(paths.workspace())
    mounts = {root: {"bind": root, "mode": "rw"}}
    for folder in also_read():
        mounts.setdefault(folder, {"bind": folder, "mode": "ro"})
    cache = paths.user_cache()
    cache.mkdir(parents=True, exist_ok=True)
    mounts[str(cache)] = {"bind": str(cache), "mode": "rw"}
    user, group = _user(root)
    mounts[_passwd(user, group)] = {"bind": "/etc/passwd", "mode": "ro"}
    devices = [docker.types.DeviceRequest(count=needed.gpus, capabilities=[["gpu"]])] if _gpus(needed) else None
    return {
        "image": image(needed.image),
        "command": command,
        "name": container_name(stage),
        "labels": {"sightline.stage": stage, "sightline.workspace": root},
        "environment": passed_on() | {"HOME": HOME, "SIGHTLINE_CACHE": str(cache)},
        "working_dir": root,
        "volumes": mounts,
        "user": f"{user}:{group}",
        "nano_cpus": int(min(needed.cpus, os.cpu_count() or 1) * 1e9),
        "mem_limit": int(needed.memory_gb * 1e9),
        "shm_size": "512m",  # Horovod's workers and torch share memory there
        "network_mode": os.environ.get("SIGHTLINE_DOCKER_NETWORK", "host"),  # servers of `sightline up` are on this one
        "device_requests": devices,
        "init": True,
        "security_opt": ["no-new-privileges"],
        "cap_drop": ["ALL"],
    }


def _user(root: str) -> tuple[int, int]:
    """Whoever runs the flow; for root the workspace's owner, to whom its files shall belong."""
    owner = os.stat(root)
    return (owner.st_uid, owner.st_gid) if os.getuid() == 0 else (os.getuid(), os.getgid())


def _passwd(user: int, group: int) -> str:
    """A file that gives this user a name: Java's login, which Spark asks, fails for one without."""
    file = paths.state("run", "elsewhere", f"passwd-{user}-{group}")
    text = "root:x:0:0:root:/root:/bin/sh\n" + (f"sightline:x:{user}:{group}::{HOME}:/bin/sh\n" if user else "")
    if not file.is_file() or file.read_text() != text:
        with atomic_path(file) as temporary:
            temporary.write_text(text)
            temporary.chmod(0o644)
    return str(file)


def _gpus(needed: Needs) -> bool:
    return bool(needed.gpus) and Path("/dev/nvidia0").exists()


def also_read() -> list[str]:
    """The folders besides the workspace that stages read."""
    named = [folder for folder in os.environ.get(MOUNTS, "").split(":") if folder]
    mirror = paths.mirror()
    return [str(Path(folder).resolve()) for folder in named] + ([str(mirror)] if mirror else [])


def _remove(client: docker.DockerClient, name: str) -> None:
    try:
        container = client.containers.get(name)
        container.stop(timeout=STOP_S)
        container.remove(force=True)
    except NotFound:
        pass
    except APIError:  # it may end by itself between the two
        client.api.remove_container(name, force=True)
