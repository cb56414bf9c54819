"""What a training run is summed up to, for a terminal and for a script."""

import sys
from typing import TYPE_CHECKING, Any

from components.core import paths
from flows import artifacts

if TYPE_CHECKING:
    from flows.training import TrainingRun


def as_dict(run: "TrainingRun") -> dict[str, Any]:
    """The run as a mapping for JSON: state, message, stages, and what the recipe's outputs now say."""
    report = artifacts.report_path(run.recipe)
    return {
        "recipe": run.recipe,
        "state": run.state,
        "message": run.message,
        "flow_run": run.flow_run,
        "stages": run.stages,
        "metrics": artifacts.read_json(run.recipe, "evaluation", "metrics.json"),
        "decision": artifacts.read_json(run.recipe, "decision.json"),
        "report": str(report.relative_to(paths.workspace())) if report.is_file() else None,
    }


def show(run: "TrainingRun") -> None:
    """Prints the stages and, for a run that succeeded, metrics, decision and report."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=sys.stdout)
    table = Table("stage", "status", "seconds", box=None)
    table.columns[2].justify = "right"
    for row in run.stages:
        table.add_row(row["stage"], row["status"], "" if row["seconds"] is None else f"{row['seconds']:.1f}")
    console.print(table)
    if not run.succeeded:
        return
    body = as_dict(run)
    if body["metrics"]:
        table = Table("held-out metric", "value", box=None)
        for row in artifacts.headline_rows(body["metrics"]):
            table.add_row(row["metric"], str(row["value"]))
        console.print(table)
        if slices := artifacts.slice_rows(body["metrics"]):
            table = Table(*slices[0], box=None)
            for row in slices:
                table.add_row(*("–" if value is None else str(value) for value in row.values()))
            console.print(table)
    if decision := body["decision"]:
        version = f" (version {decision['model_version']})" if decision.get("model_version") else ""
        console.print(f"{'promoted' if decision.get('promoted') else 'not promoted'}{version}", highlight=False)
        for reason in decision.get("reasons", []):
            console.print(f"  {reason}", highlight=False)
    if body["report"]:
        console.print(f"report: {body['report']}", soft_wrap=True, highlight=False)
    console.print(run.message, highlight=False)
