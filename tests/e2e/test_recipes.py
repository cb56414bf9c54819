"""The other recipes from their generated pictures to a champion, at a small size.

Slow, because each runs the nine stages for real, with Spark, Horovod, MLflow and Prefect.
"""

import json

import httpx
import pyarrow.parquet as pq
import pytest

from components.core.media import encode_jpeg
from tests.e2e.conftest import Workspace, served
from tests.footage import picture

pytestmark = pytest.mark.slow
SMALL = {
    "sensor": {
        "ingest": {
            "cameras": {"seed": 5, "sites": 5, "pictures": 20, "animals": 0.4},
            "split": {"test": ["site-d/*", "site-e/*"], "val": ["site-c/*"]},
        },
        "tuning": {"trials": 2, "epochs": 1},
        "training": {"epochs": 2},
    },
    "digits": {
        "ingest": {
            "digits": {"seed": 3, "per_class": 16, "size": 32},
            "split": {"test_fraction": 0.3, "val_fraction": 0.1, "seed": 0},
        },
        "validation": {"min_frames_per_class": 1},
        "training": {"epochs": 4},
    },
}

SITES = "select site, count(*) n from catalog group by site"


@pytest.mark.parametrize("recipe", SMALL)
def test_from_generated_pictures_to_a_champion_that_answers(recipe, tmp_path):
    workspace = Workspace(tmp_path / "workspace", recipe, SMALL[recipe])
    workspace.sightline("run", recipe)
    data = workspace.root / "data" / recipe
    catalog = pq.read_table(data / "catalog").to_pylist()
    metrics = json.loads((data / "evaluation" / "metrics.json").read_text())
    assert json.loads((data / "decision.json").read_text())["promoted"]
    assert (data / "evaluation" / "report" / "index.html").is_file()
    with served(workspace) as url:
        answer = httpx.post(f"{url}/v1/predict", files={"picture": encode_jpeg(picture(1), 90)})
    (result,) = answer.raise_for_status().json()["results"]
    assert sum(result["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    if recipe == "sensor":
        assert {row["site"] for row in catalog} == {f"site-{letter}" for letter in "abcde"}
        assert {row["name"].split("/")[0] for row in catalog if row["split"] == "test"} == {"site-d", "site-e"}
        assert all(row["camera_model"] and row["latitude"] and row["captured_at"] for row in catalog)
        assert set(metrics["slices"]["site"]) == {"site-d", "site-e"} and "light" in metrics["slices"]
        counted = workspace.sightline("catalog", recipe, "--json", "--sql", SITES)
        assert {row["site"]: row["n"] for row in json.loads(counted.stdout)}["site-a"] == 20
    else:
        assert set(result["probabilities"]) == set("0123456789")
        assert metrics["accuracy"] > 0.2, "ten classes: chance is .1"
        assert {"f1_macro", "f1_weighted", "roc_auc_macro", "roc_auc_binarised"} <= set(metrics)
