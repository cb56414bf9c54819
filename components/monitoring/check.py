"""One check: the champion's footage against what has come since, and what the champion says of that."""

import time
from dataclasses import asdict
from pathlib import Path

from mlflow.entities.model_registry import ModelVersion

from components.core import paths, profile, tracking
from components.core.bundle import Pointer, model_tag, read_pointer
from components.core.errors import SightlineError
from components.core.recipe import Recipe
from components.core.tables import scored_by
from components.monitoring.captured import captured
from components.monitoring.drift import compare
from components.monitoring.footage import footage, reference, shard, unseen

DAY_MS = 86_400_000


def check(recipe: Recipe, alpha: float, scores: Path) -> dict:
    """A `Report` as a dict, its `drifted` kinds, and {version, footage: a digest of which assets are new and of their
    labels, labelled: how many have labels and scores, left_out: what could not be compared, age_days: the champion's,
    stale: whether it is older than it may be and there are labels to learn from}.

    `scores`: the champion's predictions on new footage. Raises SightlineError where there is no champion, or no profile
    of it.
    """
    pointer, version = champion(recipe)
    found = footage(recipe, version, scores, model_tag(recipe.name, pointer))
    counts = profile.quarantined(found.then), profile.quarantined(found.now)
    report = compare(profile.figures(found.then), found.current(), alpha, counts)
    return asdict(report) | {
        "version": pointer.version,
        "drifted": report.drifted,
        "footage": found.digest,
        "labelled": found.labelled,
        "left_out": found.left_out,
        "age_days": round(age_days(version), 3),
        "stale": age_days(version) > recipe.monitoring.stale_days and found.labelled > 0,
    }


def check_captured(recipe: Recipe, alpha: float, folder: Path) -> dict:
    """The same, of the pictures that the recipe's service captured in `folder` while the champion answered.

    `footage` is a digest of which pictures they are; none of them has a label, so nothing is `stale`. Raises
    SightlineError where there is no champion, no profile of it, or no folder.
    """
    pointer, version = champion(recipe)
    found = captured(recipe, reference(version), folder, model_tag(recipe.name, pointer))
    report = compare(profile.figures(found.then), found.figures, alpha)
    return asdict(report) | {
        "version": pointer.version,
        "drifted": report.drifted,
        "footage": found.digest,
        "labelled": 0,
        "left_out": found.left_out,
        "age_days": round(age_days(version), 3),
        "stale": False,
    }


def age_days(version: ModelVersion) -> float:
    """How long ago the version was registered."""
    return (time.time() * 1000 - version.creation_timestamp) / DAY_MS


def to_score(recipe: Recipe) -> list[Path]:
    """The usable files of the catalog that the champion has neither seen nor scored."""
    pointer, version = champion(recipe)
    model, scores = model_tag(recipe.name, pointer), paths.scores(recipe.name)
    new = unseen(paths.data(recipe.name), reference(version))
    usable = [asset for asset, row in new.items() if row["status"] == "ok"]
    return [paths.resolve(new[asset]["uri"]) for asset in usable if scored_by(shard(scores, asset)) != model]


def champion(recipe: Recipe) -> tuple[Pointer, ModelVersion]:
    """The champion that is served here: what is deployed, and its version in the registry."""
    pointer = read_pointer(paths.state("deployed", recipe.name))
    if pointer is None:
        raise SightlineError(f"{recipe.registered_name}: there is no champion here", f"sightline run {recipe.name}")
    return pointer, tracking.version_by_number(recipe.registered_name, pointer.version)
