"""What a training run leaves in Prefect: metrics, decision, report, and how each stage went."""

import json
import os
from pathlib import Path
from typing import Any

import httpx

from components.core import paths
from components.core.files import file_sha256
from components.core.recipe import load_recipe
from flows.processes import find

REPORT = "evaluation/report/index.html"  # among the artifacts of a model's MLflow run
PATIENCE_S = 5.0


def publish(recipe: str, stages: list[dict[str, Any]], commit: str | None, model: bool) -> None:
    """Makes the artifacts of the flow run that is going on.

    What a run did not get to make is left out, and where it was not to bring up a `model`, all that tells of one.
    """
    from prefect.artifacts import create_markdown_artifact, create_table_artifact

    create_table_artifact(key=f"{recipe}-stages", table=stages, description=f"Stages of {recipe}")
    if not model:
        return
    if metrics := read_json(recipe, "evaluation", "metrics.json"):
        create_table_artifact(key=f"{recipe}-metrics", table=headline_rows(metrics), description="Held-out assets")
        if slices := slice_rows(metrics):
            create_table_artifact(key=f"{recipe}-slices", table=slices, description="Parts of the held-out assets")
    if decision := read_json(recipe, "decision.json"):
        verdict = "Promoted" if decision.get("promoted") else "Not promoted"
        create_markdown_artifact(key=f"{recipe}-decision", markdown=decision_text(decision), description=verdict)
    text = report_text(recipe, commit, decision and mlflow_run(recipe, decision["model_version"]))
    create_markdown_artifact(key=f"{recipe}-report", markdown=text, description="Report, model, commit, dvc.lock")


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


def mlflow_run(recipe: str, version: int) -> str | None:
    """The page of the MLflow server, where one is at hand, of the run that a version of the model belongs to."""
    server, own = os.environ.get("MLFLOW_TRACKING_URI", ""), find("mlflow")
    if not server.startswith("http"):
        if own is None:
            return None
        server = own.url
    try:
        named = {"name": load_recipe(recipe).registered_name, "version": str(version)}
        run = _asked(server, "model-versions/get", named)["model_version"]["run_id"]
        experiment = _asked(server, "runs/get", {"run_id": run})["run"]["info"]["experiment_id"]
    except (httpx.HTTPError, KeyError, ValueError):  # the run of the flow is not to fail for want of a link
        return None
    return f"{server.rstrip('/')}/#/experiments/{experiment}/runs/{run}"


def _asked(server: str, what: str, parameters: dict[str, str]) -> dict[str, Any]:
    url = f"{server.rstrip('/')}/api/2.0/mlflow/{what}"
    return httpx.get(url, params=parameters, timeout=PATIENCE_S).raise_for_status().json()


def report_text(recipe: str, commit: str | None, run: str | None = None) -> str:
    """Where the report and the model are and what they can be traced back to, in Markdown. `run`: MLflow's page."""
    lines = [f"# {recipe}"]
    report = report_path(recipe)
    if run:
        lines += [f"Report: [{REPORT}]({run}/artifacts/{REPORT})", f"Model: [its run in MLflow]({run})"]
    if report.is_file():
        lines.append(f"The report with its videos: `{report.relative_to(paths.workspace())}`")
    lines.append(f"Commit: `{commit or 'none'}`")
    lock = paths.workspace() / "dvc.lock"
    if lock.is_file():
        lines.append(f"dvc.lock: sha256 `{file_sha256(lock)}`")
    return "\n\n".join(lines)


def read_json(recipe: str, *parts: str) -> dict[str, Any] | None:
    """A JSON output of the recipe, or None where it is not there."""
    path = paths.data(recipe).joinpath(*parts)
    return json.loads(path.read_text()) if path.is_file() else None
