"""What a service captured against what its champion saw."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from components.core import paths, profile, tables
from components.core.errors import SightlineError
from components.core.media import decode_picture, encode_jpeg, saturation, statistics
from components.core.tables import CAPTURED, CATALOG, MODEL, write_shard
from components.monitoring import __main__ as command
from components.monitoring.captured import figures, newest
from components.monitoring.drift import compare
from components.serving.backlog import Asked, Backlog, Picture
from components.serving.metrics import Metrics
from components.serving.recorder import Recorder
from components.serving.shards import Shards
from flows.commands import models
from tests.deployment.making import picture
from tests.monitoring.test_command import DIGEST, asset, deploy, names, root, set_window, told  # noqa: F401
from tests.workspaces import catalog_row

TAG, OTHER = f"toy/v1@{DIGEST[:12]}", f"toy/v2@{DIGEST[:12]}"
BEGAN = datetime(2026, 11, 30, tzinfo=UTC)


def row(number: int, random, source: str = "a", every: float = 1.0, **moved: float) -> dict:
    """A picture, so many seconds after the one before; it looks as the champion's footage does, or `moved`."""
    look = {"brightness": (100, 10), "contrast": (30, 5), "sharpness": (50, 9), "score": (0.5, 0.1)}
    drawn = {name: float(random.normal(mean + moved.get(name, 0), spread)) for name, (mean, spread) in look.items()}
    return drawn | {
        "time": BEGAN + timedelta(seconds=number * every), "request_id": f"{source}{number}", "route": "/v1/predict",
        "place": 0, "source": source, "recipe": "toy", "version": 1, "model": TAG, "width": 64, "height": 48,
        "saturation": 0.0, "prediction": "normal", "probabilities": [("normal", 0.5), ("suspicious", 0.5)],
    }  # fmt: skip


def capture(folder: Path, name: str, rows: list[dict], tag: str = TAG) -> None:
    write_shard(folder / f"captured-{name}.parquet", rows, CAPTURED.with_metadata({MODEL: tag}))


def shard(folder: Path, count: int = 40, tag: str = TAG, name: str = "1", **moved: float) -> Path:
    random = np.random.default_rng(3)
    capture(folder, name, [row(number, random, **moved) for number in range(count)], tag)
    return folder


@pytest.mark.parametrize("moved, drifted", [({}, set()), ({"brightness": -60}, {"brightness"})])
def test_captured_pictures_are_compared_with_what_the_champion_saw(root, capsys, moved, drifted):  # noqa: F811
    found = told(capsys, "--captured", str(shard(root / "captured", **moved)))
    assert (found["reference"], found["current"], found["version"]) == (40, 40, 1)
    assert names(found) - {"new looks"} == drifted and found["drifted"] == (["data", "novelty"] if drifted else [])
    compared = {test["name"] for test in found["tests"]} - {"new looks"}
    assert compared == {"brightness", "contrast", "sharpness", "pixels"}, "the profile has no saturation here"
    assert found["left_out"] == ["score: the champion was made from videos, whose scores are means over many frames"]
    plain = told(capsys)
    assert found.keys() == plain.keys(), "whoever reads one reads the other"


def test_scores_are_compared_where_assets_are_pictures(root, capsys):  # noqa: F811
    rows = [catalog_row(asset(number), "test") | {"kind": "picture"} for number in range(40)]
    write_shard(paths.data("toy") / "catalog" / "part-00000.parquet", rows, CATALOG)
    found = told(capsys, "--captured", str(shard(root / "captured", score=9.0)))
    assert found["drifted"] == ["predictions"] and names(found) == {"score"} and not found["left_out"]


def test_only_the_champions_own_answers_count(root, capsys):  # noqa: F811
    folder = shard(root / "captured", tag=OTHER, brightness=-60)
    shard(folder, 5, name="2")
    found = told(capsys, "--captured", str(folder))
    assert found["current"] == 5 and "too few" in found["reason"]
    deploy(root, 1)
    assert command.main(["--recipe", "toy", "--captured", str(folder)]) == 0
    assert "5 captured pictures against 40 assets that version 1 was made from" in capsys.readouterr().out


def test_the_newest_are_compared_of_as_many_as_the_recipe_says(root, capsys):  # noqa: F811
    folder = shard(root / "captured", 100, name="1", brightness=-60)
    random = np.random.default_rng(4)
    capture(folder, "2", [row(number, random) for number in range(100, 120)])
    set_window(root, 20)
    found = told(capsys, "--captured", str(folder))
    assert found["current"] == 20 and not found["drifted"]
    assert told(capsys, "--captured", str(folder))["footage"] == found["footage"]
    set_window(root, 120)
    assert "brightness" in names(told(capsys, "--captured", str(folder)))


