"""Metrics of tracking: worked examples, and equality with trackeval's own path over files."""

import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trackeval

from components.core.errors import SightlineError
from components.tasks.detection.tracking.metrics import Tracks, combined, sequence_counts, summary, tracking_metrics

DATA = Path(os.environ.get("SIGHTLINE_MIRROR", "/nowhere"))
COUNTS = {"id_switches": "IDSW", "false_positives": "CLR_FP", "misses": "CLR_FN", "fragmentations": "Frag"}
NOTHING = Tracks(np.empty((0, 4)), np.empty(0, np.int64), np.empty(0, np.int64))


def tracks(*rows: tuple, ignore: list[int] | None = None) -> Tracks:
    """Boxes of 10 x 10 pixels: rows of (frame, identity, left, top); `ignore`: the rows to be ignored."""
    frame, ids, left, top = np.array(rows).T
    boxes = np.stack([left, top, left + 10, top + 10], 1).astype(np.float64)
    return Tracks(boxes, ids, frame, None if ignore is None else np.isin(np.arange(len(rows)), ignore))


def figures(truth: Tracks, found: Tracks, threshold: float = 0.5) -> dict:
    return combined(list(sequence_counts({"one": (truth, found)}, threshold).values()))


WALK = tracks(*((frame, 1, 5 * frame, 0) for frame in range(1, 5)))  # one person, four frames


def made_up(seed: int, people: int = 6, frames: int = 30) -> tuple[Tracks, Tracks]:
    """People who walk, and a tracker that misses, invents, drifts, and mixes up identities; some are to be ignored.

    Of an even seed all coordinates are on a grid of five pixels: ties and overlaps of exactly .5 occur.
    """
    rng = np.random.default_rng(seed)
    true, found = [], []
    start, pace = rng.uniform(0, 200, (people, 2)), rng.uniform(-4, 4, (people, 2))
    size = rng.uniform(10, 40, (people, 2))
    names = rng.permutation(50)[:people]
    for frame in range(1, frames + 1):
        names = np.where(rng.random(people) < 0.05, rng.permutation(50)[:people] + 50 * frame, names)
        if rng.random() < 0.2:
            names = rng.permutation(names)
        for person in range(people):
            corner = start[person] + pace[person] * frame
            if rng.random() < 0.9:
                true.append((frame, person + 3, *corner, *(corner + size[person]), person == 0))
            if rng.random() < 0.8 and frame % 7:
                low = corner + rng.normal(0, 3, 2)
                found.append((frame, names[person], *low, *(low + size[person] * rng.uniform(0.8, 1.2, 2)), False))
        if rng.random() < 0.3:
            low = rng.uniform(0, 200, 2)
            found.append((frame, 10_000 + frame, *low, *(low + 20), False))
    return tuple(_table(rng.permutation(np.array(rows)), seed % 2 == 0) for rows in (true, found))


def _table(rows: np.ndarray, grid: bool) -> Tracks:
    boxes = np.round(rows[:, 2:6] / 5) * 5 if grid else rows[:, 2:6]
    return Tracks(boxes, rows[:, 1].astype(np.int64), rows[:, 0].astype(np.int64), rows[:, 6].astype(bool))


