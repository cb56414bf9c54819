"""The `sightline` command: what can be asked and how the answer is shown. The work is in the modules beside it."""

import json
import os
import sys
import traceback
from enum import StrEnum
from typing import Annotated

import typer
from typer.core import TyperGroup

from components.core.errors import SightlineError, UsageError


class Commands(TyperGroup):
    """The commands, with errors told as problem and remedy: exit codes 0 done, 1 failed, 2 wrong request."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except SightlineError as error:
            if os.environ.get("SIGHTLINE_DEBUG"):
                traceback.print_exc()
            say(f"sightline: {error}")
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            say("sightline: interrupted; what was finished is kept, run again to go on")
            sys.exit(130)


app = typer.Typer(
    name="sightline",
    cls=Commands,
    help="From raw footage to a served, watched and retrained vision model.",
    epilog="Example: sightline demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Runner(StrEnum):
    """How stages are executed."""

    local = "local"


Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe of params.yaml.")]


def main() -> None:
    """Entry point of the `sightline` command."""
    app()


@app.command(epilog="Example: sightline demo")
def demo() -> None:
    """The whole flow on generated footage, offline, and where to look at what it made."""
    from flows import demo as demonstration

    demonstration.run(say)


@app.command(epilog="Example: sightline run suspicious --from training --set training.lr=.01")
def run(
    recipe: Recipe,
    runner: Annotated[Runner, typer.Option(help="How stages are executed.")] = Runner.local,
    from_stage: Annotated[str | None, typer.Option("--from", metavar="STAGE", help="Begin at this stage.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Run stages that did not change too.")] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a parameter of the recipe in params.yaml first."),
    ] = None,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="End a stage that takes longer.")] = None,
    as_json: Json = False,
) -> None:
    """Bring every stage of a recipe up to date, through Prefect."""
    from components.core.recipe import load_recipe
    from flows import overrides
    from flows.graph import read_graph

    # What is wrong with the request is said before anything is written or started.
    changes = overrides.apply(recipe, settings) if settings else []
    if not settings:
        load_recipe(recipe)
    read_graph(recipe, from_stage)
    for change in changes:
        say(f"params.yaml: {change}")
    if changes:
        say("undo: git checkout params.yaml")

    from flows import summary, training

    outcome = training.run(recipe, from_stage, force, timeout)
    if as_json:
        print(json.dumps(summary.as_dict(outcome), indent=2))
    else:
        summary.show(outcome)
    if not outcome.succeeded:
        raise outcome.error


@app.command(epilog="Example: sightline up --prefect-port 4201")
def up(
    prefect_port: Annotated[int, typer.Option(help="Port of the Prefect server.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(help="Port of the MLflow server.")] = 5000,
    serving_port: Annotated[int, typer.Option(help="Port of the first model service.")] = 8080,
) -> None:
    """Start the Prefect server, the MLflow server, the deployments and the model services."""
    from flows import services

    rows = services.up(services.Ports(prefect_port, mlflow_port, serving_port), say)
    for row in rows:
        if row.service == "prefect" and row.url:
            say(f"for other shells: export PREFECT_API_URL={row.url}/api")
    if not services.champions():
        say("no model service: no recipe has a champion yet (sightline run RECIPE makes one)")


@app.command(epilog="Example: sightline down")
def down() -> None:
    """Stop what `sightline up` started, and nothing else."""
    from flows import services

    if not services.down(say):
        say("nothing was running")


@app.command(epilog="Example: sightline status --json")
def status(as_json: Json = False) -> None:
    """Show the local services: which run, and where."""
    from flows import services

    rows = services.status()
    if as_json:
        print(services.as_json(rows))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("service", "state", "url", "pid", box=None)
    for row in rows:
        table.add_row(row.service, row.state, row.url, str(row.pid or ""))
    Console().print(table)


@app.command(epilog="Example: sightline serve suspicious --port 8080")
def serve(
    recipe: Recipe,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
) -> None:
    """Serve a recipe's champion over HTTP, until interrupted; follows the registry's champion alias."""
    import subprocess

    from components.core import paths
    from components.core.distributed import die_with_parent
    from components.core.recipe import load_recipe
    from flows import services

    load_recipe(recipe)
    os.chdir(paths.workspace())
    sys.stdout.flush()
    subprocess.Popen(services.follower_command(recipe), preexec_fn=die_with_parent)  # ends with the service
    command = services.serving_command(recipe, host, port)
    os.execv(command[0], command)  # signals reach the service itself


@app.command(epilog="Example: sightline data caviar")
def data(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A data set, or a recipe.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the data sets that are known.")] = False,
    as_json: Json = False,
) -> None:
    """Bring a data set, or a recipe's source, here and check it; from SIGHTLINE_MIRROR where that has it."""
    import subprocess

    options = [*(["--list"] if listed else []), *(["--json"] if as_json else []), *(["--", name] if name else [])]
    sys.stdout.flush()
    code = subprocess.run([sys.executable, "-m", "components.ingest.fetch", *options]).returncode
    if code:
        raise typer.Exit(code)


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


@app.command(epilog="Example: sightline doctor")
def doctor(as_json: Json = False) -> None:
    """Check what this machine and workspace bring, and say the remedy for what is missing."""
    from flows import doctor as checks

    findings = checks.examine()
    if as_json:
        print(json.dumps([vars(finding) for finding in findings], indent=2))
    else:
        checks.show(findings)
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(1)


def say(text: str) -> None:
    """Prints a line for the reader, apart from results on standard output."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
