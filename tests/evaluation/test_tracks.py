"""A tracker judged on held-out sequences: figures, tables, the page and its clips."""

import csv
import json
import re

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from components.core import media, tracking
from components.core.draw import identity_colour
from components.core.recipe import Task, load_recipe
from components.core.tables import predictions_schema
from components.evaluation import __main__ as stage
from components.evaluation import clips, scores, tracks
from components.tasks.detection.samples import NOTHING, Boxes
from components.tasks.detection.tracking.follow import measurable
from components.tasks.detection.tracking.metrics import sequence_counts, summary
from tests.deployment import making
from tests.evaluation import moving
from tests.evaluation.moving import RECIPE, WALKS, Walk
from tests.evaluation.test_report import headings
from tests.evaluation.test_stage import Page

HELD_OUT = [walk.name for walk in WALKS if walk.split == "test"]
SHARES = ("hota", "deta", "assa", "mota", "motp", "idf1")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """(workspace, last line) after the evaluation of a tracker that confuses whom it follows at the gate, and does not
    see one of them in every third frame."""
    root = tmp_path_factory.mktemp("evaluated")
    recipe, data = moving.write_tables(root)
    moving.write_model(data, recipe, swaps=["gate.mp4"], blind=[1])
    making.give_store(root)
    said = []
    with pytest.MonkeyPatch.context() as patch:
        enter(root, patch)
        patch.setattr("builtins.print", lambda *words, **_: said.append(" ".join(map(str, words))))
        stage.main(recipe)
        patch.undo()
        enter(root, patch)
        yield root, said[-1]


def enter(root, patch):
    patch.setenv("SIGHTLINE_WORKSPACE", str(root))
    patch.delenv("MLFLOW_TRACKING_URI", raising=False)
    patch.setattr(stage, "load_trained", moving.load_follower)


def out(root):
    return root / "data" / RECIPE / "evaluation"


def samples_of(root):
    recipe = load_recipe(RECIPE, root / "params.yaml")
    return recipe, moving.load_follower(root / "data" / RECIPE / "model").samples(recipe, "test")


def figures_of(root):
    """What the metrics say of the samples themselves."""
    recipe, samples = samples_of(root)
    return summary(sequence_counts(samples.measurable(recipe.task)))


def test_figures_are_those_of_the_samples(evaluated):
    root, said = evaluated
    metrics, expected = json.loads((out(root) / "metrics.json").read_text()), figures_of(root)
    for name in (*SHARES, "id_switches", "fragmentations", "tracks"):
        assert metrics[name] == pytest.approx(expected[name]), name
    assert metrics["missed_boxes"] == expected["misses"] and "misses" not in metrics
    assert metrics["false_positive_boxes"] == expected["false_positives"]
    assert metrics["tracks"] == 3 + 1 + 2 + 2 and metrics["id_switches"] > 5
    assert all(0.3 < metrics[name] < 0.9 for name in ("hota", "mota", "idf1")) and metrics["motp"] > 0.9
    assert all(f"{name} {metrics[name]:.3f}" in said for name in ("hota", "mota", "idf1", "ap50"))
    assert said.startswith("evaluation: hota ")


def test_the_predictions_alone_give_the_same_figures(evaluated):
    root, _ = evaluated
    table = pq.read_table(out(root) / "predictions")
    assert table.schema.equals(predictions_schema(moving.CLASSES, boxes=True, tracks=True))
    counts = {}
    for name in sorted(set(table["sequence"].to_pylist())):
        rows = sorted((row for row in table.to_pylist() if row["sequence"] == name), key=lambda row: row["place"])
        assert [row["place"] for row in rows] == list(range(len(rows)))
        marked, tracked = ([boxes_of(row, kind) for row in rows] for kind in ("marked", "tracked"))
        counts |= sequence_counts(measurable(name, marked, tracked, moving.CLASSES))
    assert sorted(counts) == sorted(HELD_OUT)
    assert summary(counts) == figures_of(root)


def boxes_of(row, kind):
    if row[kind] is None:
        assert row[f"{kind}_ids"] is None
        return None
    numbers = np.array(row[kind], np.float32).reshape(-1, 6)
    ids = np.array(row[f"{kind}_ids"], np.int64)
    return Boxes(numbers[:, :4], numbers[:, 4].astype(np.int64), numbers[:, 5], ids)


def test_what_is_marked_has_its_weights_and_what_is_unknown_none(evaluated):
    rows = pq.read_table(out(evaluated[0]) / "predictions").to_pylist()
    unknown = [row for row in rows if row["marked"] is None]
    assert [(row["sequence"], row["place"]) for row in unknown] == [("hall.mp4", at) for at in range(15, 19)]
    assert all(row["tracked"] for row in unknown), "what is found there is kept all the same"
    yard = [row for row in rows if row["sequence"] == "yard/east.mp4" and row["marked"]]
    assert {tuple(row["marked"][5::6]) for row in yard} == {(1.0, 0.0)} and len(yard[0]["truth"]) == 5
    assert {tuple(row["marked_ids"]) for row in yard} == {(11, 13)}
    pictures = [row for row in rows if row["sequence"] == "stairs/img1"]
    assert len({row["asset_id"] for row in pictures}) == 16
    assert [row["uri"][-10:-4] for row in sorted(pictures, key=lambda row: row["place"])][:2] == ["000001", "000002"]


