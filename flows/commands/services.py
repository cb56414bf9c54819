"""The services of this machine: start, stop, look, and what the machine lacks."""

import json
from typing import Annotated

import typer

from components.core.errors import UsageError
from flows.commands.app import Json, app, say

Compose = Annotated[bool, typer.Option("--compose", help="As containers (docker/compose.yaml), by `docker compose`.")]


@app.command(epilog="Example: sightline up --prefect-port 4201")
def up(
    prefect_port: Annotated[int, typer.Option(help="Port of the Prefect server.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(help="Port of the MLflow server.")] = 5000,
    serving_port: Annotated[int, typer.Option(help="Port of the first model service.")] = 8080,
    compose: Compose = False,
    profile: Annotated[
        str, typer.Option(metavar="small|full", help="With --compose; full: Spark, Prometheus, Grafana too.")
    ] = "small",
) -> None:
    """Start the Prefect server, the MLflow server, the deployments and the model services."""
    from flows import services

    if profile not in ("small", "full"):
        raise UsageError(f"--profile {profile}", "there are small and full")
    if compose:
        from flows import compose as containers

        containers.up(profile, say)
        return

    rows = services.up(services.Ports(prefect_port, mlflow_port, serving_port), say)
    for row in rows:
        if row.service == "prefect" and row.url:
            say(f"for other shells: export PREFECT_API_URL={row.url}/api")
    if not services.champions():
        say("no model service: no recipe has a champion yet (sightline run RECIPE makes one)")


@app.command(epilog="Example: sightline down")
def down(compose: Compose = False) -> None:
    """Stop what `sightline up` started, and nothing else."""
    from flows import services

    if compose:
        from flows import compose as containers

        containers.down(say)
        return

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
