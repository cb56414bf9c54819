"""Export: a recipe's model for whoever serves models by other means."""

from typing import Annotated

import typer

from flows.commands.app import Recipe, app, component

export = typer.Typer(
    help="A model for other servers than this project's.",
    epilog="Example: sightline export mlflow suspicious -o suspicious-mlflow",
    no_args_is_help=True,
)
app.add_typer(export, name="export")


@export.command(epilog="Example: sightline export mlflow suspicious -o suspicious-mlflow")
def mlflow(
    recipe: Recipe,
    output: Annotated[str, typer.Option("--output", "-o", metavar="DIR", help="Where the model's folder goes.")],
    version: Annotated[int | None, typer.Option(metavar="N", help="A published version, not the champion.")] = None,
    log: Annotated[bool, typer.Option("--log", help="Put it beside the version in MLflow's registry too.")] = False,
) -> None:
    """Write the champion as an MLflow model: mlflow.pyfunc.load_model and `mlflow models serve` take it."""
    given = [f"--version={version}"] if version is not None else []
    component("components.pyfunc", "--recipe", recipe, "--output", output, *given, *(["--log"] if log else []))