def official(folder: Path, sequences: dict[str, tuple[Tracks, Tracks]], benchmark: str = "MOT17") -> dict:
    """What trackeval makes of the sequences written to files: its results by sequence, COMBINED_SEQ among them."""
    lengths = {}
    for name, (truth, found) in sequences.items():
        ignore = np.zeros(len(truth), bool) if truth.ignore is None else truth.ignore
        kinds = [f"{int(not gone)},{8 if gone else 1},1" for gone in ignore]  # 8: a distractor
        _write(folder / "gt" / name / "gt" / "gt.txt", truth, kinds)
        _write(folder / "trackers" / "ours" / "data" / f"{name}.txt", found, ["0.9,-1,-1,-1"] * len(found))
        lengths[name] = int(max([*truth.frame, *found.frame, 1]))
    quiet = {"PRINT_CONFIG": False}
    dataset = trackeval.datasets.MotChallenge2DBox(
        quiet | {"GT_FOLDER": str(folder / "gt"), "TRACKERS_FOLDER": str(folder / "trackers"), "SEQ_INFO": lengths}
        | {"TRACKERS_TO_EVAL": ["ours"], "BENCHMARK": benchmark, "SKIP_SPLIT_FOL": True}
    )  # fmt: skip
    off = "PRINT_RESULTS", "TIME_PROGRESS", "OUTPUT_SUMMARY", "OUTPUT_DETAILED", "PLOT_CURVES"
    judge = trackeval.Evaluator(quiet | dict.fromkeys(off, False) | {"LOG_ON_ERROR": None})
    kinds = [trackeval.metrics.HOTA(), trackeval.metrics.CLEAR(dict(quiet)), trackeval.metrics.Identity(dict(quiet))]
    results, _ = judge.evaluate([dataset], kinds)
    return {name: result["pedestrian"] for name, result in results["MotChallenge2DBox"]["ours"].items()}


