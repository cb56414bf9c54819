"""Operations: what a load needs, back-up and restore."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated

import typer

from components.core.errors import SightlineError
from flows.commands.app import Json, app, say

Registry = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The registry's PostgreSQL, where MLFLOW_TRACKING_URI is a server or not set."),
]


@app.command(epilog="Example: sightline plan --hours-of-video 10000 --fps 1 --price-core-hour 0.04")
def plan(
    hours: Annotated[float, typer.Option("--hours-of-video", help="Hours of video, of all cameras together.")],
    fps: Annotated[float | None, typer.Option(help="Frames kept of a second (the recipe's).")] = None,
    recipe: Annotated[str, typer.Option(metavar="RECIPE", help="A recipe of params.yaml.")] = "suspicious",
    cores: Annotated[int | None, typer.Option(help="How many there are; without it, as many as --days takes.")] = None,
    days: Annotated[float, typer.Option(help="In which all is to be done.")] = 7.0,
    source_fps: Annotated[float, typer.Option(help="Frames of a second that the cameras send.")] = 25.0,
    labelled: Annotated[float, typer.Option(help="Share of the frames that is trained on, 0 to 1.")] = 1.0,
    versions: Annotated[int, typer.Option(help="Versions of the model that are kept.")] = 30,
    rate: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A rate of your own, such as features_gpu=2000.")
    ] = None,
    price_core_hour: Annotated[float, typer.Option(help="Of one core.")] = 0.0,
    price_gpu_hour: Annotated[float, typer.Option(help="Of one GPU.")] = 0.0,
    price_gb_month: Annotated[float, typer.Option(help="Of 10^9 bytes.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Say how many cores, GPUs, hours and bytes a load takes, by what was measured; and its cost."""
    from components.core.recipe import load_recipe
    from flows import plan_shown
    from flows.plan import Load, is_explained, make_plan
    from flows.rates import given, read_rates

    known = load_recipe(recipe)
    fps = source_fps if fps is None and known.frames.fps is None else float(known.frames.fps if fps is None else fps)
    load = Load(hours, fps, source_fps, labelled, versions, days, cores)
    made = make_plan(known, load, read_rates(given(rate or [])), is_explained(recipe))
    prices = {"core_hour": price_core_hour, "gpu_hour": price_gpu_hour, "gb_month": price_gb_month}
    if as_json:
        print(json.dumps(plan_shown.as_json(made, prices), indent=2))
    else:
        plan_shown.show(made, prices)


@app.command(epilog="Example: sightline backup /mnt/backups; sightline backup s3://bucket/sightline")
def backup(
    to: Annotated[str, typer.Argument(metavar="DEST", help="A folder, a file (.tar), or a URL of either (s3://...).")],
    registry: Registry = None,
    data: Annotated[bool, typer.Option("--data", help="DVC's cache too: every version of every table.")] = False,
    as_json: Json = False,
) -> None:
    """Keep registry, artifacts, champions, runs and pointers in one archive, whole or not at all, while all goes on."""
    from flows.backup import back_up

    with _disk():
        taken = back_up(to, registry, data, say)
    if as_json:
        print(json.dumps(asdict(taken), indent=2))
        return
    say(f"{taken.archive}: {taken.files} files, {taken.bytes / 1e6:.1f} MB, sha256 {taken.sha256}")
    _say_contents(taken.champions, taken.left_out)


@app.command(epilog="Example: sightline restore /mnt/backups/sightline-main-20261130T010000Z.tar")
def restore(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="An archive of `sightline backup`, or its URL.")],
    registry: Registry = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the registry that is here; it is kept aside.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Check every byte of the archive, and restore nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make an archive the state of this workspace, in one step or not at all; its champions are served as before."""
    from flows import restore as restoring

    if check:
        with _disk():
            body = restoring.verify(source)
        if as_json:
            print(json.dumps(body, indent=2))
            return
        say(f"{source}: whole; {len(body['files'])} files, made {body['made']} at commit {body['commit']}")
        _say_contents(body["champions"], body["left_out"])
        return
    with _disk():
        done = restoring.restore(source, registry, force, say)
    if as_json:
        print(json.dumps(asdict(done), indent=2))
        return
    say(f"restored as of {done.made}, commit {done.commit}; what it replaced is in {done.replaced}")
    _say_contents(done.champions, done.left_out)
    say("next: sightline up; for tables: dvc checkout --allow-missing, or sightline pull RECIPE --all")


def _say_contents(champions: dict[str, int], left_out: list[str]) -> None:
    for recipe, version in champions.items():
        say(f"{recipe}: champion version {version}")
    for one in left_out:
        say(f"not in it: {one}")


@contextmanager
def _disk() -> Iterator[None]:
    """A disk that is full or may not be written is told as such."""
    try:
        yield
    except OSError as error:
        raise SightlineError(
            f"{error.filename or 'disk'}: {error.strerror}", "make room, or see who may write"
        ) from None
