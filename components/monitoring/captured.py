"""What a model service captured, picture by picture, to be compared with the profile of its champion.

The profile has a row an asset. Brightness, contrast, sharpness, saturation and size of an asset that is a picture are
those of a captured picture; of a video they are means over some of its frames, which differ less from each other than
its clip does from other clips. A score does differ: that of a clip is the mean of very unlike frames, so it is compared
only where the champion was made from pictures alone.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from components.core import paths, tables
from components.core.errors import SightlineError
from components.core.files import value_sha256
from components.core.profile import FIGURES, PIXELS, SCORE
from components.core.recipe import Recipe

APART = timedelta(seconds=1)  # of two pictures of one source that are two observations
COLUMNS = ["time", "request_id", "place", "source", "width", "height", *FIGURES, "score"]
PICTURE = "picture"  # an asset's kind in the catalog


@dataclass(frozen=True)
class Captured:
    """`then`: the champion's profile; `figures` of the newest captured pictures, each (N,) float64; `digest`: of which
    they are; `left_out`: what cannot be compared or read, in words."""

    then: pa.Table
    figures: dict[str, np.ndarray]
    digest: str
    left_out: tuple[str, ...]


def captured(recipe: Recipe, then: pa.Table, folder: Path, model: str) -> Captured:
    """The two sides: the profile, and what was captured in `folder` of the answers of the model with this tag.

    Raises SightlineError where there is no such folder.
    """
    rows, left_out = newest(folder, model, recipe.monitoring.window)
    found = figures(rows)
    if not of_pictures(recipe, then):
        del found[SCORE]
        left_out.append(f"{SCORE}: the champion was made from videos, whose scores are means over many frames")
    names = sorted([row["request_id"], row["place"]] for row in rows)
    return Captured(then, found, value_sha256(names), tuple(left_out))


def newest(folder: Path, model: str, count: int) -> tuple[list[dict], list[str]]:
    """(rows of COLUMNS of the newest `count` pictures that this model answered, which shards cannot be read and why).

    Of pictures of one source within APART only one counts, of a request the first: they may be the same scene over and
    over. Shards are gone through from the newest on, no further than needed.
    """
    if not folder.is_dir():
        raise SightlineError(f"{folder}: nothing was captured there", "serve with --capture DIR, and name that folder")
    kept: list[dict] = []
    last: dict[str, datetime] = {}
    unread = []
    for shard in reversed(tables.shards(folder)):
        if len(kept) >= count:
            break
        try:
            rows = _rows(shard, model)
        except SightlineError as error:
            if shard.exists():  # else the service has made room meanwhile
                unread.append(error.problem)
            continue
        for row in sorted(rows, key=lambda one: (one["time"], -one["place"]), reverse=True):
            source = row["source"]
            if source not in last or last[source] - row["time"] >= APART:
                last[source] = row["time"]
                kept.append(row)
    return sorted(kept, key=lambda one: one["time"], reverse=True)[:count], unread


def figures(rows: list[dict]) -> dict[str, np.ndarray]:
    """What a two-sample test takes, each (N,) float64: as `profile.figures` of as many pictures."""
    found = {name: np.array([row[name] for row in rows], np.float64) for name in (*FIGURES, SCORE)}
    # To the last bit as in the profile: a test of ties takes the same size for another one where rounding differs.
    return found | {PIXELS: np.array([float(np.log2(row["width"] * row["height"])) for row in rows], np.float64)}


def of_pictures(recipe: Recipe, then: pa.Table) -> bool:
    """Whether all usable assets of the profile are pictures, as far as the catalog still has them; if none, False."""
    catalog = paths.data(recipe.name, "catalog")
    if not catalog.is_dir():
        return False
    known = set(then.filter(then["usable"])["asset_id"].to_pylist())
    rows = tables.read_table(catalog, ["asset_id", "kind"]).to_pylist()
    return {row["kind"] for row in rows if row["asset_id"] in known} == {PICTURE}


def _rows(shard: Path, model: str) -> list[dict]:
    """The rows of a shard; none where they are of another model. Raises SightlineError where it cannot be read."""
    made = tables.scored_by(shard)
    if made is None:
        raise SightlineError(f"{shard}: is no shard of captured pictures", "take it out of the folder")
    return tables.read_shard(shard, COLUMNS).to_pylist() if made == model else []
