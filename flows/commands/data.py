"""Data: fetched, looked into, sent to and brought from the remote."""

from typing import Annotated

import typer

from components.core.errors import UsageError
from flows.commands.app import Json, Recipe, app, component, say


@app.command(epilog="Example: sightline data caviar")
def data(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A data set, or a recipe.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the data sets that are known.")] = False,
    as_json: Json = False,
) -> None:
    """Bring a data set, or a recipe's source, here and check it; from SIGHTLINE_MIRROR where that has it."""
    options = [*(["--list"] if listed else []), *(["--json"] if as_json else []), *(["--", name] if name else [])]
    component("components.ingest.fetch", *options)


@app.command(epilog='Example: sightline catalog suspicious --sql "select name, reason from quarantine"')
def catalog(
    recipe: Recipe,
    sql: Annotated[str | None, typer.Option(metavar="QUERY", help="Ask this of the tables, in DuckDB's SQL.")] = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the answer to --sql as CSV.")] = False,
) -> None:
    """What a recipe's footage is: a summary, or the answer to a query.

    Tables: catalog, annotations, refused, quarantine, frames, features, predictions, as far as their stages have run.
    """
    from components.core.query import query, summary
    from components.core.recipe import load_recipe
    from flows import answers

    load_recipe(recipe)
    if sql is not None:
        _print(query(recipe, sql), as_json, as_csv)
    elif as_csv:
        raise UsageError("--csv: a summary is several tables", "add --sql QUERY, or take --json")
    elif as_json:
        answers.print_json(summary(recipe))
    else:
        for title, answer in summary(recipe).items():
            answers.show(answer, title)
            print()


@app.command(epilog="Example: sightline quarantine suspicious --csv")
def quarantine(
    recipe: Recipe,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the list as CSV.")] = False,
) -> None:
    """List what ingest refused, files and lines of labels files: digest and reason."""
    from components.core.query import query
    from components.core.recipe import load_recipe

    load_recipe(recipe)
    answer = query(recipe, "select uri, line, sha256, reason from quarantine order by uri, line")
    _print(answer, as_json, as_csv)
    if not answer.rows:
        say("nothing is quarantined")


def _print(answer, as_json: bool, as_csv: bool) -> None:
    from flows import answers

    if as_json and as_csv:
        raise UsageError("--json and --csv: only one of them can be printed", "take one")
    (answers.print_json if as_json else answers.print_csv if as_csv else answers.show)(answer)


@app.command(epilog="Example: sightline push suspicious")
def push(recipes: Annotated[list[str], typer.Argument(metavar="RECIPE...", help="Recipes of params.yaml.")]) -> None:
    """Send the versions of a recipe's data, model and bundle to the remote (params.yaml: storage.remote)."""
    from flows import storage

    say(f"{storage.remote_url()}: {storage.push(recipes)}")


@app.command(epilog="Example: sightline pull suspicious && sightline serve suspicious")
def pull(
    recipe: Recipe,
    everything: Annotated[bool, typer.Option("--all", help="All tables too, not only what a service needs.")] = False,
) -> None:
    """Bring what this commit's dvc.lock names from the remote, so that its champion can be served here."""
    from flows import storage

    say(f"{storage.remote_url()}: {storage.pull(recipe, everything)}")
    component("components.deployment.adopt", "--recipe", recipe)
