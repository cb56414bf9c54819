"""The four Great Expectations suites. Each expectation carries what it says in words and where its bound is set."""

import great_expectations.expectations as gxe
from great_expectations import ExpectationSuite
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.row_conditions import Column

from components.core.recipe import Recipe
from components.validation.views import DUPLICATE, OK, QUARANTINED, SPLITS

KEYS = {"catalog": "asset_id", "annotations": "asset_id", "frames": "frame_id", "features": "frame_id"}
_SPLIT_REMEDY = "set ingest.split (test, val: globs or fractions)"


def suites(recipe: Recipe, frames: int) -> dict[str, ExpectationSuite]:
    """Suites by table, in the order of the pipeline. `frames`: rows of the frames table, which features must match."""
    return {
        "catalog": ExpectationSuite("catalog", expectations=_catalog(recipe)),
        "annotations": ExpectationSuite("annotations", expectations=_annotations(recipe)),
        "frames": ExpectationSuite("frames", expectations=_frames(recipe)),
        "features": ExpectationSuite("features", expectations=_features(frames)),
    }


def _must(kind: type[Expectation], says: str, remedy: str, **kwargs) -> Expectation:
    return kind(description=says, meta={"remedy": remedy}, **kwargs)


def _keys(table: str, key: str) -> list[Expectation]:
    again = f"the {table} stage wrote a damaged table: run it again"
    return [
        _must(gxe.ExpectColumnValuesToNotBeNull, f"every row has its {key}", again, column=key),
        _must(gxe.ExpectColumnValuesToBeUnique, f"no {key} stands there twice", again, column=key),
    ]


def _true(column: str, says: str, remedy: str) -> Expectation:
    return _must(gxe.ExpectColumnValuesToBeInSet, says, remedy, column=column, value_set=[1])


def _catalog(recipe: Recipe) -> list[Expectation]:
    bounds, ok = recipe.validation, {"row_condition": Column("status") == OK}
    files = "see the rows of the catalog with status quarantined, and their reason"
    again = "a damaged catalog: run the ingest stage again"
    unique = "no asset is in more than one split"
    return [
        _must(gxe.ExpectColumnValuesToNotBeNull, "every row has its asset_id", again, column="asset_id"),
        _must(gxe.ExpectColumnValuesToBeUnique, "no usable asset stands there twice", again, column="ok_asset"),
        _must(gxe.ExpectColumnValuesToBeUnique, "no file stands there twice", again, column="name"),
        _must(
            gxe.ExpectColumnValuesToBeInSet, "the status is ok, quarantined or duplicate", again,
            column="status", value_set=[OK, QUARANTINED, DUPLICATE],
        ),
        _must(
            gxe.ExpectColumnMeanToBeBetween, "share of quarantined files",
            f"{files}; or raise validation.max_quarantined", column="quarantined", max_value=bounds.max_quarantined,
        ),
        _must(
            gxe.ExpectColumnSumToBeBetween, "number of usable files",
            f"add footage, {files}; or lower validation.min_assets", column="ok", min_value=bounds.min_assets,
        ),
        _must(
            gxe.ExpectColumnDistinctValuesToContainSet, "train, val and test each have a usable asset", _SPLIT_REMEDY,
            column="ok_split", value_set=list(SPLITS),
        ),
        _must(
            gxe.ExpectColumnValuesToBeInSet, "a split is train, val or test", _SPLIT_REMEDY,
            column="split", value_set=list(SPLITS),
        ),
        _must(gxe.ExpectColumnValuesToNotBeNull, "every usable asset has a split", _SPLIT_REMEDY, column="split", **ok),
        _must(gxe.ExpectColumnValuesToBeBetween, unique, again, column="splits", max_value=1),
        *(
            _must(gxe.ExpectColumnValuesToBeBetween, f"{name} of a usable asset is positive", again,
                  column=name, min_value=1, **ok)
            for name in ("width", "height")
        ),
        _must(
            gxe.ExpectColumnValuesToBeBetween, "every usable asset has a sampled frame",
            "a shard of the frames table is missing: run the frames stage again", column="frames", min_value=1, **ok,
        ),
    ]  # fmt: skip


