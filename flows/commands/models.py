"""Models: served, promoted, rolled back, and traced to where they came from."""

import os
import subprocess
import sys
from typing import Annotated

import typer

from flows.commands.app import Json, Recipe, app, component


@app.command(epilog="Example: sightline serve suspicious tracking --port 8080")
def serve(
    recipes: Annotated[list[str], typer.Argument(metavar="RECIPE", help="Recipes of params.yaml.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
    log: Annotated[str | None, typer.Option(metavar="text|json", help="json: a line a request.")] = None,
    token_file: Annotated[str | None, typer.Option(metavar="FILE", help="Who may ask: a token a line.")] = None,
    rate: Annotated[float | None, typer.Option(metavar="N", help="Requests a second and client.")] = None,
    timeout: Annotated[float | None, typer.Option(metavar="S", help="Seconds for one request.")] = None,
    batch: Annotated[int | None, typer.Option(metavar="N", help="Pictures in a pass at most.")] = None,
    batch_wait: Annotated[float | None, typer.Option(metavar="MS", help="That a picture may wait for others.")] = None,
    explain: Annotated[int | None, typer.Option(metavar="N", help="Samples of an explanation; 0: none given.")] = None,
    explain_timeout: Annotated[float | None, typer.Option(metavar="S", help="Seconds for an explanation.")] = None,
    cors: Annotated[list[str] | None, typer.Option(metavar="ORIGIN", help="A page's origin that may ask.")] = None,
    capture: Annotated[str | None, typer.Option(metavar="DIR", help="Keep a sample of requests and answers.")] = None,
    capture_share: Annotated[float | None, typer.Option(metavar="P", help="Of requests, from 0 to 1.")] = None,
    capture_pictures: Annotated[bool, typer.Option("--capture-pictures", help="Keep the pictures too.")] = False,
    capture_mb: Annotated[int | None, typer.Option(metavar="N", help="Megabytes of it; the oldest make room.")] = None,
) -> None:
    """Serve champions over HTTP, until interrupted; follows the registry's champion alias. Of several recipes each is
    served below /v1/RECIPE."""
    from components.core import paths
    from components.core.distributed import die_with_parent
    from components.core.recipe import load_recipe
    from flows import services

    for recipe in recipes:
        load_recipe(recipe)
    tokens, kept = (given and os.path.abspath(given) for given in (token_file, capture))  # before the folder changes
    os.chdir(paths.workspace())
    sys.stdout.flush()
    for recipe in recipes:
        subprocess.Popen(services.follower_command(recipe), preexec_fn=die_with_parent)  # ends with the service
    options = {"log": log, "token_file": tokens, "rate": rate, "timeout": timeout, "cors": cors}
    options |= {"capture": kept, "capture_share": capture_share, "capture_pictures": capture_pictures}
    options |= {"capture_mb": capture_mb, "batch": batch, "batch_wait": batch_wait}
    options |= {"explain": explain, "explain_timeout": explain_timeout}
    command = services.serving_command(recipes, host, port, **options)
    os.execv(command[0], command)  # signals reach the service itself


@app.command(epilog="Example: sightline predict suspicious footage/new -o scores")
def predict(
    recipe: Recipe,
    footage: Annotated[list[str], typer.Argument(metavar="PATH...", help="Videos, pictures, or folders of them.")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="DIR", help="Where the tables go.")],
    as_json: Json = False,
) -> None:
    """Score footage with the champion: a table of scores, the moments to look at first, boxes drawn if it finds any."""
    options = ["--recipe", recipe, "--output", output, *(["--json"] if as_json else [])]
    component("components.serving.batch", *options, "--", *footage)


@app.command(epilog='Example: sightline promote suspicious --version 4 --override "the new camera matters more"')
def promote(
    recipe: Recipe,
    version: Annotated[int | None, typer.Option(metavar="N", help="A version of the registry.")] = None,
    override: Annotated[
        str | None, typer.Option(metavar="WHY", help="Serve a version that was refused, for this reason.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make the challenger, or a version, the champion; a service that runs follows within seconds."""
    _by_hand("promote", recipe, {"--version": version, "--override": override}, as_json)


@app.command(epilog="Example: sightline rollback suspicious --reason 'false alarms at night'")
def rollback(
    recipe: Recipe,
    version: Annotated[int | None, typer.Option(metavar="N", help="To this version.")] = None,
    reason: Annotated[str | None, typer.Option(metavar="WHY", help="For the audit trail.")] = None,
    as_json: Json = False,
) -> None:
    """Make the champion before the present one, or a version, the champion again."""
    _by_hand("rollback", recipe, {"--version": version, "--reason": reason}, as_json)


@app.command(epilog="Example: sightline history suspicious --json")
def history(recipe: Recipe, as_json: Json = False) -> None:
    """Every move of the champion: when, from which version to which, by what and why."""
    _by_hand("history", recipe, {}, as_json)


@app.command(epilog="Example: sightline lineage suspicious --source footage/clip.mp4")
def lineage(
    recipe: Recipe,
    version: Annotated[int | None, typer.Option(metavar="N", help="A version; without any, the champion.")] = None,
    prediction: Annotated[str | None, typer.Option(metavar="URI", help="A prediction, by its source file.")] = None,
    frame: Annotated[int | None, typer.Option(metavar="N", help="With --prediction: the frame, from 0.")] = None,
    scores: Annotated[str | None, typer.Option(metavar="PATH", help="With --prediction: the table it is in.")] = None,
    source: Annotated[str | None, typer.Option(metavar="FILE", help="A source file: which models saw it?")] = None,
    as_json: Json = False,
) -> None:
    """Where a model or a prediction came from, down to the bytes; or which models saw a file."""
    options = {"version": version, "prediction": prediction, "frame": frame, "scores": scores, "source": source}
    given = [f"--{name}={value}" for name, value in options.items() if value is not None]
    component("components.lineage", "--recipe", recipe, *given, *(["--json"] if as_json else []))


@app.command(epilog="Example: sightline drift suspicious --scores scores/predictions")
def drift(
    recipe: Recipe,
    alpha: Annotated[float | None, typer.Option(help="Chance of any false alarm in one check.")] = None,
    scores: Annotated[str | None, typer.Option(metavar="DIR", help="Predictions on new footage.")] = None,
    captured: Annotated[str | None, typer.Option(metavar="DIR", help="What a service captured instead.")] = None,
    as_json: Json = False,
) -> None:
    """Is new footage in the tables still like what the champion was trained and judged on?"""
    options = {"alpha": alpha, "scores": scores, "captured": captured}
    given = [f"--{name}={value}" for name, value in options.items() if value is not None]
    component("components.monitoring", "--recipe", recipe, *given, *(["--json"] if as_json else []))


def _by_hand(what: str, recipe: str, options: dict[str, object], as_json: bool) -> None:
    given = [f"{name}={value}" for name, value in options.items() if value is not None]
    component("components.promotion.byhand", what, "--recipe", recipe, *given, *(["--json"] if as_json else []))
