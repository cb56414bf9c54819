"""The local services: Prefect's server, MLflow's, the served deployments, and each champion's model service."""

import fcntl
import json
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from components.core import paths
from components.core.errors import SightlineError
from components.core.recipe import recipe_names
from flows import deployments, environment, processes
from flows.processes import Running

HOST = "127.0.0.1"
READY_S = 180.0  # a first start makes its database; on a busy machine that takes its time


@dataclass(frozen=True)
class Ports:
    """Where the services listen; the model services of several recipes take the ports from `serving` on."""

    prefect: int = 4200
    mlflow: int = 5000
    serving: int = 8080


@dataclass(frozen=True)
class Service:
    """What to start and how to see that it is ready. `port` is None where it does not listen."""

    name: str
    command: list[str]
    url: str
    port: int | None
    is_ready: Callable[[], bool] = field(compare=False)
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Status:
    """One line of `sightline status`. `state`: running | starting | died | stopped."""

    service: str
    state: str
    url: str
    pid: int | None


def up(ports: Ports, say: Callable[[str], None]) -> list[Status]:
    """Starts what is not running, in order, each when those before it answer; returns the state of all.

    Raises SightlineError naming the port that another program holds, or the log of a service that did not start;
    what was started before stays up.
    """
    environment.prepare()
    with _alone():
        for service in wanted(ports):
            running = processes.find(service.name)
            if running is None:
                processes.forget(service.name)
                _check_port(service)
                running = processes.start(service.name, service.command, service.url, service.env)
            _await(service, running)
            say(f"{service.name}: {running.url}")
    return status()


def down(say: Callable[[str], None]) -> list[str]:
    """Stops what `up` started, last first; returns the names of what was running."""
    stopped = []
    with _alone():
        for name in reversed(_in_order(processes.recorded())):
            if running := processes.find(name):
                processes.stop(running)
                stopped.append(name)
                say(f"{name}: stopped")
            else:
                processes.forget(name)
    return stopped


def status() -> list[Status]:
    """The state of every service of this workspace, those included that are not running."""
    names = dict.fromkeys(["prefect", "mlflow", "deployments", *processes.recorded()])
    return [_status(name) for name in _in_order(list(names))]


def wanted(ports: Ports) -> list[Service]:
    """The services of this workspace, in the order in which they start.

    A server that PREFECT_API_URL or MLFLOW_TRACKING_URI names is used instead of one's own.
    """
    services = []
    own = processes.find("prefect")
    api = os.environ.get("PREFECT_API_URL", "")
    if not api or (own and api == f"{own.url}/api"):
        url = own.url if own else f"http://{HOST}:{ports.prefect}"
        api = f"{url}/api"
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(ports.prefect)]
        # Relative, so that the page finds its server at any port and through a tunnel.
        env = {"PREFECT_SERVER_UI_API_URL": "/api"}
        services.append(Service("prefect", command, url, ports.prefect, lambda: answers(f"{url}/api/health"), env))
    if not os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http"):
        services.append(_mlflow(ports.mlflow))
    command = [sys.executable, "-m", "flows.deployments"]
    ui = f"{api.removesuffix('/api')}/deployments"
    services.append(Service("deployments", command, ui, None, lambda: _registered(api), {"PREFECT_API_URL": api}))
    for index, recipe in enumerate(champions()):
        services += [_following(recipe), _serving(recipe, ports.serving + index)]
    return services


def champions() -> list[str]:
    """Recipes that have a champion to serve, in the order of params.yaml."""
    return [name for name in recipe_names() if paths.state("deployed", name, "champion.json").is_file()]


def serving_command(recipe: str | Sequence[str], host: str, port: int, **options: object) -> list[str]:
    """The command of a model service of one recipe or of several. `options`: of its command line; None or False: not
    given, True: without a value, a list: repeated."""
    recipes = [recipe] if isinstance(recipe, str) else recipe
    command = [sys.executable, "-m", "components.serving", "--recipe", *recipes, "--host", host, "--port", str(port)]
    for name, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            if one is not None and one is not False:
                command += [f"--{name.replace('_', '-')}", *([] if one is True else [str(one)])]
    return command


