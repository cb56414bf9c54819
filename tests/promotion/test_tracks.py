"""The gates that are about tracks: a tracker's answers paired, whole sequences drawn anew, and two models compared."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from components.core import tracking
from components.core.errors import UsageError
from components.core.recipe import Gates, Task
from components.core.tables import TRACKED, predictions_schema, read_table
from components.evaluation import __main__ as evaluation
from components.promotion import __main__ as promotion
from components.promotion import compare, rescore, tracks
from components.promotion import promote as promoting
from components.promotion.compare import measure, pair, paired_bootstrap
from components.promotion.decide import Champion, decide
from components.promotion.inputs import asset_slices, gate_metric, judged_scores
from components.tasks.detection.samples import Boxes
from components.tasks.detection.tracking.metrics import Tracks, sequence_counts, tracking_metrics
from tests.deployment import making
from tests.evaluation import moving
from tests.evaluation.moving import WALKS, Walk, turned
from tests.promotion.conftest import enter

TASK = Task(kind="detection", classes=moving.CLASSES, positive="person", tracks=True)
MORE = tuple(Walk(f"more{number}.mp4", 5 + number, (0, number % 3 + 1)) for number in range(14))
GATES = {"gates": {"metric": "idf1", "minimum": 0.3, "max_regression": 0.02}}


def table(sequences: dict[str, list[tuple[Boxes, Boxes | None]]], site=lambda name: None) -> pa.Table:
    """Predictions of sequences: (what is tracked, what is marked) of each frame, each sequence a video."""
    rows = [
        {
            "uri": name, "asset_id": f"asset-{name}", "frame_index": at, "pts": at, "timestamp_s": 0.0,
            "label": "person", "prediction": "person", "score": 0.9, "model_version": "1", "prob_nothing": 0.1,
            "prob_person": 0.9, "found": [], "truth": [], "site": site(name), "sequence": name, "place": at,
            "tracked": numbers(tracked), "tracked_ids": tracked.identities.tolist(),
            "marked": None if marked is None else numbers(marked),
            "marked_ids": None if marked is None else marked.identities.tolist(),
        }
        for name, frames in sequences.items()
        for at, (tracked, marked) in enumerate(frames)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=predictions_schema(TASK.classes, boxes=True, tracks=True))


def numbers(boxes: Boxes) -> list[float]:
    return np.concatenate([boxes.boxes, boxes.classes[:, None], boxes.weights[:, None]], 1).ravel().tolist()


def walk(seed: int, frames: int = 12, swapped: bool = False) -> list[tuple[Boxes, Boxes]]:
    """Three people, one in five boxes missed; `swapped`: every fourth frame they have each other's identities."""
    random = np.random.default_rng(seed)
    shown = []
    for at in range(frames):
        left = np.array([0.1, 0.4, 0.7]) + 0.01 * at
        corners = np.stack([left, np.full(3, 0.2), left + 0.1, np.full(3, 0.6)], 1).astype(np.float32)
        true = Boxes(corners, np.ones(3, np.int64), np.ones(3, np.float32), np.array([5, 6, 7]))
        tracked = replace(true, identities=np.array([1, 2, 3]))
        tracked = turned(tracked) if swapped and at % 4 == 3 else tracked
        shown.append((tracked.at(random.random(3) < 0.8), true))
    return shown


def scores(sequences, metric="idf1", **given):
    return judged_scores(table(sequences, **given), TASK, 0.5, metric)


