"""The demo's own judgement, without the half hour before it: which frame it asks about, what counts as an answer."""

import pytest

from components.core import tables
from components.core.errors import SightlineError
from flows import artifacts, demo
from tests.flows import toy


def prediction(asset: str, index: int, score: float) -> dict:
    return {
        "uri": f"{asset}.mp4", "asset_id": asset, "frame_index": index, "pts": index, "timestamp_s": index / 10,
        "label": None, "prediction": "normal", "score": score, "model_version": "1",
        "prob_normal": 1 - score, "prob_suspicious": score,
    }  # fmt: skip


def frame(asset: str, index: int) -> dict:
    return {
        "frame_id": f"{asset}-{index}", "asset_id": asset, "frame_index": index, "pts": index, "time_base_num": 1,
        "time_base_den": 10, "width": 8, "height": 8, "jpeg": f"{asset} {index}".encode(),
        "brightness": 0.0, "contrast": 0.0, "sharpness": 0.0, "perceptual_hash": 0,
    }  # fmt: skip


def test_the_highest_ranked_frame_is_asked_about(root):
    folder = root / "data" / toy.RECIPE
    rows = [prediction("a", 0, 0.2), prediction("b", 3, 0.9), prediction("b", 4, 0.9)]
    schema = tables.predictions_schema(["normal", "suspicious"])
    tables.write_shard(folder / "evaluation" / "predictions" / "a.parquet", rows, schema)
    for asset in "ab":
        shard = folder / "frames" / f"{asset}.parquet"
        tables.write_shard(shard, [frame(asset, index) for index in range(5)], tables.FRAMES)
    found = demo.highest_ranked(toy.RECIPE)
    assert (found.uri, found.timestamp_s, found.jpeg) == ("b.mp4", 0.3, b"b 3")
    (folder / "frames" / "b.parquet").unlink()
    with pytest.raises(SightlineError, match="lacks a frame"):
        demo.highest_ranked(toy.RECIPE)


def answer(**probabilities: float) -> dict:
    return {"model": {}, "results": [{"prediction": "normal", "score": 0.1, "probabilities": probabilities}]}


def test_an_answer_gives_a_probability_of_each_class(root):
    demo.check(toy.RECIPE, answer(normal=0.9, suspicious=0.1))
    wrong = [
        {},
        {"results": []},
        {"results": [{}]},
        answer(normal=0.9),
        answer(normal=0.9, suspicious=0.9),
        answer(normal=1.1, suspicious=-0.1),
        answer(normal=float("nan"), suspicious=0.1),
        answer(normal=0.9, suspicious=0.1) | {"results": answer(normal=0.9, suspicious=0.1)["results"] * 2},
    ]
    for one in wrong:
        with pytest.raises(SightlineError):
            demo.check(toy.RECIPE, one)


def test_a_service_that_does_not_start_shows_its_last_words(root, monkeypatch):
    import sys

    command = [sys.executable, "-c", "raise SystemExit('no model, no service')"]
    monkeypatch.setattr(demo.services, "serving_command", lambda *_: command)
    with pytest.raises(SightlineError, match="no model, no service"):
        with demo.service(toy.RECIPE):
            pass


def test_nobody_answers_at_the_other_end():
    with pytest.raises(SightlineError, match="/v1/predict"):
        demo.ask(f"http://127.0.0.1:{toy.free_port()}", demo.Frame("a", 0.0, 0.0, b""))


def test_metrics_become_rows():
    rows = artifacts.metric_rows({"frame_auc": 0.87654321, "videos": {"a": 1}, "note": "x"})
    assert rows == [
        {"metric": "frame_auc", "value": 0.8765},
        {"metric": "videos.a", "value": 1},
        {"metric": "note", "value": "x"},
    ]


def test_a_decision_says_why():
    text = artifacts.decision_text({"promoted": False, "reasons": ["too low", "too few"], "model_version": 3})
    assert text.startswith("# Not promoted") and "- too low\n- too few" in text and "3" in text


def test_what_is_not_there_yet_is_none(root):
    assert artifacts.read_json(toy.RECIPE, "decision.json") is None


def test_slices_are_a_table_of_their_own():
    day = {"assets": 3, "average_precision": 0.12345, "accuracy": None}
    metrics = {"accuracy": 0.5, "slices": {"light": {"day": day}}}
    assert artifacts.headline_rows(metrics) == [{"metric": "accuracy", "value": 0.5}]
    assert artifacts.slice_rows(metrics) == [
        {"slice": "light day", "assets": 3, "average_precision": 0.1235, "accuracy": None}
    ]
    assert artifacts.slice_rows({"accuracy": 0.5}) == []
