"""Drift of the footage in a workspace against what its champion saw, on a real MLflow store."""

import json
import os

import numpy as np
import pytest
import yaml

from components.core import paths, profile, tracking
from components.core.bundle import Pointer, write_pointer
from components.core.recipe import Recipe, load_recipe
from components.core.tables import ANNOTATIONS, CATALOG, MODEL, predictions_schema, write_shard
from components.monitoring import __main__ as command
from components.monitoring import check
from tests.deployment import making
from tests.promotion.conftest import enter
from tests.promotion.test_promote import make
from tests.promotion.test_promote import stage as promotion
from tests.workspaces import catalog_row

DIMENSION = 5
DIGEST = "d" * 64
FRAMES = 4


def asset(number: int) -> str:
    return f"{number:016x}"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A workspace whose champion saw forty assets, twenty of them held out."""
    enter(tmp_path, monkeypatch)
    making.give_store(tmp_path)
    recipe, data, _ = make(tmp_path, 1, 1.0)
    making.write_evaluation(data, 1.0, 1, assets=20)
    write(data, 40)
    promotion.main(recipe)
    deploy(tmp_path, 1)
    return tmp_path


def deploy(root, version: int) -> None:
    """Points to a version as the deployment stage does."""
    write_pointer(root / ".sightline" / "deployed" / "toy", Pointer(version, f"v{version}", DIGEST))


def write(data, seen: int, new: int = 0, refused: int = 0, **shifts: float) -> None:
    """The catalog and features of `seen` assets as ever, of `new` shifted ones, and `refused` files more."""
    random = np.random.default_rng(7)
    rows = []
    for number in range(seen + new):
        moved = shifts if number >= seen else {}
        rows.append(catalog_row(asset(number), "test") | {
            "uri": f"{number}.mp4",
            "brightness": float(random.normal(100 + moved.get("brightness", 0), 10)),
            "contrast": float(random.normal(30, 5)), "sharpness": float(random.normal(50, 9)),
            "width": moved.get("width", 64),
        })  # fmt: skip
        vectors = random.normal(moved.get("embedding", 0), 1, (3, DIMENSION)).astype(np.float32)
        making.write_features(data, asset(number), vectors)
    rows += [
        catalog_row(asset(seen + new + number), None) | {"status": "quarantined", "reason": "it is cut short"}
        for number in range(refused)
    ]
    write_shard(data / "catalog" / "part-00000.parquet", rows, CATALOG)
    write_shard(data / "annotations" / "part-00000.parquet", [], ANNOTATIONS)


def score(data, first: int, count: int, skill: float, version: int = 1, labelled: bool = True) -> None:
    """The champion's log of new assets: right the more often the greater `skill`; and their reviewed labels."""
    random, notes = np.random.default_rng(9), []
    for number in range(first, first + count):
        rows = []
        for index in range(FRAMES):
            label = int(index >= FRAMES // 2)
            right = float(1 / (1 + np.exp(-random.normal(skill * (2 * label - 1), 1))))
            rows.append({
                "uri": "clip.mp4", "asset_id": asset(number), "frame_index": index, "pts": index, "timestamp_s": 0.0,
                "label": None, "prediction": "normal", "score": right, "model_version": str(version),
                "prob_normal": 1 - right, "prob_suspicious": right,
            })  # fmt: skip
            notes.append({
                "asset_id": asset(number), "first_pts": index, "last_pts": index,
                "class": making.CLASSES[label], "source": "review", "weight": 1.0,
            })  # fmt: skip
        schema = predictions_schema(making.CLASSES).with_metadata({MODEL: f"toy/v{version}@{DIGEST[:12]}"})
        write_shard(paths.scores("toy") / f"{asset(number)}.parquet", rows, schema)
    if labelled:
        write_shard(data / "annotations" / "part-00000.parquet", notes, ANNOTATIONS)


def told(capsys, *more) -> dict:
    assert command.main(["--recipe", "toy", "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)


def names(found: dict) -> set[str]:
    return {test["name"] for test in found["tests"] if test["drifted"]}


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
    assert names(found) - {"new looks", "new vectors"} == drifted
    assert found["drifted"] == (["data", "novelty"] if drifted else [])


def test_nothing_new_is_no_drift(root, capsys):
    found = told(capsys)
    assert found["current"] == 0 and not found["drifted"] and "too few" in found["reason"]
    assert command.main(["--recipe", "toy"]) == 0
    assert "0 new assets against 40 that version 1 was made from" in capsys.readouterr().out
    assert command.main(["--recipe", "toy", "--unseen"]) == 0
    assert not capsys.readouterr().out


def test_files_that_the_champion_has_not_seen_are_listed(root, capsys):
    write(root / "data" / "toy", 40, 2, refused=1)
    assert command.main(["--recipe", "toy", "--unseen"]) == 0
    listed = capsys.readouterr().out.split()
    assert len(listed) == 2 and all(file.startswith(str(root)) for file in listed)
    score(root / "data" / "toy", 40, 1, 1.0, labelled=False)
    assert command.main(["--recipe", "toy", "--unseen"]) == 0
    assert capsys.readouterr().out.split() == listed[1:], "what it has scored is not scored again"


def test_labels_that_come_later_make_it_another_footage(root, capsys):
    data = root / "data" / "toy"
    write(data, 40, 20)
    before = told(capsys)["footage"]
    assert told(capsys)["footage"] == before
    score(data, 40, 20, 1.0)
    assert told(capsys)["footage"] != before


def test_the_footage_that_the_champion_learned_from_may_change_under_it(root, capsys):
    """The profile is from when it was trained: that the tables have lost or changed those assets is no drift."""
    data = root / "data" / "toy"
    write(data, 40, 20)
    rows = [catalog_row(asset(number), "test") | {"brightness": 250.0} for number in range(40)]
    for number in range(40, 60):
        rows.append(catalog_row(asset(number), "test") | {"brightness": 100.0 + number % 7 - 3})
    write_shard(data / "catalog" / "part-00000.parquet", rows, CATALOG)
    assert "brightness" not in names(told(capsys))


def test_what_it_says_of_new_footage_is_compared_with_what_it_said_of_held_out_footage(root, capsys):
    data = root / "data" / "toy"
    write(data, 40, 20)
    score(data, 40, 20, 1.0)
    found = told(capsys)
    assert {"score", "error"} <= {test["name"] for test in found["tests"]} and found["labelled"] == 20
    assert not found["drifted"]


def test_a_model_that_no_longer_calls_it_right_has_decayed(root, capsys):
    data = root / "data" / "toy"
    write(data, 40, 20)
    score(data, 40, 20, -1.0)
    found = told(capsys)
    assert found["drifted"] == ["decay"] and names(found) == {"error"}


def test_a_model_that_does_better_than_it_did_has_not_decayed(root, capsys):
    data = root / "data" / "toy"
    write(data, 40, 20)
    score(data, 40, 20, 4.0)
    assert "decay" not in told(capsys)["drifted"]


def test_scores_without_labels_and_of_other_models_say_nothing_of_decay(root, capsys):
    data = root / "data" / "toy"
    write(data, 40, 20)
    score(data, 40, 20, -1.0, labelled=False)
    found = told(capsys)
    assert "error" not in {test["name"] for test in found["tests"]} and not found["labelled"]
    score(data, 40, 20, -1.0, version=7)
    assert "score" not in {test["name"] for test in told(capsys)["tests"]}


def test_many_files_that_cannot_be_read_are_an_alarm(root, capsys):
    write(root / "data" / "toy", 40, 10, refused=10)
    found = told(capsys)
    assert found["drifted"] == ["quarantine"]
    (test,) = [test for test in found["tests"] if test["drifted"]]
    assert test["shift"] == pytest.approx(0.5)


def test_an_old_champion_is_stale_where_there_is_something_to_learn_from(root, capsys, monkeypatch):
    data = root / "data" / "toy"
    write(data, 40, 20)
    assert not told(capsys)["stale"]
    monkeypatch.setattr(check, "DAY_MS", 1e-9)  # a day passes between any two moments
    assert not told(capsys)["stale"], "nothing new is labelled"
    score(data, 40, 20, 1.0)
    found = told(capsys)
    assert found["stale"] and found["age_days"] > 30


def test_footage_of_a_kind_that_it_learned_from_is_nothing_new(root, capsys):
    """By night: new at first; a champion that has learned from it finds it other than most that it saw, but not new."""
    data = root / "data" / "toy"
    write(data, 40, 20, brightness=-60)
    assert told(capsys)["drifted"] == ["data", "novelty"]
    recipe, _, _ = make(root, 2, 3.0)
    making.write_evaluation(data, 3.0, 1, assets=20)
    write(data, 40, 20, brightness=-60)
    promotion.main(recipe)
    deploy(root, 2)
    capsys.readouterr()
    write(data, 40, 50, brightness=-60)
    found = told(capsys)
    assert (found["version"], found["reference"], found["current"]) == (2, 60, 30)
    assert found["drifted"] == ["data"]
    write(data, 40, 50, brightness=60)
    assert told(capsys)["drifted"] == ["data", "novelty"]


def set_window(root, window: int) -> Recipe:
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["recipes"]["toy"]["monitoring"] = {"window": window}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    return load_recipe("toy", root / "params.yaml")


def touch(root, number: int) -> str:
    """The file of an asset, written so many seconds after the first; its name."""
    file = root / f"{number}.mp4"
    file.write_bytes(b"x")
    os.utime(file, (1000 + number, 1000 + number))
    return file.name


def test_vectors_made_otherwise_are_not_compared(root, capsys):
    data = root / "data" / "toy"
    write(data, 40, 20, embedding=9.0)
    assert "embedding" in names(told(capsys))
    champion = tracking.version_by_alias("toy", "champion")
    kept = profile.stored(champion.run_id)
    profile.keep(champion.run_id, kept.replace_schema_metadata({profile.VECTORS: b'{"weights": "others"}'}))
    found = told(capsys)
    assert "embedding" not in {test["name"] for test in found["tests"]} and "made otherwise" in found["left_out"][0]


def test_without_a_champion_there_is_nothing_to_compare_with(tmp_path, monkeypatch, capsys):
    enter(tmp_path, monkeypatch)
    making.give_store(tmp_path)
    make(tmp_path, 1, 1.0)
    assert command.main(["--recipe", "toy"]) == 1
    assert "there is no champion" in capsys.readouterr().err


def test_only_the_newest_files_are_compared(root, capsys):
    """What came long ago does not water down what comes now."""
    data = root / "data" / "toy"
    write(data, 40, 20)
    rows = [catalog_row(asset(number), "test") for number in range(40)]
    for number in range(40, 140):
        night = number >= 120
        rows.append(
            catalog_row(asset(number), "test")
            | {
                "uri": touch(root, number),
                "brightness": 10.0 + number / 100 if night else 100.0 + number % 21 - 10,
            }
        )
        making.write_features(data, asset(number), np.zeros((1, DIMENSION), np.float32))
    write_shard(data / "catalog" / "part-00000.parquet", rows, CATALOG)

    def brightness(window: int) -> dict:
        set_window(root, window)
        found = told(capsys)
        return {"current": found["current"], "brightness": "brightness" in names(found)}

    assert brightness(20) == {"current": 20, "brightness": True}
    assert brightness(100) == {"current": 100, "brightness": False}


def test_figures_of_an_asset(root):
    kept = profile.profile(paths.data("toy"), {asset(3), asset(1), "unknown"}, {})
    assert kept["asset_id"].to_pylist() == [asset(1), asset(3)] and kept["usable"].to_pylist() == [True, True]
    found = profile.figures(kept)
    assert found["brightness"].shape == (2,) and found["embedding"].shape == (2, DIMENSION)
    assert found["pixels"][0] == pytest.approx(np.log2(64 * 48))
    assert np.isnan(found["saturation"]).all() and np.isnan(found["error"]).all()