GOOD = {f"s{seed:02d}": walk(seed) for seed in range(12)}
SWAPPED = {name: walk(seed + 100, swapped=True) for seed, name in enumerate(GOOD)}


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """(recipe, samples, predictions) of a tracker on the walks, without a store."""
    root = tmp_path_factory.mktemp("walked")
    recipe, data = moving.write_tables(root)
    moving.write_model(data, recipe, swaps=["gate.mp4", "stairs/img1"], blind=[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGHTLINE_WORKSPACE", str(root))
        model = moving.load_follower(data / "model")
        samples = model.samples(recipe, "test")
        catalog = read_table(data / "catalog").to_pylist()
    assets = evaluation.scores.scored_assets(samples, model.predict(samples), catalog, recipe.task, 0.5)
    rows = evaluation.scores.prediction_rows(assets, recipe.task, "x")
    return recipe, samples, pa.Table.from_pylist(rows, schema=evaluation.scores.schema(assets, recipe.task))


@pytest.mark.parametrize("name", tracks.METRICS)
def test_figures_of_a_table_are_those_of_the_samples(walked, name):
    recipe, samples, predictions = walked
    expected = tracking_metrics(samples.measurable(recipe.task))[name]
    found = judged_scores(predictions, recipe.task, 0.5, name)
    metric = gate_metric(name, recipe.task)
    assert measure(metric, found) == expected and 0.2 < expected < 0.95
    names = np.repeat(np.array(samples.asset_ids, object), np.diff(samples.starts))
    keys = list(zip(names, map(int, samples.frame_index), strict=True))
    every = compare.Scores(keys, samples.labels, samples.found.probabilities, 0.5)
    told = tracks.of_samples(every, samples, np.arange(len(keys)), recipe.task.classes)
    assert measure(metric, told) == expected
    assert len(found.keys) == len(told.keys) == len(samples) - 4, "the frames of which nothing is known do not count"


def test_a_folder_of_pictures_is_drawn_as_one(walked):
    recipe, _, predictions = walked
    found = judged_scores(predictions, recipe.task, 0.5, "mota")
    pairs = pair(found, found)
    assert (pairs.assets, pairs.challenger.UNITS) == (4, "sequences")
    for first, last in zip(pairs.starts, pairs.starts[1:], strict=False):
        assert len(set(pairs.challenger.sequences[first:last])) == 1
    sizes = dict(zip(*np.unique(found.sequences.astype(str), return_counts=True), strict=True))
    assert sizes == {"gate.mp4": 24, "yard/east.mp4": 30, "hall.mp4": 16, "stairs/img1": 16}


@pytest.mark.parametrize("times", [[2, 0, 3, 1], [0, 0, 0, 5], [1, 1, 1, 1]])
@pytest.mark.parametrize("name", tracks.METRICS)
def test_a_drawing_equals_the_sequences_repeated(walked, times, name):
    recipe, samples, predictions = walked
    found = judged_scores(predictions, recipe.task, 0.5, name)
    names = sorted(set(found.sequences))
    rows = [np.flatnonzero(found.sequences == own) for own, many in zip(names, times, strict=True) for _ in range(many)]
    pairs = samples.measurable(recipe.task)
    repeated = {
        f"{own}-{copy}": pairs[own] for own, many in zip(names, times, strict=True) for copy in range(many)
    }  # fmt: skip
    expected = tracking_metrics(repeated)[name]
    assert measure(gate_metric(name, recipe.task), found, np.concatenate(rows)) == pytest.approx(expected, abs=1e-12)


def test_every_sequence_is_evaluated_once(monkeypatch):
    judged = []
    monkeypatch.setattr(tracks, "sequence_counts", lambda pairs: judged.append(len(pairs)) or sequence_counts(pairs))
    pairs = pair(scores(GOOD), scores(SWAPPED))
    monkeypatch.setattr(compare, "RESAMPLES", 200)
    found = paired_bootstrap(pairs, gate_metric("idf1", TASK), 0.95)
    assert found.low > 0.1 and found.low < found.mean < found.high
    assert sum(judged) == 2 * 12


@pytest.mark.parametrize("name", tracks.METRICS)
def test_swapped_identities_are_refused_against_a_champion_without(name, monkeypatch):
    monkeypatch.setattr(compare, "RESAMPLES", 200)
    gates, metric = Gates(metric=name, minimum=0.1), gate_metric(name, TASK)
    good, swapped = scores(GOOD, name), scores(SWAPPED, name)
    figures = {name: measure(metric, swapped)}
    decision = decide(gates, figures, [], swapped, "new", Champion(1, "old", good), metric)
    assert not decision.promoted and decision.difference["high"] < 0
    assert decision.champion["assets"] == 12 and "frames of 12 sequences" in " ".join(decision.reasons)
    better = decide(gates, {name: measure(metric, good)}, [], good, "new", Champion(1, "old", swapped), metric)
    assert better.promoted and better.difference["low"] > 0


def test_a_slice_whose_identities_get_swapped_is_refused(monkeypatch):
    monkeypatch.setattr(compare, "RESAMPLES", 100)
    champion = {f"s{seed:02d}": walk(seed, swapped=seed >= 10) for seed in range(40)}
    challenger = {f"s{seed:02d}": walk(seed + 50, swapped=seed < 10) for seed in range(40)}
    where = {"site": lambda name: "dark" if name < "s10" else "bright"}
    gates, metric = Gates(metric="idf1", minimum=0.1), gate_metric("idf1", TASK)
    new, old = scores(challenger, **where), scores(champion, **where)
    slices = asset_slices(table(challenger, **where))
    figures = {"idf1": measure(metric, new)}
    assert decide(gates, figures, [], new, "new", Champion(1, "old", old), metric).promoted, "better on the whole"
    decision = decide(gates, figures, [], new, "new", Champion(1, "old", old), metric, slices)
    assert not decision.promoted and decision.reasons[0].startswith("on site dark (10 sequences) it is worse by 0.")


def test_the_champion_is_measured_by_what_is_marked_today():
    metric = gate_metric("mota", TASK)
    moved = {
        name: [(one, replace(true, boxes=true.boxes + 0.5)) for one, true in shown] for name, shown in GOOD.items()
    }
    pairs = pair(scores(moved, "mota"), scores(GOOD, "mota"))
    assert measure(metric, pairs.champion) == measure(metric, pairs.challenger) < 0
    assert measure(metric, pair(scores(GOOD, "mota"), scores(moved, "mota")).champion) > 0.7
    part = pairs.champion.of_assets({"asset-s01", "asset-s03"})
    assert set(part.sequences) == {"s01", "s03"} and len(part.tracked) == len(part.marked) == 24


def test_only_frames_that_both_scored_count():
    fewer = {name: shown[:8] for name, shown in GOOD.items() if name < "s08"}
    pairs = pair(scores(GOOD), scores(fewer))
    assert (pairs.assets, pairs.frames) == (8, 64)
    metric = gate_metric("idf1", TASK)
    assert measure(metric, pairs.challenger) == measure(metric, pairs.champion) == measure(metric, scores(fewer))


def test_sequences_that_are_one_today_were_none_then():
    """Each of two videos has an identity 1; as one sequence they are still two for the model that saw them apart."""
    both = {"a": walk(1), "b": walk(2)}
    today = table({"ab": walk(1) + walk(2)}).to_pylist()
    for row in today:
        at = row["frame_index"]
        row |= {"asset_id": f"asset-{'a' if at < 12 else 'b'}", "frame_index": at % 12}
        row["marked_ids"] = [one + 10 * (at >= 12) for one in row["marked_ids"]]
    schema = predictions_schema(TASK.classes, boxes=True, tracks=True)
    new = judged_scores(pa.Table.from_pylist(today, schema=schema), TASK, 0.5, "idf1")
    pairs = pair(new, scores(both))
    assert pairs.assets == 1 and set(pairs.champion.sequences) == {"ab"}
    metric = gate_metric("idf1", TASK)
    assert measure(metric, pairs.champion) == pytest.approx(measure(metric, scores(both)))
    assert measure(metric, pairs.challenger) < measure(metric, pairs.champion) - 0.1


def test_nothing_to_follow_is_no_figure():
    nobody = {name: [(one, true.at(np.empty(0, np.int64))) for one, true in shown] for name, shown in GOOD.items()}
    assert all(np.isnan(measure(gate_metric(name, TASK), scores(nobody, name))) for name in tracks.METRICS)
    empty = {"a": [(one.at(np.empty(0, np.int64)),) * 2 for one, _ in walk(1)]}
    assert np.isnan(measure(gate_metric("hota", TASK), scores(empty, "hota")))
    assert np.isnan(measure(gate_metric("hota", TASK), scores(GOOD, "hota"), np.empty(0, np.int64)))


def test_classes_are_counted_apart():
    task = Task(kind="detection", classes=("nothing", "person", "bag"), tracks=True)
    shown = [
        (one, replace(true, classes=np.array([1, 1, 2])), replace(one, classes=np.minimum(one.identities, 2)))
        for one, true in walk(3)
    ]
    columns = table({"a": [(replace(one, classes=(one.identities > 2) + 1), true) for one, true, _ in shown]})
    columns = columns.append_column("prob_bag", pa.array([0.0] * len(columns)))
    found = judged_scores(columns, task, None, "mota")
    every = [Tracks(*_flat([one for one, _, _ in shown])), Tracks(*_flat([true for _, true, _ in shown]))]
    plain = tracking_metrics({"a": (every[1], every[0])})["mota"]
    assert measure(gate_metric("mota", task), found) == pytest.approx(plain), "no class is taken for another here"
    assert len(found._counts[0]) == 2 and found._counts[1].tolist() == [0, 0]


def _flat(frames: list[Boxes]):
    at = np.repeat(np.arange(len(frames)), [len(one) for one in frames])
    return np.concatenate([one.boxes for one in frames]), np.concatenate([one.identities for one in frames]), at


def test_a_metric_of_boxes_or_frames_stays_one():
    assert type(scores(GOOD, "ap50")).__name__ == "BoxScores"
    assert type(scores(GOOD, "accuracy")) is compare.Scores


def test_unknown_names_and_missing_columns_are_said():
    with pytest.raises(UsageError, match="'hotta'") as refused:
        gate_metric("hotta", TASK)
    assert "hota" in refused.value.remedy
    for other in (Task(kind="detection", classes=TASK.classes), Task(classes=TASK.classes)):
        for name in tracks.METRICS:
            with pytest.raises(UsageError, match=f"no metric '{name}' of this task"):
                gate_metric(name, other)
    for column in TRACKED.names:
        with pytest.raises(KeyError, match=column):
            judged_scores(table(GOOD).drop_columns(column), TASK, 0.5, "mota")


# ---- through the stages, against a real store


@pytest.fixture
def follower(tmp_path, monkeypatch):
    """A workspace's root, the current one, in which a model's file is `moving`'s."""
    root = tmp_path / "workspace"
    enter(root, monkeypatch)
    making.give_store(root)
    for module in (evaluation, promoting, rescore):
        monkeypatch.setattr(module, "load_trained", moving.load_follower)
    monkeypatch.setattr("components.evaluation.clips.write_clips", lambda *_: None)  # not looked at here
    return root


def judged(root, walks=WALKS, swaps=(), seed=0, **sections) -> dict:
    """The decision on a tracker of these walks."""
    recipe, data = moving.write_tables(root, walks, promotion=GATES, **sections)
    moving.write_model(data, recipe, swaps, seed=seed)
    evaluation.main(recipe)
    making.write_lock(root, data, recipe.name)
    promotion.main(recipe)
    return making.read(data / "decision.json")


def test_swapped_identities_do_not_take_the_champions_place(follower):
    first = judged(follower)
    assert first["promoted"] and first["metrics"]["idf1"] > 0.9
    swapped = judged(follower, swaps=[walk.name for walk in WALKS])
    assert not swapped["promoted"] and swapped["champion"]["version"] == 1
    assert swapped["champion"]["metrics"]["idf1"] == pytest.approx(first["metrics"]["idf1"], abs=1e-6)
    assert swapped["champion"]["assets"] == 4 and swapped["difference"]["high"] < 0
    assert "frames of 4 sequences" in " ".join(swapped["reasons"])
    again = judged(follower, seed=1)
    assert again["promoted"] and again["difference"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert int(tracking.version_by_alias(moving.RECIPE, tracking.CHAMPION).version) == 3


def test_a_champion_follows_what_is_held_out_since_then(follower):
    """The champion swaps identities in a sequence that it is first asked about when the challenger is judged."""
    first = judged(follower, swaps=["more3.mp4"])
    assert first["promoted"] and first["metrics"]["idf1"] > 0.9
    decision = judged(follower, WALKS + MORE, seed=1)
    assert decision["promoted"] and decision["champion"]["assets"] == 4 + len(MORE)
    assert decision["champion"]["metrics"]["idf1"] < decision["metrics"]["idf1"] == pytest.approx(1, abs=0.02)
    assert "on those alone" not in " ".join(decision["reasons"])


def test_a_gate_that_is_not_defined_is_named_with_the_remedy(follower):
    strangers = [replace(walk, named=False) for walk in WALKS]
    with pytest.raises(UsageError, match="idf1 is not defined") as refused:
        judged(follower, strangers)
    assert "ingest.split" in refused.value.remedy
