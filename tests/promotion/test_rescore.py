"""The champion is asked about held-out footage that came after it was judged."""

import numpy as np

from components.core import tables
from components.core.files import read_json
from components.promotion import __main__ as stage
from components.tasks.classification.model import META
from tests.deployment import making
from tests.promotion.test_promote import make
from tests.workspaces import catalog_row

FRAMES = 20  # of an asset, as making.write_evaluation has them


def footage(data, assets: int, learned: int = 0, **vectors: str) -> None:
    """Tables of assets whose frames are labelled as `making.write_evaluation` labels them: all held out but the first
    `learned`; the vectors as the model reads them, but made otherwise in these points."""
    random = np.random.default_rng(3)
    meta = read_json(data / "model" / META, "")
    rows = [catalog_row(f"{number:016x}", "train" if number < learned else "test") for number in range(assets)]
    tables.write_shard(data / "catalog" / "part-00000.parquet", rows, tables.CATALOG)
    notes = []
    for row in rows:
        made = random.normal(size=(FRAMES, meta["head"]["dimension"])).astype(np.float32)
        making.write_features(data, row["asset_id"], made, meta["vectors"] | {"engine": "some 1.0"} | vectors)
        for first, last, name in ((0, FRAMES // 2 - 1, "normal"), (FRAMES // 2, FRAMES - 1, "suspicious")):
            span = {"asset_id": row["asset_id"], "first_pts": first, "last_pts": last, "class": name}
            notes.append(span | {"source": "x", "weight": 1.0})
    tables.write_shard(data / "annotations" / "part-00000.parquet", notes, tables.ANNOTATIONS)


def challenge(root, assets: int, **vectors: str) -> dict:
    """The decision on a challenger judged on so many assets, whose vectors are made otherwise in these points."""
    recipe, data, _ = make(root, 2, 3.0)
    making.write_evaluation(data, 3.0, 2, assets=assets)
    footage(data, assets, **vectors)
    stage.main(recipe)
    return making.read(data / "decision.json")


def champion(root, learned: int = 0) -> None:
    recipe, data, _ = make(root, 1, 1.0)
    footage(data, 10, learned)
    stage.main(recipe)


def test_both_are_judged_on_all_of_todays_held_out_assets(root):
    champion(root)
    decision = challenge(root, 16)
    assert decision["champion"]["assets"] == 16 and decision["champion"]["frames"] == 16 * FRAMES
    assert abs(decision["champion"]["metrics"]["frame_auc"] - 0.5) < 0.15, "of noise it knows nothing"
    assert decision["promoted"]


def test_what_the_champion_said_then_counts_where_nothing_is_new(root):
    champion(root)
    decision = challenge(root, 10)
    assert decision["champion"]["assets"] == 10
    assert decision["champion"]["metrics"]["frame_auc"] > 0.8


def test_a_champion_that_reads_other_vectors_is_compared_where_both_were_judged(root):
    champion(root)
    decision = challenge(root, 16, backbone="another")
    assert decision["champion"]["assets"] == 10
    assert decision["champion"]["metrics"]["frame_auc"] > 0.8
    assert "vectors of another backbone than it reads" in " ".join(decision["reasons"])


def test_what_it_learned_from_is_not_asked_again(root):
    """Assets that were in training then and are held out now: the champion would answer from memory."""
    champion(root, learned=4)
    decision = challenge(root, 16)
    assert decision["champion"]["assets"] == 12


def test_a_champion_whose_model_is_gone_is_compared_where_both_were_judged(root):
    champion(root)
    for file in (root / ".sightline" / "mlflow").rglob("head.safetensors"):
        file.unlink()
    decision = challenge(root, 16)
    assert decision["champion"]["assets"] == 10 and "could not be asked" in " ".join(decision["reasons"])