def _annotations(recipe: Recipe) -> list[Expectation]:
    label_map = "correct the label file, or map its words with ingest.label_map, or add the class to task.classes"
    refused = "see the refused table for each label and why"
    return [
        _must(gxe.ExpectTableRowCountToBeBetween, "there are labels", "give ingest.labels a label file", min_value=1),
        _must(
            gxe.ExpectColumnValuesToBeInSet, "every label's class is one of the task's", label_map,
            column="frame_class", value_set=list(recipe.task.classes),
        ),
        _must(gxe.ExpectColumnValuesToNotBeNull, "every label has a class", label_map, column="class"),
        _true("known_asset", "every label is of a usable asset of the catalog", "run the ingest stage again"),
        _true("box", "every box has four sides and an area", "run the ingest stage again"),
        _must(
            gxe.ExpectColumnValuesToBeBetween, "no label ends before it begins", "correct the label file",
            column="span", min_value=0,
        ),
        _must(
            gxe.ExpectColumnValuesToBeBetween, "weights are not negative", "correct the label file",
            column="weight", min_value=0,
        ),
        _must(
            gxe.ExpectColumnMaxToBeBetween, "share of labels that were refused",
            f"{refused}; or raise validation.max_labels_refused",
            column="refused_share", max_value=recipe.validation.max_labels_refused,
        ),
    ]  # fmt: skip


def _frames(recipe: Recipe) -> list[Expectation]:
    bounds = recipe.validation
    # Every picture of a detection set may show something: none has to be background, the first class.
    wanted = recipe.task.classes[1:] if recipe.finds_boxes else recipe.task.classes
    again = "a damaged frames table: run the frames stage again"
    more = "label more footage, change ingest.split, or lower validation.min_frames_per_class"
    return [
        *_keys("frames", "frame_id"),
        _true("known_asset", "every frame is of a usable asset of the catalog", again),
        *(
            _must(gxe.ExpectColumnValuesToBeBetween, f"{name} grows from frame to frame of an asset", again,
                  column=step, min_value=0, strict_min=True)
            for step, name in (("pts_step", "pts"), ("index_step", "frame_index"))
        ),
        *(
            _must(gxe.ExpectColumnValuesToBeBetween, f"{name} is positive", again, column=name, min_value=1)
            for name in ("width", "height")
        ),
        _must(gxe.ExpectColumnValuesToNotBeNull, "every frame has a brightness", again, column="brightness"),
        _must(
            gxe.ExpectColumnValuesToBeBetween, "brightness is within 0 to 255", again,
            column="brightness", min_value=0, max_value=255,
        ),
        _must(
            gxe.ExpectColumnMeanToBeBetween, "share of frames that have a label",
            "label more footage, set ingest.uncovered, or lower validation.min_labelled",
            column="labelled", min_value=bounds.min_labelled,
        ),
        *(
            _must(gxe.ExpectColumnSumToBeBetween, f"number of frames labelled {name!r} in {split}", more,
                  column=f"{split}:{name}", min_value=bounds.min_frames_per_class)
            for split in ("train", "test")
            for name in wanted
        ),
    ]  # fmt: skip


def _features(frames: int) -> list[Expectation]:
    again = "run the features stage again"
    weights = "look at features.weights: they give no usable vectors"
    return [
        *_keys("features", "frame_id"),
        _must(gxe.ExpectTableRowCountToEqual, "as many vectors as frames", again, value=frames),
        _true("known_frame", "every vector is of a frame of the frames table", again),
        _true("finite", "every vector is finite", weights),
        _must(
            gxe.ExpectColumnValuesToBeBetween, "no vector is all zeros", weights,
            column="norm", min_value=0, strict_min=True,
        ),
        _must(
            gxe.ExpectColumnUniqueValueCountToBeBetween, "all vectors have one dimension", again,
            column="dimension", min_value=1, max_value=1,
        ),
        _must(
            gxe.ExpectColumnMaxToBeBetween, "the vectors are not all the same (largest distance to the first)", weights,
            column="distance", min_value=0, strict_min=True,
        ),
    ]  # fmt: skip
