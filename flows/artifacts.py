"""What a training run leaves in Prefect: metrics, decision, report, and how each stage went."""

import json
from pathlib import Path
from typing import Any

from components.core import paths
from components.core.files import file_sha256


def publish(recipe: str, stages: list[dict[str, Any]], commit: str | None) -> None:
    """Makes the artifacts of the flow run that is going on. What a run did not get to make is left out."""
    from prefect.artifacts import create_markdown_artifact, create_table_artifact

    create_table_artifact(key=f"{recipe}-stages", table=stages, description=f"Stages of {recipe}")
    if metrics := read_json(recipe, "evaluation", "metrics.json"):
        create_table_artifact(key=f"{recipe}-metrics", table=headline_rows(metrics), description="Held-out assets")
        if slices := slice_rows(metrics):
            create_table_artifact(key=f"{recipe}-slices", table=slices, description="Parts of the held-out assets")
    if decision := read_json(recipe, "decision.json"):
        create_markdown_artifact(key=f"{recipe}-decision", markdown=decision_text(decision))
    create_markdown_artifact(key=f"{recipe}-report", markdown=report_text(recipe, commit))


def metric_rows(metrics: dict[str, Any], prefix: str = "") -> list[dict[str, Any]]:
    """Rows `metric`, `value` of a metrics file; nested names are joined by dots."""
    rows = []
    for name, value in metrics.items():
        if isinstance(value, dict):
            rows += metric_rows(value, f"{prefix}{name}.")
        else:
            shown = round(value, 4) if isinstance(value, float) else value
            rows.append({"metric": f"{prefix}{name}", "value": shown})
    return rows


def headline_rows(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """`metric_rows` of the figures of all held-out assets together."""
    return metric_rows({name: value for name, value in metrics.items() if name != "slices"})


def slice_rows(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each slice of the held-out assets: `slice` (as `site A`) and its figures, None where undefined."""
    return [
        {"slice": f"{dimension} {name}"}
        | {key: round(value, 4) if isinstance(value, float) else value for key, value in figures.items()}
        for dimension, found in metrics.get("slices", {}).items()
        for name, figures in found.items()
    ]


def decision_text(decision: dict[str, Any]) -> str:
    """The promotion's decision in Markdown."""
    lines = [f"# {'Promoted' if decision.get('promoted') else 'Not promoted'}"]
    if version := decision.get("model_version"):
        lines.append(f"Model version {version}")
    return "\n\n".join([*lines, "\n".join(f"- {reason}" for reason in decision.get("reasons", []))])


def report_path(recipe: str) -> Path:
    """The evaluation's report."""
    return paths.data(recipe, "evaluation") / "report" / "index.html"


def report_text(recipe: str, commit: str | None) -> str:
    """Where the report is and what the run can be traced back to, in Markdown."""
    lines = [f"# {recipe}"]
    report = report_path(recipe)
    if report.is_file():
        lines.append(f"Report: [{report.relative_to(paths.workspace())}]({report.as_uri()})")
    lines.append(f"Commit: `{commit or 'none'}`")
    lock = paths.workspace() / "dvc.lock"
    if lock.is_file():
        lines.append(f"dvc.lock: sha256 `{file_sha256(lock)}`")
    return "\n\n".join(lines)


def read_json(recipe: str, *parts: str) -> dict[str, Any] | None:
    """A JSON output of the recipe, or None where it is not there."""
    path = paths.data(recipe).joinpath(*parts)
    return json.loads(path.read_text()) if path.is_file() else None