def test_a_row_for_every_sequence(evaluated):
    root, _ = evaluated
    with open(out(root) / "report" / "per_sequence.csv") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["sequence"] for row in rows] == sorted(HELD_OUT)
    expected = {row["sequence"]: row for row in figures_of(root)["per_sequence"]}
    for row in rows:
        own = expected[row["sequence"]]
        assert {name: float(row[name]) for name in SHARES} == {name: pytest.approx(own[name]) for name in SHARES}
        assert int(row["id_switches"]) == own["id_switches"] and int(row["missed_boxes"]) == own["misses"]
    by_name = {row["sequence"]: row for row in rows}
    assert (by_name["hall.mp4"]["frames"], by_name["hall.mp4"]["boxes"]) == ("16", "30")
    assert (by_name["yard/east.mp4"]["frames"], by_name["yard/east.mp4"]["boxes"]) == ("30", "29")


def test_the_page_shows_figures_table_and_clips(evaluated):
    root, _ = evaluated
    text = (out(root) / "report" / "index.html").read_text()
    shown = headings(text)
    assert shown[:3] == ["HOTA", "MOTA", "IDF1"] and "Tracks" in shown and "follows <em>person</em>" in text
    metrics = json.loads((out(root) / "metrics.json").read_text())
    assert all(f'<p class="figure">{metrics[name]:.3f}</p>' in text for name in ("hota", "mota", "idf1"))
    table = text.split("Sequence, the lowest IDF1 first")[1].split("</table>")[0]
    names = re.findall(r'<th scope="row">(.*?)</th>', table)
    assert sorted(names[:-1]) == sorted(HELD_OUT) and names[0] == "gate.mp4" and names[-1].startswith("All")
    page = Page(text)
    videos = [one for one in page.all("video") if one.get("src")]
    assert len(videos) == 1 and all((out(root) / "report" / one["src"]).is_file() for one in videos)
    assert "the most true boxes and the lowest IDF1" in text and "3 true tracks" in text
    assert str(root) not in text and not re.search(r"\bnan\b", re.sub(r"data:image/jpeg[^\"]*", "", text.lower()))