def _write(path: Path, own: Tracks, ends: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for frame, identity, box, end in zip(own.frame, own.ids, own.boxes.tolist(), ends, strict=True):
        left, top, right, bottom = box
        lines.append(f"{frame},{identity},{left!r},{top!r},{right - left!r},{bottom - top!r},{end}\n")
    path.write_text("".join(lines))


def same(ours: dict, theirs: dict) -> None:
    for name in ("HOTA", "DetA", "AssA"):
        assert ours[name.lower()] == pytest.approx(float(np.mean(theirs["HOTA"][name])), abs=1e-9), name
    for name in ("MOTA", "MOTP"):
        assert ours[name.lower()] == pytest.approx(float(theirs["CLEAR"][name]), abs=1e-9), name
    assert ours["idf1"] == pytest.approx(float(theirs["Identity"]["IDF1"]), abs=1e-9)
    assert {name: ours[name] for name in COUNTS} == {name: theirs["CLEAR"][field] for name, field in COUNTS.items()}
    assert ours["tracks"] == theirs["Count"]["GT_IDs"]


def same_as_official(folder: Path, sequences: dict[str, tuple[Tracks, Tracks]], benchmark: str = "MOT17") -> dict:
    ours, theirs = tracking_metrics(sequences), official(folder, sequences, benchmark)
    same(ours, theirs["COMBINED_SEQ"])
    assert [row["sequence"] for row in ours["per_sequence"]] == list(sequences)
    for row in ours["per_sequence"]:
        same(row, theirs[row["sequence"]])
    return ours


# ---- worked examples


def test_the_truth_itself_is_found_whole():
    assert figures(WALK, WALK) == {
        "hota": 1, "deta": 1, "assa": 1, "mota": 1, "motp": 1, "idf1": 1,
        "id_switches": 0, "false_positives": 0, "misses": 0, "fragmentations": 0, "tracks": 1,
    }  # fmt: skip


def test_a_new_identity_half_way():
    found = figures(WALK, replace(WALK, ids=np.array([7, 7, 8, 8])))
    assert (found["id_switches"], found["mota"], found["idf1"]) == (1, 0.75, 0.5)
    # Each true positive shares its track with one of two true boxes: association .5 at every overlap.
    assert (found["deta"], found["assa"]) == (1, 0.5) and found["hota"] == pytest.approx(math.sqrt(0.5))


def test_a_gap_is_a_fragmentation_and_a_miss():
    # Somebody else is found in the frame of the gap: it is one in which the tracker says something.
    truth = tracks(*((frame, 1, 0, 0) for frame in range(3)), *((frame, 2, 50, 0) for frame in range(3)))
    rows = np.flatnonzero((truth.ids == 2) | (truth.frame != 1))
    found = figures(truth, Tracks(truth.boxes[rows], truth.ids[rows], truth.frame[rows]))
    assert (found["fragmentations"], found["misses"], found["id_switches"], found["tracks"]) == (1, 1, 0, 2)
    assert found["mota"] == pytest.approx(5 / 6) and found["idf1"] == pytest.approx(10 / 11)


def test_the_threshold_is_that_of_clear_and_identity_alone():
    found = replace(WALK, boxes=WALK.boxes + [0, 2, 0, 2])  # an overlap of 80 / 120
    low, high = figures(WALK, found), figures(WALK, found, threshold=0.7)
    assert (low["mota"], low["idf1"], low["motp"]) == (1, 1, pytest.approx(2 / 3))
    assert (high["mota"], high["idf1"], high["motp"]) == (-1, 0, 0)
    # .05 to .65 of the 19 overlaps
    assert low["hota"] == high["hota"] == pytest.approx(13 / 19)


def test_figures_are_plain_numbers():
    found = tracking_metrics({"a": made_up(0), "b": made_up(1)})
    rows = found.pop("per_sequence")
    for row in (found, *({name: value for name, value in row.items() if name != "sequence"} for row in rows)):
        assert {name for name, value in row.items() if type(value) is int} == {*COUNTS, "tracks"}
        assert all(type(value) in (int, float) for value in row.values())


# ---- what is to be ignored


def test_what_is_found_on_an_ignored_box_counts_neither_way():
    # Of three persons the second is to be ignored, and found; the third, to be ignored too, is not.
    truth = tracks((0, 1, 0, 0), (0, 2, 50, 0), (0, 3, 90, 0), ignore=[1, 2])
    found = figures(truth, tracks((0, 1, 0, 0), (0, 2, 50, 0)))
    assert (found["mota"], found["false_positives"], found["misses"], found["tracks"]) == (1, 0, 0, 1)
    # An overlap of 60 / 140 is not enough.
    assert figures(truth, tracks((0, 1, 0, 0), (0, 2, 54, 0)))["false_positives"] == 1


def test_a_true_box_keeps_what_fits_it_better_than_an_ignored_one():
    truth = tracks((0, 1, 0, 0), (0, 2, 2, 0), ignore=[1])
    assert figures(truth, tracks((0, 5, 0, 0)))["mota"] == 1
    taken = figures(truth, tracks((0, 5, 2, 0)))
    assert (taken["misses"], taken["false_positives"]) == (1, 0)
    both = figures(truth, tracks((0, 5, 0, 0), (0, 6, 2, 0)))
    assert (both["mota"], both["false_positives"]) == (1, 0)


def test_identities_of_ignored_boxes_do_not_matter():
    truth = tracks((0, 1, 0, 0), (0, -1, 50, 0), (0, -1, 90, 0), ignore=[1, 2])
    assert figures(truth, tracks((0, 1, 0, 0)))["mota"] == 1


# ---- nothing there


@pytest.mark.parametrize(
    "truth, found, expected",
    [
        (WALK, NOTHING, {"mota": 0, "misses": 4, "false_positives": 0, "tracks": 1}),
        (NOTHING, WALK, {"mota": -4, "misses": 0, "false_positives": 4, "tracks": 0}),
        (replace(WALK, ignore=np.ones(4, bool)), WALK, {"mota": 0, "misses": 0, "false_positives": 0, "tracks": 0}),
        (NOTHING, NOTHING, {"mota": 0, "misses": 0, "false_positives": 0, "tracks": 0}),
    ],
)
def test_without_truth_or_results_the_shares_are_trackevals(tmp_path, truth, found, expected):
    nil = dict.fromkeys(("hota", "deta", "assa", "motp", "idf1", "id_switches", "fragmentations"), 0)
    assert figures(truth, found) == nil | expected
    row = tracking_metrics({"one": (truth, found)})["per_sequence"][0]
    assert row == nil | expected | {"sequence": "one", "mota": 0}
    same_as_official(tmp_path, {"one": (truth, found), "two": made_up(2)})


def test_no_sequences():
    with pytest.raises(SightlineError, match="no sequences"):
        tracking_metrics({})


def test_an_identity_twice_in_a_frame_is_named():
    with pytest.raises(SightlineError, match="yard: found: identity 7 is more than once in frame 3"):
        tracking_metrics({"yard": (WALK, tracks((2, 7, 0, 0), (3, 7, 0, 0), (3, 7, 50, 0)))})


def test_a_box_that_is_not_finite_is_named():
    with pytest.raises(SightlineError, match="yard: truth: a box is not finite"):
        tracking_metrics({"yard": (replace(WALK, boxes=WALK.boxes * np.nan), WALK)})


# ---- trackeval's own path


@pytest.mark.parametrize("seed", range(0, 18, 3))
def test_any_sequences_equal_the_official_path(tmp_path, seed):
    sequences = {f"s{at}": made_up(at, people=2 + at % 7) for at in range(seed, seed + 3)}
    found = same_as_official(tmp_path, sequences)
    assert 0.1 < found["hota"] < 0.9 and found["id_switches"] > 0 and found["fragmentations"] > 0
    assert any(truth.ignore.any() for truth, _ in sequences.values())


def campus() -> Tracks:
    rows = np.loadtxt(DATA / "tud-campus" / "gt" / "gt.txt", delimiter=",")
    corners = np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], 1)
    return Tracks(corners, rows[:, 1].astype(np.int64), rows[:, 0].astype(np.int64))


