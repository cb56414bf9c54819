"""What `python` is to DVC where stages run elsewhere: executes a stage's command in a container or a pod, and waits.

DVC stays where the flow is, so versions and locks are the same whoever executes a stage. A folder with a `python` of
its own comes first on DVC's PATH; the command `python -m components.STAGE --recipe NAME` of dvc.yaml thus ends here.
"""

import os
import signal
import stat
import sys
from pathlib import Path

from components.core import paths
from components.core.errors import UsageError
from components.core.files import atomic_path, value_sha256
from components.core.stage import guarded
from flows.needs import needs

RUNNER, STAGE = "SIGHTLINE_RUNNER", "SIGHTLINE_STAGE"
ANSWER = "SIGHTLINE_ANSWER"  # the workspace's file that gets what the command prints; without: it is in the log
RUNNERS = ("local", "docker", "kubernetes")
HERE = ("SIGHTLINE_WORKSPACE", "SIGHTLINE_CACHE", RUNNER, STAGE, ANSWER)  # of no use, or wrong, in another place


class Ended(KeyboardInterrupt):
    """The flow wants the stage to end. An interrupt: an event loop lets no other exception of a signal through."""


def path_with_python(path: str) -> str:
    """PATH with a `python` first that executes commands elsewhere."""
    folder = paths.state("run", "elsewhere")
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "python"
    text = f'#!/bin/sh\nexec "{sys.executable}" -m flows.runners.elsewhere "$@"\n'
    if not script.is_file() or script.read_text() != text:
        with atomic_path(script) as temporary:
            Path(temporary).write_text(text)
            os.chmod(temporary, os.stat(temporary).st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return os.pathsep.join([str(folder), path])


def passed_on() -> dict[str, str]:
    """The variables that a stage must know elsewhere too: the project's own, MLflow's, and those of object stores."""
    known = ("SIGHTLINE_", "MLFLOW_", "AWS_", "SPARK_MASTER", "GOOGLE_APPLICATION", "AZURE_")
    told = {name: value for name, value in os.environ.items() if name.startswith(known) and name not in HERE}
    root = str(paths.workspace())
    # The workspace's code, for all processes that a stage starts: images of stages have none of their own.
    return told | {"SIGHTLINE_WORKSPACE": root, "PYTHONPATH": root, "PYTHONUNBUFFERED": "1"}


def main() -> int:
    """Executes the command of this process's arguments; returns its exit code."""
    name, stage = os.environ.get(RUNNER, ""), os.environ.get(STAGE, "")
    status = 1

    def act() -> None:
        nonlocal status
        if name not in RUNNERS[1:] or not stage:
            raise UsageError(f"{RUNNER}={name!r} {STAGE}={stage!r}", "this command is the runners' own, not for people")
        if name == "docker":
            from flows.runners import docker as runner
        else:
            from flows.runners import kubernetes as runner
        command = ["python", *sys.argv[1:]]
        if answer := os.environ.get(ANSWER):
            command = ["sh", "-c", 'exec "$@" > "$0"', answer, *command]
        status = runner.run(command, stage, needs(stage.partition("@")[0]))

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        return guarded(act, label=stage) or status
    except Ended:
        return 128 + signal.SIGTERM


def _end(number: int, frame: object) -> None:
    for other in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # once is enough: what follows must not be cut short
        signal.signal(other, signal.SIG_IGN)
    raise Ended


def image(group: str) -> str:
    """The image of a group of stages: SIGHTLINE_IMAGES (a registry and folder) and SIGHTLINE_IMAGE_TAG."""
    place, tag = os.environ.get("SIGHTLINE_IMAGES", "sightline"), os.environ.get("SIGHTLINE_IMAGE_TAG", "latest")
    return f"{place}/{group}:{tag}"


def container_name(stage: str) -> str:
    """A name that only this stage of this workspace has: lower-case letters, digits and dashes, at most 63."""
    plain = "".join(c if c.isalnum() else "-" for c in stage.lower()).strip("-")
    return f"sightline-{plain[:40]}-{value_sha256([str(paths.workspace()), stage])[:8]}"


if __name__ == "__main__":
    sys.exit(main())
