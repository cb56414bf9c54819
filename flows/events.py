"""The events that the project's own flows send to Prefect, each about one recipe."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from prefect import get_client
from prefect.runtime import flow_run

ARRIVED = "sightline.footage.arrived"
CHECKED = "sightline.footage.checked"
WANTED = "sightline.retraining.wanted"
FOUND = {  # by the kind of drift, as the monitoring component names it
    "data": "sightline.footage.drifted",
    "novelty": "sightline.footage.new",
    "predictions": "sightline.predictions.drifted",
    "decay": "sightline.model.decayed",
    "quarantine": "sightline.quarantine.high",
    "stale": "sightline.model.stale",
}
CURABLE = ("novelty", "decay", "stale")  # by training


def resource(recipe: str) -> dict[str, str]:
    """The recipe as the resource of events."""
    return {"prefect.resource.id": f"sightline.recipe.{recipe}", "prefect.resource.name": recipe}


def send(event: str, recipe: str, payload: dict[str, Any]) -> None:
    """Sends an event and waits until the server has it: Prefect's own `emit_event` would lose it with the connection.

    Raises httpx.HTTPError where the server does not take it.
    """
    related = []
    if run := flow_run.id:
        related.append({"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.resource.role": "flow-run"})
    body = {
        "id": str(uuid4()), "occurred": datetime.now(UTC).isoformat(), "event": event, "resource": resource(recipe),
        "related": related, "payload": payload,
    }  # fmt: skip
    with get_client(sync_client=True) as client:
        client.request("POST", "/events", json=[body]).raise_for_status()