def test_the_clip_has_every_frame_at_its_time_with_a_colour_for_each_identity(evaluated):
    root, _ = evaluated
    (file,) = (out(root) / "report" / "videos").glob("*-tracks.mp4")
    info = media.probe_video(file)
    assert (info.codec, len(info.pts)) == ("h264", 24)
    with av.open(str(file)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
    assert [tick * info.time_base for tick in info.pts.tolist()] == [
        (tick - 100) * moving.TICKS for tick in moving.times(24).tolist()
    ]
    recipe, samples = samples_of(root)
    (gate,) = [one for one in samples.sequences if one.name == "gate.mp4"]
    for at, frame in enumerate(media.read_frames(file)):
        rgb = frame.rgb.astype(int)
        assert rgb.shape == (384, 640, 3)
        shown = samples.tracks[gate.rows[at]]
        for box, identity in zip(shown.boxes, shown.identities, strict=True):
            left, bottom = round(box[0] * 640), round(box[3] * 384)
            edge = rgb[bottom - 20 : bottom - 4, left - 2 : left + 6].reshape(-1, 3)
            assert (abs(edge - identity_colour(int(identity))).sum(1) < 90).any(), (at, identity)
    assert (abs(rgb - moving.GREY).max(2) < 12).mean() > 0.99, "nobody is there in the last frame"


def test_the_run_gets_the_figures_and_the_table(evaluated):
    root, _ = evaluated
    client = tracking.client()
    (run,) = client.search_runs([tracking.experiment_id(RECIPE)])
    metrics = json.loads((out(root) / "metrics.json").read_text())
    assert run.data.metrics["test_hota"] == pytest.approx(metrics["hota"])
    assert run.data.metrics["test_id_switches"] == metrics["id_switches"]
    kept = {item.path for item in client.list_artifacts(run.info.run_id, "evaluation/report")}
    assert "evaluation/report/per_sequence.csv" in kept


# ---- which clips


def asset(name, boxes, places=None, start=0, kind="video"):
    """A scored asset as far as clips look at it; `boxes`: true ones of each frame, each found."""
    marked = [people(count) for count in boxes]
    found = tracks.FrameTracks(name, np.arange(len(boxes)) if places is None else np.array(places), marked, marked)
    return type("Asset", (), {"tracks": found, "asset_id": f"{name}{start}", "kind": kind})()


def people(count):
    if not count:
        return NOTHING
    left = np.arange(count)[:, None] / (count + 1)
    corners = np.concatenate([left, left + 0.1, left + 0.05, left + 0.3], 1).astype(np.float32)
    return Boxes(corners, np.ones(count, np.int64), np.ones(count, np.float32), np.arange(count))


def row(name, boxes, idf1):
    return {"sequence": name, "boxes": boxes, "idf1": idf1}


def test_the_busiest_sequence_and_the_worst_are_shown():
    assets = [asset("a", [1, 1]), asset("b", [3, 3]), asset("c", [2, 0]), asset("d", [0, 0])]
    found = clips.chosen_clips(assets, [row("a", 2, 0.9), row("b", 6, 0.8), row("c", 2, 0.2), row("d", 0, 0.0)])
    assert [(clip.sequence, clip.why) for clip in found] == [("b", "the most true boxes"), ("c", "the lowest IDF1")]
    assert found[0].file == "b0-tracks.mp4" and found[0].frames == [(1, 0), (1, 1)]
    same = clips.chosen_clips(assets, [row("a", 2, 0.9), row("b", 6, 0.1)])
    assert [clip.why for clip in same] == ["the most true boxes and the lowest IDF1"]
    assert [clip.sequence for clip in clips.chosen_clips(assets, [])] == ["a"], "nothing true: still something to see"
    assert clips.chosen_clips([type("Asset", (), {"tracks": None})()], []) == []


def test_of_a_class_followed_worst_the_sequence_is_shown():
    assets = [asset("a", [1]), asset("b", [1])]
    rows = [row("a", 5, 0.9), row("a", 1, 0.1), row("b", 2, 0.5)]
    assert [clip.sequence for clip in clips.chosen_clips(assets, rows)] == ["a"]


def test_pictures_of_one_folder_are_one_clip_in_their_order():
    assets = [asset("s", [1], [2], 0, "picture"), asset("s", [1], [0], 1, "picture"), asset("s", [1], [1], 2)]
    (clip,) = clips.chosen_clips(assets, [row("s", 3, 0.9)])
    assert clip.frames == [(1, 0), (2, 0), (0, 0)] and clip.file == "s1-tracks.mp4"


def test_of_a_long_sequence_the_stretch_that_shows_most(monkeypatch):
    monkeypatch.setattr(clips, "MOST_FRAMES", 4)
    (clip,) = clips.chosen_clips([asset("long", [1, 1, 0, 2, 3, 3, 2, 0])], [row("long", 12, 0.5)])
    assert (clip.first, clip.length, clip.frames) == (3, 8, [(0, at) for at in range(3, 7)])


def test_a_missed_box_is_white_and_has_no_number():
    truth = people(2)
    rgb = np.full((200, 300, 3), 60, np.uint8)
    copy = clips.drawn(rgb, truth.at(np.array([0])), truth, ("nothing", "person"))
    white, own = (copy == clips.MISSED).all(2), (copy == identity_colour(0)).all(2)
    assert white[:, 90:].any() and not white[:, :90].any() and own[:, :90].any() and not own[:, 90:].any()
    ignored = Boxes(truth.boxes, truth.classes, np.zeros(2, np.float32), truth.identities)
    assert not (clips.drawn(rgb, NOTHING, ignored, ("nothing", "person")) != rgb).any(), "nobody has to find it"
    assert not (clips.drawn(rgb, NOTHING, None, ("nothing", "person")) != rgb).any()


# ---- several classes, nothing to follow


def test_classes_have_rows_of_their_own():
    names = ("nothing", "person", "bag")
    both = Boxes(people(2).boxes, np.array([1, 2]), np.ones(2, np.float32), np.array([1, 2]))
    found = tracks.FrameTracks("a/b", np.arange(3), [both] * 3, [both, both, None])
    one = type("Asset", (), {"tracks": found})()
    task = Task(kind="detection", classes=names, tracks=True)
    followed = tracks.followed([one], task)
    assert [(row["sequence"], row["class"], row["frames"], row["boxes"]) for row in followed.rows] == [
        ("a/b", "person", 2, 2), ("a/b", "bag", 2, 2),
    ]  # fmt: skip
    assert followed.figures["hota"] == pytest.approx(1) and followed.figures["tracks"] == 2


def test_where_nothing_is_to_be_followed_there_are_no_figures():
    found = tracks.FrameTracks("a", np.arange(2), [people(1)] * 2, [NOTHING, None])
    task = Task(kind="detection", classes=("nothing", "person"), tracks=True)
    followed = tracks.followed([type("Asset", (), {"tracks": found})()], task)
    assert followed.figures == {} and followed.rows[0]["false_positive_boxes"] == 1


def test_without_a_tracker_nothing_changes(tmp_path):
    recipe, data = moving.write_tables(tmp_path / "w", [Walk("a.mp4"), Walk("b.mp4", 9, split="train")])
    moving.write_model(data, recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path / "w"))
        model = moving.load_follower(data / "model")
        samples = model.followed(recipe, None, "test")
        catalog = [row | {"status": "ok"} for row in pq.read_table(data / "catalog").to_pylist()]
    assets = scores.scored_assets(samples, model.predict(samples), catalog, recipe.task, 0.5)
    assert assets[0].tracks is None and scores.schema(assets, recipe.task) == predictions_schema(moving.CLASSES, True)
    assert "sequence" not in scores.prediction_rows(assets, recipe.task, "x")[0]
    assert tracks.followed(assets, recipe.task) == tracks.Followed({}, [])
