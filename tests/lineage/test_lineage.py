"""Lineage from both ends, on a real MLflow store, and DVC's digest of a folder against DVC's own."""

import json

import pytest

from components.core import lineage, paths, tracking
from components.core.errors import SightlineError, UsageError
from components.core.files import file_sha256
from components.core.recipe import load_recipe
from components.core.tables import CATALOG, read_table, write_shard
from components.lineage import __main__ as command
from components.lineage import answer
from tests.deployment import making
from tests.flows import toy
from tests.promotion.conftest import enter
from tests.promotion.test_promote import make, run_stage
from tests.promotion.test_promote import stage as promotion
from tests.workspaces import catalog_row


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """Version 1 is the champion; the first asset is a file that is there."""
    enter(tmp_path, monkeypatch)
    making.give_store(tmp_path)
    found, data, _ = make(tmp_path, 1, 1.0)
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"footage")
    digest = file_sha256(clip)
    rows = [catalog_row(f"{number:016x}", "test") for number in range(1, 10)]
    rows.append(catalog_row(digest[:16], "train") | {"sha256": digest, "uri": "clip.mp4"})
    rows.append(catalog_row("f" * 16, "test") | {"status": "quarantined", "reason": "cut"})
    write_shard(data / "catalog" / "part-00000.parquet", rows, CATALOG)
    monkeypatch.setenv("SIGHTLINE_FLOW_RUN_ID", "0f0e")
    promotion.main(found)
    assert json.loads((data / "decision.json").read_text())["promoted"]
    return found


def test_from_the_champion_to_its_sources(recipe):
    found = answer.of_version(recipe)
    assert found["version"] == 1 and found["aliases"] == ["challenger", "champion"]
    assert found["prefect_flow_run"] == "0f0e" and len(found["git_commit"]) == 40
    assert found["mlflow_run"] == tracking.version_by_alias("toy", "champion").run_id
    assert found["dvc_lock"] == file_sha256(paths.workspace() / "dvc.lock")
    assert set(found["stages"]) == set(lineage.BEFORE)
    assert found["tables"].keys() >= {"catalog", "model", "evaluation/predictions"}
    assert len(found["assets"]) == 10, "what was quarantined was not trained on"
    assert found["params"]["source"] == recipe.source


def test_from_a_file_to_every_version_that_saw_it(recipe, tmp_path):
    run_stage(tmp_path, 3, 2.0)  # its catalog does not have the clip
    digest = file_sha256(tmp_path / "clip.mp4")
    for source in (str(tmp_path / "clip.mp4"), digest, digest[:16], "clip.mp4"):
        (saw,) = answer.of_source(recipe, source)["versions"]
        assert (saw["version"], saw["split"], saw["uri"]) == (1, "train", "clip.mp4")
    assert [one["version"] for one in answer.of_source(recipe, f"{3:016x}")["versions"]] == [1, 2]
    assert answer.of_source(recipe, "elsewhere.mp4")["versions"] == []


def test_from_a_prediction_to_the_source(recipe, tmp_path):
    rows = read_table(paths.data("toy", "evaluation") / "predictions").to_pylist()
    found = answer.of_prediction(recipe, "clip.mp4", 3)
    row = max((row for row in rows if row["frame_index"] == 3), key=lambda one: one["score"])
    assert found["prediction"]["asset_id"] == row["asset_id"] and found["version"] == 1
    assert found["source"]["bytes"] == "changed", "the row's asset has other bytes than the file has now"
    assert [asset["asset_id"] for asset in found["assets"]] == (
        [row["asset_id"]] if row["asset_id"] != "0" * 16 else []
    )
    (tmp_path / "clip.mp4").unlink()
    assert answer.of_prediction(recipe, "clip.mp4")["source"]["bytes"] == "absent"
    with pytest.raises(UsageError, match="no prediction on frame 99 of clip.mp4"):
        answer.of_prediction(recipe, "clip.mp4", 99)


def test_what_is_not_there_is_said(recipe):
    with pytest.raises(UsageError, match="no version 7"):
        answer.of_version(recipe, 7)
    tracking.client().create_model_version("toy", "elsewhere", tags={})
    with pytest.raises(SightlineError, match="no lineage was kept"):
        answer.of_version(recipe, 2)


def test_the_command_in_words_and_json(recipe, capsys):
    assert command.main(["--recipe", "toy"]) == 0
    said = capsys.readouterr().out
    assert "toy version 1 (challenger, champion)" in said and "Prefect run   0f0e" in said and "clip.mp4" in said
    assert command.main(["--recipe", "toy", "--source", "clip.mp4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["versions"][0]["split"] == "train"
    assert command.main(["--recipe", "toy", "--source", "clip.mp4", "--version", "1"]) == 2


@pytest.mark.parametrize("gap", ["no commit", "no stage", "another model", "others' predictions"])
def test_a_gap_in_the_lineage_refuses_promotion(tmp_path, monkeypatch, gap):
    enter(tmp_path, monkeypatch)
    making.give_store(tmp_path)
    recipe, data, _ = make(tmp_path, 1, 1.0)
    words = {
        "no commit": "no git commit is known",
        "no stage": "dvc.lock knows nothing of ingest",
        "another model": "not the one that dvc.lock names",
        "others' predictions": "predictions are of another model",
    }
    if gap == "no commit":
        (tmp_path / ".git").rename(tmp_path / "git")
    elif gap == "no stage":
        (tmp_path / "dvc.lock").unlink()
    elif gap == "another model":
        (data / "model" / "model.json").write_text((data / "model" / "model.json").read_text() + "\n")
    else:
        table = read_table(data / "evaluation" / "predictions").to_pylist()
        rows = [row | {"model_version": "0123456789ab"} for row in table]
        making.tables.write_shard(
            data / "evaluation" / "predictions" / "part-00000.parquet", rows,
            making.tables.predictions_schema(making.CLASSES),
        )  # fmt: skip
    promotion.main(recipe)
    decision = json.loads((data / "decision.json").read_text())
    assert not decision["promoted"] and words[gap] in decision["reasons"][0]


def test_the_digest_of_a_folder_is_dvcs(tmp_path):
    root = toy.make(tmp_path / "toy")
    folder = root / "folder"
    (folder / "b").mkdir(parents=True)
    for name in ("z.txt", "b/a.txt", "b.txt", "é.txt"):
        (folder / name).write_text(name)
    toy.dvc(root, "add", "folder")
    assert f"md5: {lineage.dvc_digest(folder)}" in (root / "folder.dvc").read_text()


def test_the_recipe_is_the_one_asked_about(recipe):
    assert load_recipe("toy").registered_name == answer.of_version(recipe)["model"]
