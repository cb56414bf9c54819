"""The exported model among the files of its version, so that `models:/NAME@champion` loads."""

from pathlib import Path

from components.core import tracking
from components.core.errors import SightlineError
from components.core.recipe import Recipe


def log_model(recipe: Recipe, version: int, folder: Path) -> str:
    """Logs the files of an MLflow model beside those of the registry's version, over those of an export before.
    Returns the uri that loads it.

    Raises SightlineError where the version does not lie within its run, or MLflow does not answer.
    """
    with tracking.explained():
        found = tracking.version_by_number(recipe.registered_name, version)
        client = tracking.client()
        root = client.get_run(found.run_id).info.artifact_uri if found.run_id else ""
        if not root or not found.source.startswith(f"{root}/"):
            raise SightlineError(
                f"{recipe.registered_name}, version {version}: its files lie in no run", "see where MLflow has them"
            )
        client.log_artifacts(found.run_id, str(folder), found.source.removeprefix(f"{root}/"))
    return f"models:/{recipe.registered_name}/{version}"