def follower_command(recipe: str) -> list[str]:
    """The command of the process that lets a recipe's model service follow the registry's champion alias."""
    return [sys.executable, "-m", "components.deployment.follow", "--recipe", recipe]


def answers(url: str) -> bool:
    """Whether `url` answers with success."""
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.status == 200
    except (OSError, urllib.error.URLError, ValueError):
        return False


def port_is_free(port: int, host: str = HOST) -> bool:
    """Whether a server could listen on `port`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a port just left is free
        try:
            probe.bind((host, port))
            return True
        except OSError:
            return False


def _mlflow(port: int) -> Service:
    store = paths.state("mlflow")
    store.mkdir(parents=True, exist_ok=True)
    url = f"http://{HOST}:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{store / 'mlflow.db'}"]
    command += ["--artifacts-destination", (store / "artifacts").as_uri()]
    # Jobs that nothing here uses would cost eight processes and ten seconds at the start.
    env = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return Service("mlflow", command, url, port, lambda: answers(f"{url}/health"), env)


def _following(recipe: str) -> Service:
    pointer = paths.state("deployed", recipe, "champion.json").relative_to(paths.workspace())
    return Service(f"following-{recipe}", follower_command(recipe), str(pointer), None, lambda: True)


def _serving(recipe: str, port: int) -> Service:
    url = f"http://{HOST}:{port}"
    return Service(
        f"serving-{recipe}", serving_command(recipe, HOST, port), url, port, lambda: answers(f"{url}/readyz")
    )


def _registered(api: str) -> bool:
    return all(answers(f"{api}/deployments/name/training/{deployments.name(recipe)}") for recipe in recipe_names())


def _check_port(service: Service) -> None:
    if service.port is not None and not port_is_free(service.port):
        option = f"--{service.name.partition('-')[0]}-port"
        raise SightlineError(
            f"{service.name}: port {service.port} is held by another program{_holder(service.port)}",
            f"end that program, or choose another port: sightline up {option} {service.port + 1}",
        )


def _holder(port: int) -> str:
    import psutil

    try:
        held = [one.pid for one in psutil.net_connections("tcp") if one.laddr and one.laddr.port == port and one.pid]
        return f" (process {held[0]}: {psutil.Process(held[0]).name()})" if held else ""
    except psutil.Error:
        return ""


def _await(service: Service, running: Running) -> None:
    deadline = time.monotonic() + READY_S
    log = processes.log_file(service.name)
    while not service.is_ready():
        if processes.find(service.name) is None:
            processes.forget(service.name)
            raise SightlineError(
                f"{service.name}: ended while starting:\n{processes.last_lines(service.name)}", f"see {log}"
            )
        if time.monotonic() > deadline:
            raise SightlineError(f"{service.name}: no answer from {running.url} in {READY_S:.0f} s", f"see {log}")
        time.sleep(0.25)


def _status(name: str) -> Status:
    running = processes.find(name)
    if running is None:
        return Status(name, "died" if processes.record(name).exists() else "stopped", "", None)
    checks = {"prefect": "/api/health", "mlflow": "/health"}
    path = checks.get(name, "/readyz" if name.startswith("serving-") else "")
    ready = not path or answers(running.url + path)
    return Status(name, "running" if ready else "starting", running.url, running.pid)


def _in_order(names: list[str]) -> list[str]:
    order = ["prefect", "mlflow", "deployments"]
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))


@contextmanager
def _alone() -> Iterator[None]:
    """One `up` or `down` of a workspace at a time."""
    path = paths.state("run", ".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def as_json(rows: list[Status]) -> str:
    """The states as JSON text."""
    return json.dumps([vars(row) for row in rows], indent=2)