def test_a_burst_of_one_source_is_one_observation(tmp_path):
    """Ten pictures a second of one camera, and one in three seconds of another: what is alike does not count often."""
    random = np.random.default_rng(5)
    rows = [row(number, random, "a", 0.1) for number in range(101)]
    rows += [row(number, random, "b", 3.0) for number in range(4)]
    rows += [row(0, random, "c") | {"request_id": "many", "place": place} for place in range(5)]
    capture(tmp_path, "1", rows)
    kept, unread = newest(tmp_path, TAG, 1000)
    sources = [one["source"] for one in kept]
    assert [sources.count(name) for name in "abc"] == [11, 4, 1] and not unread
    assert next(one for one in kept if one["source"] == "c")["place"] == 0
    times = [one["time"] for one in kept]
    assert times == sorted(times, reverse=True) and times[0] == BEGAN + timedelta(seconds=10)


def test_what_cannot_be_read_is_said_and_left_out(root, capsys):  # noqa: F811
    folder = shard(root / "captured")
    (folder / "captured-2.parquet").write_bytes(b"no table")
    whole = (folder / "captured-1.parquet").read_bytes()
    (folder / "captured-3.parquet").write_bytes(whole[:200] + bytes(300) + whole[500:])
    found = told(capsys, "--captured", str(folder))
    assert found["current"] == 40 and [word in str(found["left_out"]) for word in ("-1.", "-2.", "-3.")] == [0, 1, 1]


def test_a_folder_that_is_not_there_is_said_with_the_remedy(root, capsys):  # noqa: F811
    assert command.main(["--recipe", "toy", "--captured", str(root / "none")]) == 1
    told_why = capsys.readouterr().err
    assert "nothing was captured there" in told_why and "--capture DIR" in told_why
    for more in (["--scores", "x"], ["--unseen"]):
        with pytest.raises(SystemExit):
            command.main(["--recipe", "toy", "--captured", "x", *more])


def pictures(first: int, count: int, light: float) -> list[bytes]:
    """Files of generated scenes, each with a light of its own."""
    made = []
    for seed in range(first, first + count):
        dim = light * np.random.default_rng(seed).uniform(0.7, 1.0)
        made.append(encode_jpeg((picture(seed, 48, 64) * dim).astype(np.uint8), 90))
    return made


@pytest.mark.parametrize("light, drifted", [(1.0, []), (0.4, ["data", "novelty"])])
def test_darkened_pictures_are_found_and_the_same_ones_are_not(tmp_path, light, drifted):
    """What is written of pictures that a service got against the statistics that the catalog has of others. Seeded."""
    backlog = Backlog(lambda count, reason: None)
    recorder = Recorder(backlog, Shards(tmp_path, 10_000_000), Metrics())
    recorder.start()
    for number, content in enumerate(pictures(1000, 60, light)):
        asked = Asked(int((BEGAN + timedelta(seconds=number)).timestamp() * 1e6), f"{number}", "/v1/predict", "x")
        backlog.put([Picture(asked, 0, "", "toy", 1, TAG, content, "normal", 0.5, {"normal": 0.5}, None)])
    recorder.stop(600)
    rows, unread = newest(tmp_path, TAG, 200)
    assert len(rows) == 60 and not unread
    files = [decode_picture(content) for content in pictures(0, 60, 1.0)]
    seen = [(*statistics(rgb), saturation(rgb), np.log2(48 * 64)) for rgb in files]
    then = dict(zip((*profile.FIGURES, profile.PIXELS), np.array(seen).T, strict=True))
    assert compare(then, figures(rows), 0.001).drifted == drifted


def test_sightline_drift_passes_it_on(monkeypatch):
    given = []
    monkeypatch.setattr(models, "component", lambda *words: given.extend(words))
    models.drift("toy", captured="some/where", as_json=True)
    assert given == ["components.monitoring", "--recipe", "toy", "--captured=some/where", "--json"]


def test_statistics_of_the_schema_are_those_of_the_profile():
    assert {*profile.FIGURES, profile.SCORE} <= set(CAPTURED.names)
    assert all(CAPTURED.field(name).type == tables.CATALOG.field(name).type for name in profile.FIGURES)


def test_an_empty_folder_holds_nothing(tmp_path):
    assert newest(tmp_path, TAG, 10) == ([], [])
    with pytest.raises(SightlineError):
        newest(tmp_path / "none", TAG, 10)
    assert json.dumps({name: values.tolist() for name, values in figures([]).items()})
