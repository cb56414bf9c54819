"""Answers about lineage as lines for a terminal."""

from typing import Any

SHOWN = 12  # assets; --json has them all


def in_words(found: dict[str, Any]) -> str:
    """The answer as lines for a terminal."""
    if "versions" in found:
        saw = found["versions"]
        lines = [f"{found['source']} is asset {found['asset']}"]
        lines += [
            f"  version {one['version']}: {one['split']}, as {one['uri']} (run {one['mlflow_run']})" for one in saw
        ]
        return "\n".join(lines if saw else [*lines, "  no version saw it"]) + "\n"
    lines = []
    if "prediction" in found:
        row = found["prediction"]
        lines += [f"prediction    {row['prediction']} {row['score']:.4f} on frame {row['frame_index']} of {row['uri']}"]
        lines += [f"source        {found['source']['file']}: its bytes are {found['source']['bytes']}"]
    aliases = f" ({', '.join(found['aliases'])})" if found["aliases"] else ""
    lines += [f"model         {found['model']} version {found['version']}{aliases}, digest {found['model_digest']}"]
    lines += [
        f"MLflow run    {found['mlflow_run']}",
        f"Prefect run   {found['prefect_flow_run'] or 'none: run by DVC alone'}",
    ]
    changes = found["git_changes"] or []
    lines += [f"git commit    {found['git_commit']}{f', {len(changes)} files changed since' if changes else ''}"]
    lines += [f"dvc.lock      sha256 {found['dvc_lock']}"]
    lines += [f"{'table':13} {name}: sha256 {digest}" for name, digest in found["tables"].items()]
    assets = found["assets"]
    lines += [f"source files  {len(assets)}"]
    lines += [f"  {one['split']:6} {one['uri']} sha256 {one['sha256']}" for one in assets[:SHOWN]]
    return "\n".join(lines + ([f"  and {len(assets) - SHOWN} more: --json"] if len(assets) > SHOWN else [])) + "\n"
