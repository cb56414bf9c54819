"""The gates that are about boxes: a detector's answers paired, drawn anew and compared."""

import pyarrow as pa
import pytest

from components.core.errors import UsageError
from components.core.recipe import Task
from components.core.tables import predictions_schema
from components.promotion import boxes
from components.promotion.compare import measure, pair, paired_bootstrap
from components.promotion.inputs import gate_metric, judged_scores

TASK = Task(kind="detection", classes=("nothing", "animal"), positive="animal")
RIGHT, WRONG = [0.1, 0.1, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9]


def predictions(found: list[list[float]], truth: list[list[float] | None]) -> pa.Table:
    rows = [
        {
            "uri": f"{row}.jpg", "asset_id": f"{row:02d}", "frame_index": 0, "pts": 0, "timestamp_s": 0.0,
            "label": "animal", "prediction": "animal", "score": 0.9, "model_version": "1", "prob_nothing": 0.1,
            "prob_animal": 0.9, "found": one, "truth": true,
        }
        for row, (one, true) in enumerate(zip(found, truth, strict=True))
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=predictions_schema(TASK.classes, boxes=True))


def test_average_precision_of_frames_that_are_known(count=12):
    truth = [[*RIGHT, 1.0]] * count + [None]
    good = judged_scores(predictions([[*RIGHT, 1.0, 0.9]] * (count + 1), truth), TASK, 0.5, "ap50")
    half = [[*(RIGHT if row % 2 else WRONG), 1.0, 0.9] for row in range(count + 1)]
    other = judged_scores(predictions(half, truth), TASK, 0.5, "ap50")
    metric = gate_metric("ap50", TASK)
    assert len(good.keys) == count, "the frame of which nothing is known does not count"
    assert measure(metric, good) == pytest.approx(1.0)
    assert measure(metric, other) < 0.6
    difference = paired_bootstrap(pair(good, other), metric, 0.95)
    assert difference.low > 0 and difference.mean == pytest.approx(
        measure(metric, good) - measure(metric, other), abs=0.1
    )


def test_the_champion_is_measured_by_the_present_true_boxes():
    table = predictions([[*RIGHT, 1.0, 0.9]] * 2, [[*RIGHT, 1.0]] * 2)
    moved = predictions([[*RIGHT, 1.0, 0.9]] * 2, [[*WRONG, 1.0]] * 2)
    pairs = pair(judged_scores(moved, TASK, 0.5, "ap50"), judged_scores(table, TASK, 0.5, "ap50"))
    assert measure(boxes.ap50, pairs.champion) == measure(boxes.ap50, pairs.challenger) == 0.0
    part = pairs.champion.of_assets({"01"})
    assert [key[0] for key in part.keys] == ["01"] and len(part.found) == len(part.truth) == 1


def test_a_metric_of_frames_stays_one_of_frames():
    scores = judged_scores(predictions([[], []], [None, [*RIGHT, 1.0]]), TASK, 0.5, "accuracy")
    assert len(scores.keys) == 2 and scores.shown(slice(None))[0].tolist() == [1, 1]


def test_unknown_names_and_missing_columns_are_said():
    with pytest.raises(UsageError, match="ap5"):
        gate_metric("ap5", TASK)
    with pytest.raises(UsageError, match="ap50"):
        gate_metric("ap50", Task(classes=("nothing", "animal"), positive="animal"))
    table = predictions([[]], [[*RIGHT, 1.0]])
    with pytest.raises(KeyError, match="truth"):
        judged_scores(table.drop_columns("truth"), TASK, 0.5, "ap50")
