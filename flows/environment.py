"""What Prefect and DVC are told before they are imported, so that every HOME behaves the same."""

import os
from pathlib import Path

from components.core import paths

FIXED = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",  # no server at hand: the run brings its own
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # the first start makes the database
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # by its silence a run that was killed is known
    "PREFECT_LOGGING_FORMATTERS_STANDARD_FLOW_RUN_FMT": "%(asctime)s %(message)s",
    "PREFECT_LOGGING_FORMATTERS_STANDARD_TASK_RUN_FMT": "%(asctime)s %(task_run_name)s | %(message)s",
}
USERS = ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH")


def prepare() -> None:
    """Sets the environment for Prefect; must run before anything imports it. What the user has set stays.

    The server is that of PREFECT_API_URL, else the one that `sightline up` started, else one that lives as long as
    the run. Prefect's own files are in the workspace, so that another project's profile has no say here.
    """
    for name, value in FIXED.items():
        os.environ.setdefault(name, value)
    if not any(os.environ.get(name) for name in USERS):
        os.environ.setdefault("PREFECT_HOME", str(paths.state("prefect")))
        Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
        if url := running_server():
            os.environ["PREFECT_API_URL"] = url
    _reach_this_machine_directly()


def running_server() -> str | None:
    """The API's URL of the Prefect server that `sightline up` started in this workspace, where it is running."""
    from flows.processes import find

    server = find("prefect")
    return f"{server.url}/api" if server else None


def _reach_this_machine_directly() -> None:
    # A proxy cannot reach this machine's own servers.
    for name in ("NO_PROXY", "no_proxy"):
        known = [part for part in os.environ.get(name, "").split(",") if part]
        os.environ[name] = ",".join(known + [host for host in ("127.0.0.1", "localhost") if host not in known])
