"""Good tables pass; each way of breaking them is caught by the expectation made for it, and by name."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from components.core.files import json_text
from components.core.tables import QUARANTINE, features_schema
from components.validation import views
from components.validation.check import check, refuse, words
from components.validation.suites import suites

ACCEPTED = 10


def run(recipe, tables, docs=None, only=None):
    parts = tables["features"] if isinstance(tables["features"], list) else [tables["features"]]
    looked_at = {
        "catalog": views.catalog_view(tables["catalog"], tables["frames"]),
        "annotations": views.annotations_view(
            tables["annotations"], ACCEPTED, tables["refused"].num_rows, tables["catalog"]
        ),
        "frames": views.frames_view(tables["frames"], tables["annotations"], tables["catalog"], recipe.task),
        "features": views.features_view(parts, tables["frames"]),
    }
    wanted = suites(recipe, tables["frames"].num_rows)
    return check(looked_at, {table: wanted[table] for table in ([only] if only else wanted)}, docs)


def put(table: pa.Table, column: str, values: dict[int, object]) -> pa.Table:
    """The table with other values in some rows of a column."""
    rows = table.to_pylist()
    for row, value in values.items():
        rows[row][column] = value
    nullable = pa.schema([field.with_nullable(True) for field in table.schema])
    return pa.Table.from_pylist(rows, nullable)


def again(table: pa.Table, row: int) -> pa.Table:
    return pa.concat_tables([table, table.slice(row, 1)])


def without(table: pa.Table, column: str, value: object) -> pa.Table:
    return table.filter(pa.array([one != value for one in table[column].to_pylist()]))


@dataclasses.dataclass
class Break:
    """One way to break the tables: `breaks(tables)` returns the changed ones; the expectation that `says` must fail."""

    name: str
    table: str
    says: str
    found: str
    breaks: Callable[[dict], dict]


def _constant(tables: dict) -> pa.Table:
    vectors = [[1.0] * 6] * tables["features"].num_rows
    column = pa.array(vectors, pa.list_(pa.float32(), 6))
    return tables["features"].drop_columns("vector").append_column("vector", column)


def _two_dimensions(tables: dict) -> list[pa.Table]:
    rows = tables["features"].to_pylist()
    head = pa.Table.from_pylist(rows[:24], features_schema(6))
    return [head, pa.Table.from_pylist([{**row, "vector": row["vector"][:5]} for row in rows[24:]], features_schema(5))]


NAN, ZERO = [float("nan")] + [1.0] * 5, [0.0] * 6
ONE_REFUSED = pa.Table.from_pylist([{"uri": "labels.csv", "line": 4, "reason": "no such video"}], QUARANTINE)
PRESENT = "train, val and test each have a usable asset"
BREAKS = [
    Break("asset twice", "catalog", "no usable asset stands there twice", "2 of 6 rows are not (asset_id=a1",
          lambda t: {"catalog": put(again(t["catalog"], 0), "name", {5: "other.mp4"})}),
    Break("file twice", "catalog", "no file stands there twice", "name=a1.mp4",
          lambda t: {"catalog": put(again(t["catalog"], 0), "status", {5: "duplicate"})}),
    Break("asset without id", "catalog", "every row has its asset_id", "1 of 5",
          lambda t: {"catalog": put(t["catalog"], "asset_id", {0: None})}),
    Break("unknown status", "catalog", "the status is ok, quarantined or duplicate", "status=perhaps",
          lambda t: {"catalog": put(t["catalog"], "status", {1: "perhaps"})}),
    Break("too many quarantined", "catalog", "share of quarantined files", "found 0.4 (must be at most 0.2)",
          lambda t: {"catalog": put(t["catalog"], "status", {0: "quarantined", 2: "quarantined"})}),
    Break("too few usable", "catalog", "number of usable files", "found 1 (must be at least 2",
          lambda t: {"catalog": put(t["catalog"], "status", dict.fromkeys(range(4), "quarantined"))}),
    Break("no validation split", "catalog", PRESENT, "found nothing of ['val']",
          lambda t: {"catalog": put(t["catalog"], "split", {2: "train"})}),
    Break("the only validation asset quarantined", "catalog", PRESENT, "found nothing of ['val']",
          lambda t: {"catalog": put(t["catalog"], "status", {2: "quarantined"})}),
    Break("unknown split", "catalog", "a split is train, val or test", "split=dev",
          lambda t: {"catalog": put(t["catalog"], "split", {0: "dev"})}),
    Break("no split", "catalog", "every usable asset has a split", "asset_id=a1",
          lambda t: {"catalog": put(t["catalog"], "split", {0: None})}),
    Break("asset in two splits", "catalog", "no asset is in more than one split", "splits=2",
          lambda t: {"catalog": put(again(t["catalog"], 0), "split", {5: "test"})}),
    Break("no width", "catalog", "width of a usable asset is positive", "width=0",
          lambda t: {"catalog": put(t["catalog"], "width", {0: 0})}),
    Break("no height", "catalog", "height of a usable asset is positive", "height=-1",
          lambda t: {"catalog": put(t["catalog"], "height", {0: -1})}),
    Break("asset without frames", "catalog", "every usable asset has a sampled frame", "asset_id=a3",
          lambda t: {"frames": without(t["frames"], "asset_id", "a3")}),
    Break("no labels", "annotations", "there are labels", "found 0",
          lambda t: {"annotations": t["annotations"].slice(0, 0)}),
    Break("class of no task", "annotations", "every label's class is one of the task's", "frame_class=dog",
          lambda t: {"annotations": put(t["annotations"], "class", {0: "dog"})}),
    Break("no class", "annotations", "every label has a class", "1 of 10",
          lambda t: {"annotations": put(t["annotations"], "class", {0: None})}),
    Break("label of no asset", "annotations", "every label is of a usable asset of the catalog", "asset_id=nobody",
          lambda t: {"annotations": put(t["annotations"], "asset_id", {0: "nobody"})}),
    Break("box without a side", "annotations", "every box has four sides and an area", "1 of 10",
          lambda t: {"annotations": put(t["annotations"], "x", {0: 1.0})}),
    Break("label ends first", "annotations", "no label ends before it begins", "span=-1",
          lambda t: {"annotations": put(t["annotations"], "last_pts", {2: -1})}),
    Break("negative weight", "annotations", "weights are not negative", "weight=-0.5",
          lambda t: {"annotations": put(t["annotations"], "weight", {2: -0.5})}),
    Break("labels refused", "annotations", "share of labels that were refused", "found 0.0909",
          lambda t: {"refused": ONE_REFUSED}),
    Break("frame twice", "frames", "no frame_id stands there twice", "a1-007",
          lambda t: {"frames": again(t["frames"], 7)}),
    Break("frame without id", "frames", "every row has its frame_id", "1 of 120",
          lambda t: {"frames": put(t["frames"], "frame_id", {0: None})}),
    Break("frame of no asset", "frames", "every frame is of a usable asset of the catalog", "1 of 120",
          lambda t: {"frames": put(t["frames"], "asset_id", {5: "nobody"})}),
    Break("frame of a quarantined asset", "frames", "every frame is of a usable asset of the catalog", "24 of 120",
          lambda t: {"catalog": put(t["catalog"], "status", {4: "quarantined"})}),
    Break("pts stand still", "frames", "pts grows from frame to frame of an asset", "frame_id=a1-005 pts_step=0",
          lambda t: {"frames": put(t["frames"], "pts", {5: 40})}),
    Break("pts go back", "frames", "pts grows from frame to frame of an asset", "frame_id=a1-005 pts_step=-37",
          lambda t: {"frames": put(t["frames"], "pts", {5: 3})}),
    Break("frame index goes back", "frames", "frame_index grows from frame to frame of an asset", "frame_id=a1-005",
          lambda t: {"frames": put(t["frames"], "frame_index", {5: 3})}),
    Break("frame without width", "frames", "width is positive", "width=0",
          lambda t: {"frames": put(t["frames"], "width", {5: 0})}),
    Break("frame without height", "frames", "height is positive", "height=0",
          lambda t: {"frames": put(t["frames"], "height", {5: 0})}),
    Break("brightness", "frames", "brightness is within 0 to 255", "brightness=256",
          lambda t: {"frames": put(t["frames"], "brightness", {5: 256.0})}),
    Break("brightness is no number", "frames", "every frame has a brightness", "a1-005",
          lambda t: {"frames": put(t["frames"], "brightness", {5: float("nan")})}),
    Break("few labelled", "frames", "share of frames that have a label", "(must be at least 0.5)",
          lambda t: {"annotations": put(t["annotations"], "last_pts", dict.fromkeys(range(0, 10), 5))}),
    *(
        Break(f"no {name} frame in {split}", "frames", f"number of frames labelled {name!r} in {split}",
              "found 0 (must",
              lambda t, rows=rows, to=to: {"annotations": put(t["annotations"], "class", dict.fromkeys(rows, to))})
        for name, split, rows, to in (
            ("normal", "train", (0, 2), "suspicious"), ("suspicious", "train", (1, 3), "normal"),
            ("normal", "test", (6, 8), "suspicious"), ("suspicious", "test", (7, 9), "normal"),
        )
    ),
    Break("vector missing", "features", "as many vectors as frames", "found 119 (must be exactly 120",
          lambda t: {"features": without(t["features"], "frame_id", "a2-004")}),
    Break("no vectors", "features", "as many vectors as frames", "found 0", lambda t: {"features": []}),
    Break("vector twice", "features", "no frame_id stands there twice", "a1-004",
          lambda t: {"features": again(t["features"], 4)}),
    Break("vector without frame id", "features", "every row has its frame_id", "1 of 120",
          lambda t: {"features": put(t["features"], "frame_id", {4: None})}),
    Break("vector of no frame", "features", "every vector is of a frame of the frames table", "of-no-frame",
          lambda t: {"features": put(t["features"], "frame_id", {3: "of-no-frame"})}),
    Break("not finite", "features", "every vector is finite", "a1-009",
          lambda t: {"features": put(t["features"], "vector", {9: NAN})}),
    Break("all zeros", "features", "no vector is all zeros", "a1-009",
          lambda t: {"features": put(t["features"], "vector", {9: ZERO})}),
    Break("two dimensions", "features", "all vectors have one dimension", "found 2",
          lambda t: {"features": _two_dimensions(t)}),
    Break("all the same", "features", "the vectors are not all the same (largest distance to the first)",
          "found 0 (must be more than 0)", lambda t: {"features": _constant(t)}),
]  # fmt: skip


@pytest.mark.parametrize("case", BREAKS, ids=lambda case: case.name)
def test_each_breakage_is_found_and_named(case, recipe, tables):
    report = run(recipe, tables | case.breaks(tables), only=case.table)
    assert not report["success"]
    failures = {failure["says"]: failure for failure in report["suites"][case.table]["failed"]}
    assert case.says in failures
    line = words(case.table, failures[case.says])
    assert case.found in line
    message = str(refuse(report, Path("docs")))
    assert line in message and failures[case.says]["remedy"] in message
    json_text(report)  # plain values only


def test_every_expectation_has_a_row_above(recipe):
    made = {(table, one.description) for table, suite in suites(recipe, 1).items() for one in suite.expectations}
    assert made == {(case.table, case.says) for case in BREAKS}


def test_good_tables_pass_and_say_the_same_thing_twice(recipe, tables, tmp_path):
    first, second = run(recipe, tables, tmp_path / "docs"), run(recipe, tables)
    assert first["success"], first
    assert json_text(first) == json_text(second)
    assert {name: suite["failed"] for name, suite in first["suites"].items()} == dict.fromkeys(first["suites"], [])
    assert (tmp_path / "docs" / "index.html").is_file()
    assert min(suite["expectations"] for suite in first["suites"].values()) >= 7


def test_a_bound_that_is_still_met_changes_nothing(recipe, tables):
    looser = recipe.model_copy(update={"validation": recipe.validation.model_copy(update={"min_frames_per_class": 3})})
    assert run(recipe, tables) == run(looser, tables)


def test_boxes_may_be_of_other_classes(recipe, tables):
    place = {"x": 1.0, "y": 2.0, "w": 3.0, "h": 4.0, "track_id": 1}
    box = {**tables["annotations"].to_pylist()[0], **place, "class": "person"}
    table = pa.concat_tables([tables["annotations"], pa.Table.from_pylist([box], tables["annotations"].schema)])
    assert run(recipe, tables | {"annotations": table})["success"]


def test_a_detection_set_may_show_something_in_every_frame(recipe, tables):
    """No frame is asked for of the background, the first class; of the others as many as of any task."""
    task = recipe.task.model_copy(update={"kind": "detection"})
    recipe = recipe.model_copy(update={"task": task})
    shown = [row | {"class": "suspicious"} for row in tables["annotations"].to_pylist()]
    place = {"x": 1.0, "y": 2.0, "w": 3.0, "h": 4.0}
    boxes = pa.Table.from_pylist([row | place for row in shown], tables["annotations"].schema)
    assert run(recipe, tables | {"annotations": boxes})["success"]
    held_out = boxes.filter(pa.array([asset < "a4" for asset in boxes["asset_id"].to_pylist()]))
    report = run(recipe, tables | {"annotations": held_out}, only="frames")
    says = {failure["says"] for failure in report["suites"]["frames"]["failed"]}
    assert says == {"number of frames labelled 'suspicious' in test"}


def test_a_frame_counts_for_every_class_that_it_shows(recipe, tables):
    """A box of the second class in each half of every clip beside one of the third, which comes last."""
    task = recipe.task.model_copy(update={"kind": "detection", "classes": ("nothing", "normal", "suspicious")})
    place = {"x": 1.0, "y": 2.0, "w": 3.0, "h": 4.0}
    told = tables["annotations"].to_pylist()
    rows = [row | place | {"class": name} for row in told for name in ("normal", "suspicious")]
    rows.append(rows[0] | {"class": "nothing", "weight": 0.0})
    boxes = pa.Table.from_pylist(rows, tables["annotations"].schema)
    view = views.frames_view(tables["frames"].slice(3, 100), boxes, tables["catalog"], task)
    assert view["label"].eq("suspicious").all() and len(view) == 100
    for split in ("train", "val", "test"):
        for name in ("normal", "suspicious"):
            assert view[f"{split}:{name}"].tolist() == view["split"].eq(split).astype(int).tolist()
        assert not view[f"{split}:nothing"].any()


def test_copies_of_a_file_are_no_second_asset(recipe, tables):
    """Ingest gives a file with another's bytes its asset_id, the status duplicate and no split."""
    catalog = again(tables["catalog"], 0)
    for column, value in (("name", "copy.mp4"), ("status", "duplicate"), ("split", None)):
        catalog = put(catalog, column, {5: value})
    assert run(recipe, tables | {"catalog": catalog})["success"]


def test_shares_at_their_bounds_pass(recipe, tables):
    """One of five quarantined is .2, the bound itself."""
    catalog = put(tables["catalog"], "status", {0: "quarantined"})
    kept = {name: without(tables[name], "asset_id", "a1") for name in ("annotations", "frames", "features")}
    assert run(recipe, tables | kept | {"catalog": catalog})["success"]


def test_norms_of_large_vectors_do_not_overflow(tables):
    table = put(tables["features"], "vector", {0: [3e38] * 6})
    view = views.features_view([table], tables["frames"])
    assert np.isfinite(view["norm"]).all() and view["finite"].all()


def test_many_classes_without_a_positive_one(recipe, tables):
    """Each class is held to the same number of frames; one that the test split lacks is named."""
    task = recipe.task.model_copy(update={"classes": ("normal", "suspicious"), "positive": None})
    assert run(recipe.model_copy(update={"task": task}), tables, only="frames")["success"]
    task = task.model_copy(update={"classes": ("normal", "suspicious", "fallen")})
    report = run(recipe.model_copy(update={"task": task}), tables, only="frames")
    says = {failure["says"] for failure in report["suites"]["frames"]["failed"]}
    assert says == {f"number of frames labelled 'fallen' in {split}" for split in ("train", "test")}
