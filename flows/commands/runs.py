"""Running: the demo and the training flow."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from components.core.errors import UsageError
from flows.commands.app import Json, app, say


class Runner(StrEnum):
    """How stages are executed."""

    local = "local"
    docker = "docker"
    kubernetes = "kubernetes"


@app.command(epilog="Example: sightline demo")
def demo() -> None:
    """The whole flow on generated footage, offline, and where to look at what it made."""
    from flows import demo as demonstration

    demonstration.run(say)


@app.command(epilog="Example: sightline run suspicious --from training --set training.lr=.01")
def run(
    recipes: Annotated[list[str] | None, typer.Argument(metavar="RECIPE...", help="Recipes of params.yaml.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Run every recipe of params.yaml, all at the same time.")
    ] = False,
    runner: Annotated[
        Runner, typer.Option(envvar="SIGHTLINE_RUNNER", help="Who executes the stages' commands.")
    ] = Runner.local,
    from_stage: Annotated[str | None, typer.Option("--from", metavar="STAGE", help="Begin at this stage.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Run stages that did not change too.")] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a parameter of the recipe in params.yaml first."),
    ] = None,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="End a stage that takes longer.")] = None,
    as_json: Json = False,
) -> None:
    """Bring every stage of one or more recipes up to date, through Prefect."""
    from components.core.recipe import load_recipe, recipe_names
    from flows import overrides
    from flows.graph import read_graph

    # What is wrong with the request is said before anything is written or started.
    recipes = list(dict.fromkeys(recipes or []))
    if every == bool(recipes):
        raise UsageError(
            "run: name RECIPEs, or take --all, not both", "sightline run suspicious, or sightline run --all"
        )
    recipes = recipe_names() if every else recipes
    if len(recipes) > 1 and (from_stage or settings):
        raise UsageError("run: --from and --set are for one recipe at a time", "name one recipe")
    changes = overrides.apply(recipes[0], settings) if settings else []
    for recipe in recipes:
        if not settings:
            load_recipe(recipe)
        read_graph(recipe, from_stage)
    for change in changes:
        say(f"params.yaml: {change}")
    if changes:
        say("undo: git checkout params.yaml")

    from flows import summary, training

    outcomes = training.run(recipes, from_stage, runner=runner.value, force=force, stage_timeout_s=timeout)
    if as_json:
        bodies = [summary.as_dict(outcome) for outcome in outcomes]
        print(json.dumps(bodies if len(recipes) > 1 else bodies[0], indent=2))
    else:
        for outcome in outcomes:
            summary.show(outcome)
    failed = [outcome for outcome in outcomes if not outcome.succeeded]
    for outcome in failed[:-1]:
        say(f"sightline: {outcome.error}")
    if failed:
        raise failed[-1].error
