"""The edge: champions for devices at the cameras, and what comes back from them."""

import os
import sys
from typing import Annotated

import typer

from flows.commands.app import Json, Recipe, app, component

COMPONENT = "components.edge"

edge = typer.Typer(
    help="Champions for devices at the cameras: built, signed, run, received from.",
    epilog="Example: sightline edge build sensor",
    no_args_is_help=True,
)
app.add_typer(edge, name="edge")

Store = Annotated[str | None, typer.Option(metavar="DIR", help="What was received (.sightline/edge).")]


@edge.command(epilog="Example: sightline edge build sensor -o sensor.tar.gz --public-key fleet.key.pub")
def build(
    recipe: Recipe,
    output: Annotated[str | None, typer.Option("--output", "-o", metavar="FILE", help="The archive.")] = None,
    limit: Annotated[float, typer.Option(help="What int8 may lose in accuracy and be the default.")] = 0.01,
    int8_for: Annotated[
        str, typer.Option(metavar="any|vnni", help="any: right on all processors; vnni: wrong on x86 without VNNI.")
    ] = "any",
    float32: Annotated[bool, typer.Option("--float32", help="Leave int8 out: needs no tables.")] = False,
    public_key: Annotated[
        str | None, typer.Option(metavar="FILE", help="Whose signature its devices accept for updates.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The champion as one archive: float32 and int8 with their measured accuracy, runner, unit, Dockerfile."""
    given = _given({"output": output, "limit": limit, "int8-for": int8_for, "public-key": public_key})
    component(COMPONENT, "build", "--recipe", recipe, *given, *_set({"float32": float32, "json": as_json}))


@edge.command(epilog="Example: sightline edge run sensor.tar.gz --camera clip.mp4 --state state --once")
def run(
    archive: Annotated[str, typer.Argument(metavar="ARCHIVE|DIR", help="What build wrote, or it unpacked.")],
    camera: Annotated[str, typer.Option(metavar="SOURCE", help="A number (0: the first), an address, a file.")],
    state: Annotated[str, typer.Option(metavar="DIR", help="What the device keeps: its queue, releases.")],
    uplink: Annotated[str | None, typer.Option(metavar="URL", help="The receiver.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, float32 or int8.")] = None,
    config: Annotated[str | None, typer.Option(metavar="FILE", help="As config.toml in the archive.")] = None,
    once: Annotated[bool, typer.Option("--once", help="One look: a file to its end, one frame of a camera.")] = False,
) -> None:
    """Run an archive here, by its own code, as a device would."""
    given = _given({"camera": camera, "state": state, "uplink": uplink, "precision": precision, "config": config})
    _become("run", archive, *given, *_set({"once": once}))


@edge.command(epilog="Example: sightline edge receive --host 0.0.0.0 --releases releases")
def receive(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8090,
    tokens: Annotated[str | None, typer.Option(metavar="FILE", help="Lines of DEVICE:TOKEN, one for each.")] = None,
    releases: Annotated[str | None, typer.Option(metavar="DIR", help="What release wrote, to be fetched.")] = None,
    store: Store = None,
) -> None:
    """Take what devices send, each record once, until interrupted. The fleet's token: SIGHTLINE_EDGE_TOKEN."""
    given = _given({"host": host, "port": port, "tokens": tokens, "releases": releases, "store": store})
    _become("receive", *given)


@edge.command(epilog="Example: sightline edge fleet --json")
def fleet(store: Store = None, as_json: Json = False) -> None:
    """Which device runs which version, when it was last seen, and how many records wait there."""
    component(COMPONENT, "fleet", *_given({"store": store}), *_set({"json": as_json}))


@edge.command(epilog="Example: sightline edge key -o fleet.key")
def key(
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="The private key; FILE.pub beside it.")],
    as_json: Json = False,
) -> None:
    """A new pair of keys (Ed25519), to sign releases with."""
    component(COMPONENT, "key", "--output", output, *_set({"json": as_json}))


@edge.command(epilog="Example: sightline edge release sensor.tar.gz --key fleet.key --number 2 -o releases")
def release(
    archive: Annotated[str, typer.Argument(metavar="ARCHIVE", help="What build wrote.")],
    signing: Annotated[str, typer.Option("--key", metavar="FILE", help="The private key.")],
    number: Annotated[int, typer.Option(help="Larger than every number before: devices insist.")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="DIR", help="release.json and the archive.")],
    days: Annotated[int | None, typer.Option(help="So long devices take it; renew it by the same command.")] = None,
    as_json: Json = False,
) -> None:
    """Sign an archive, so that devices update themselves with it."""
    given = _given({"key": signing, "number": number, "output": output, "days": days})
    component(COMPONENT, "release", *given, *_set({"json": as_json}), "--", archive)


def _given(options: dict[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in options.items() if value is not None]


def _set(flags: dict[str, bool]) -> list[str]:
    return [f"--{name}" for name, given in flags.items() if given]


def _become(*arguments: str) -> None:
    """Goes on as the component's command: signals reach it."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", COMPONENT, *arguments])