@pytest.mark.skipif(not (DATA / "tud-campus").is_dir(), reason="SIGHTLINE_MIRROR holds no tud-campus/")
def test_the_truth_of_tud_campus_against_itself_and_a_shifted_copy(tmp_path):
    truth = campus()
    assert (len(truth), len(np.unique(truth.ids)), truth.frame.max()) == (359, 8, 71)
    itself = same_as_official(tmp_path / "itself", {"TUD-Campus": (truth, truth)}, "MOT15")
    assert (itself["hota"], itself["mota"], itself["idf1"], itself["tracks"]) == (1, 1, 1, 8)
    # A few pixels off, another name for everybody from the middle on, and every ninth box gone.
    ids = np.where(truth.frame > 35, truth.ids + 100, truth.ids)
    kept = np.arange(len(truth)) % 9 > 0
    copy = Tracks(truth.boxes[kept] + [6, 4, 6, 4], ids[kept], truth.frame[kept])
    shifted = same_as_official(tmp_path / "shifted", {"TUD-Campus": (truth, copy)}, "MOT15")
    assert 0.3 < shifted["hota"] < 0.8 and shifted["mota"] < 0.9 and shifted["idf1"] < 0.8


# ---- drawings of sequences


SEQUENCES = {f"s{seed}": made_up(seed) for seed in range(4)} | {"empty": (NOTHING, NOTHING), "missed": (WALK, NOTHING)}


def test_one_evaluation_serves_the_table_and_the_drawings():
    counts = sequence_counts(SEQUENCES)
    whole = tracking_metrics(SEQUENCES)
    assert summary(counts) == whole
    rows = whole.pop("per_sequence")
    assert combined(list(counts.values())) == combined(list(counts.values()), np.ones(6, np.int64)) == whole
    assert [row["hota"] for row in rows] == [counts[name].figures["hota"] for name in SEQUENCES]


@pytest.mark.parametrize("times", [[2, 0, 3, 1, 0, 1], [0, 0, 0, 1, 2, 0], [5, 5, 5, 5, 5, 5]])
def test_a_drawing_equals_the_sequences_repeated(times):
    drawn = combined(list(sequence_counts(SEQUENCES).values()), np.array(times))
    repeated = {
        f"{name}-{copy}": pair
        for (name, pair), many in zip(SEQUENCES.items(), times, strict=True)
        for copy in range(many)
    }
    expected = tracking_metrics(repeated)
    del expected["per_sequence"]
    assert drawn == pytest.approx(expected, abs=1e-12)


def test_the_order_of_boxes_and_a_pause_in_the_frames_change_nothing():
    truth, found = made_up(1)
    rng = np.random.default_rng(0)
    shuffled = [
        Tracks(own.boxes[order], own.ids[order], own.frame[order] * 3, own.ignore[order])
        for own, order in ((own, rng.permutation(len(own))) for own in (truth, found))
    ]
    assert figures(*shuffled) == pytest.approx(figures(truth, found), abs=1e-12)
