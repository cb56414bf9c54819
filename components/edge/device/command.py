"""The device's commands: run, supervise, update, selftest, status."""

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from components.core.errors import SightlineError, UsageError
from components.edge.device import config, installed
from components.edge.device.release import MANIFEST, Release, read_release

HERE = Path(__file__).resolve().parents[3]  # of an unpacked archive: where its manifest lies
EXAMPLE = "example: python -m edge run --camera 0 --state /var/lib/sightline --uplink https://collector:8090"
DEBUG = "SIGHTLINE_DEBUG"


def parser() -> argparse.ArgumentParser:
    """What the device's commands take."""
    whole = argparse.ArgumentParser(prog="python -m edge", description=__doc__, epilog=EXAMPLE)
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="score what a camera sees, and send it")
    for one in (run, commands.add_parser("status", help="print what this device runs and what waits, as JSON")):
        _state(one)
    run.add_argument("--camera", metavar="SOURCE", help="a number (0: the first), an address, a file, a folder")
    run.add_argument("--uplink", metavar="URL", help="the receiver; without one records stay in the queue")
    run.add_argument("--once", action="store_true", help="one look: a file to its end, one frame of a camera")
    run.add_argument("--precision", choices=["auto", "float32", "int8"], help="of the graph (config.toml: auto)")
    supervise = commands.add_parser("supervise", help="keep a runner running, and bring updates")
    _state(supervise)
    supervise.add_argument("options", nargs="*", metavar="-- OPTIONS", help="of `run`")
    update = commands.add_parser("update", help="bring a newer signed release, if there is one")
    _state(update)
    update.add_argument("--from", dest="where", metavar="URL|FILE", help="a release.json (config.toml: [update] url)")
    update.add_argument("--force", action="store_true", help="take an older release, or another recipe's")
    selftest = commands.add_parser("selftest", help="does this release give here what it gave where it was built?")
    selftest.add_argument(
        "--precision",
        choices=["auto", "float32", "int8", "all"],
        default="auto",
        help="of the graph (auto: what `run` takes)",
    )
    return whole


def _state(one: argparse.ArgumentParser) -> None:
    one.add_argument("--state", required=True, type=Path, metavar="DIR", help="what the device keeps: queue, releases")
    one.add_argument("--config", type=Path, metavar="FILE", help="beside the release's own (STATE/config.toml)")


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 failed, 2 a wrong request, 75 a retry can help."""
    arguments = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return guarded(lambda: COMMANDS[arguments.command](arguments), "edge")


def guarded(action: Callable[[], int | None], label: str) -> int:
    """Calls `action`; returns its exit code, or says on stderr what went wrong. (As `components.core.stage.guarded`,
    which knows recipes, and with them more than a device has.)"""
    try:
        return action() or 0
    except SightlineError as error:
        if os.environ.get(DEBUG):
            raise
        print(f"{label}: {error}", file=sys.stderr, flush=True)
        return error.exit_code


def here() -> Release:
    """The release that this code is part of. Raises UsageError where it is not part of one."""
    if not (HERE / MANIFEST).is_file():
        raise UsageError(f"{HERE}: is no unpacked edge archive", "sightline edge run ARCHIVE, or unpack one")
    return read_release(HERE)


def _config(arguments: argparse.Namespace, strict: bool = True) -> config.Config:
    own = arguments.config or arguments.state / config.FILE
    if arguments.config and not arguments.config.is_file():
        raise UsageError(f"--config {arguments.config}: not there", "name a file")
    return config.read_config(HERE / config.FILE, own, strict=strict)


def _run(arguments: argparse.Namespace) -> None:
    from components.edge.device.runner import Runner

    settings = _config(arguments).with_("camera", source=arguments.camera).with_("uplink", url=arguments.uplink)
    settings = settings.with_("model", precision=arguments.precision)
    runner = Runner(here(), settings, arguments.state, _number(arguments.state), arguments.once)
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, runner.stop)
    runner.run()


def _supervise(arguments: argparse.Namespace) -> int:
    from components.edge.device.supervise import Supervisor

    # A newer release may have keys that this code does not know yet.
    settings = _config(arguments, strict=False).update
    own = ["--config", str(arguments.config.resolve())] if arguments.config else []
    present = installed.Installed(arguments.state.resolve(), HERE)
    supervisor = Supervisor(present, settings, arguments.options, own)
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, supervisor.stop)
    return supervisor.run()


def _update(arguments: argparse.Namespace) -> None:
    from components.edge.device.update import update

    settings = _config(arguments)
    where = arguments.where or settings.update.url
    if not where:
        raise UsageError("no release is named", "take --from, or set [update] url in config.toml")
    present = installed.Installed(arguments.state.resolve(), HERE)
    number = update(present, where, settings.update.public_key, arguments.force, settings.model.precision)
    print("up to date" if number is None else f"release {number} is in place, on trial with its next start")


def _selftest(arguments: argparse.Namespace) -> None:
    from components.edge.device.selftest import selftest

    for precision, difference in selftest(here(), arguments.precision).items():
        print(f"{precision}: {difference:.1e} off in probability at most")


def _status(arguments: argparse.Namespace) -> None:
    from components.edge.device.store import counted

    release = here()
    precision = release.precision(_config(arguments).model.precision)
    told = {"model": release.tag(precision), "release": _number(arguments.state), **counted(arguments.state)}
    print(json.dumps(told, indent=2))


def _number(state: Path) -> int:
    """The number of the release that this code is part of; 0 where it was installed by hand."""
    releases = (state / installed.RELEASES).resolve()
    return int(HERE.name) if HERE.parent == releases and HERE.name.isdecimal() else 0


COMMANDS = {"run": _run, "supervise": _supervise, "update": _update, "selftest": _selftest, "status": _status}
