"""Drift of the footage in a workspace against what its champion saw, on a real MLflow store."""

import json

import numpy as np
import pyarrow as pa
import pytest

from components.core import paths
from components.core.tables import CATALOG, features_schema, write_shard
from components.monitoring import __main__ as command
from components.monitoring.footage import figures
from tests.deployment import making
from tests.promotion.conftest import enter
from tests.promotion.test_promote import make
from tests.promotion.test_promote import stage as promotion
from tests.workspaces import catalog_row

DIMENSION = 5


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A workspace whose champion saw forty assets."""
    enter(tmp_path, monkeypatch)
    making.give_store(tmp_path)
    recipe, data, _ = make(tmp_path, 1, 1.0)
    write(data, 40)
    promotion.main(recipe)
    return tmp_path


def write(data, seen: int, new: int = 0, **shifts: float) -> None:
    """The catalog and features of `seen` assets as ever, and of `new` ones whose figures are shifted."""
    random = np.random.default_rng(7)
    rows = []
    for number in range(seen + new):
        moved = shifts if number >= seen else {}
        rows.append(catalog_row(f"{number:016x}", "test") | {
            "brightness": float(random.normal(100 + moved.get("brightness", 0), 10)),
            "contrast": float(random.normal(30, 5)), "sharpness": float(random.normal(50, 9)),
            "width": moved.get("width", 64),
        })  # fmt: skip
        vectors = random.normal(moved.get("embedding", 0), 1, (3, DIMENSION)).astype(np.float32)
        schema, asset = features_schema(DIMENSION), f"{number:016x}"
        columns = [
            pa.array([f"{asset}-{i:08d}" for i in range(3)]), pa.array([asset] * 3), pa.array(range(3), pa.int64()),
            pa.array(range(3), pa.int64()),
            pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), type=schema.field("vector").type),
        ]  # fmt: skip
        write_shard(data / "features" / f"{asset}.parquet", pa.table(columns, schema=schema), schema)
    write_shard(data / "catalog" / "part-00000.parquet", rows, CATALOG)


def told(capsys, *more) -> dict:
    assert command.main(["--recipe", "toy", "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "shifts, drifted",
    [
        ({}, set()),
        ({"brightness": -60}, {"brightness"}),
        ({"width": 640}, {"pixels"}),
        ({"embedding": 3.0}, {"embedding"}),
    ],
)
def test_new_footage_is_compared_with_what_the_champion_saw(root, capsys, shifts, drifted):
    write(root / "data" / "toy", 40, 20, **shifts)
    found = told(capsys)
    assert (found["reference"], found["current"]) == (40, 20)
    assert {test["name"] for test in found["tests"] if test["drifted"]} == drifted
    assert found["drifted"] == bool(drifted)


def test_nothing_new_is_no_drift(root, capsys):
    found = told(capsys)
    assert found["current"] == 0 and not found["drifted"] and "too few" in found["reason"]
    assert command.main(["--recipe", "toy"]) == 0
    assert "0 new assets against 40" in capsys.readouterr().out


def test_predictions_on_new_footage_are_compared_too(root, capsys):
    data = root / "data" / "toy"
    making.write_evaluation(root / "elsewhere", 3.0, 9, assets=12, frames=5)
    write(data, 40, 20)
    assert "score" in {
        test["name"] for test in told(capsys, "--scores", str(root / "elsewhere/evaluation/predictions"))["tests"]
    }


def test_without_a_champion_there_is_nothing_to_compare_with(tmp_path, monkeypatch, capsys):
    enter(tmp_path, monkeypatch)
    making.give_store(tmp_path)
    make(tmp_path, 1, 1.0)
    assert command.main(["--recipe", "toy"]) == 1
    assert "there is no champion" in capsys.readouterr().err


def test_figures_of_an_asset(root):
    data = paths.data("toy")
    (found,) = figures(data, {f"{3:016x}", f"{1:016x}", "unknown"})
    assert found["brightness"].shape == (2,) and found["embedding"].shape == (2, DIMENSION)
    assert found["pixels"][0] == pytest.approx(np.log2(64 * 48))
    assert np.isnan(found["saturation"]).all()
