"""Metrics of tracking, by trackeval's own classes on sequences in memory.

    hota, deta, assa        HOTA, its part of detection and its part of association: means over the overlaps .05, .10,
                            ... .95 (J. Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object
                            Tracking", 2021)
    mota                    1 - (misses + false positives + identity switches) / true boxes; motp: mean overlap of the
                            boxes matched (K. Bernardin and R. Stiefelhagen, "Evaluating Multiple Object Tracking
                            Performance: The CLEAR MOT Metrics", 2008)
    idf1                    F1 of the boxes under the best assignment of whole tracks (E. Ristani et al., "Performance
                            Measures and a Data Set for Multi-Target, Multi-Camera Tracking", 2016)
    id_switches, false_positives, misses, fragmentations, tracks
                            counts, the last of true identities

Overlap is intersection over union. Figures of several sequences come from their sums, not from a mean of theirs. What
has no true box, no box found or neither gets what trackeval gives it: 0 for every share, but mota of a sum without
true boxes, which is minus its false positives.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from trackeval.metrics import CLEAR, HOTA, Identity

from components.core.errors import SightlineError
from components.tasks.detection.metrics import OVERLAP, iou_matrix

EPSILON = np.finfo(float).eps  # by which an overlap may fall short, as in trackeval
HOTA_COUNTS = ("HOTA_TP", "HOTA_FN", "HOTA_FP")  # of boxes, at each overlap
HOTA_MEANS = ("AssA", "AssRe", "AssPr", "LocA")  # over the true positives among these

Figures = dict[str, float | int]


@dataclass(frozen=True)
class Tracks:
    """The truth of a sequence, or what was found in it, in any order of frames.

    boxes (N, 4) float left, top, right, bottom in pixels; ids (N,) int; frame (N,) int. ignore (N,) bool, None: none;
    of the truth only: boxes that need not be found, and what is found there counts neither way.
    """

    boxes: np.ndarray
    ids: np.ndarray
    frame: np.ndarray
    ignore: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Counts:
    """What of a sequence's evaluation adds up, so that figures of any drawing of the sequences are quick.

    hota (7, 19) float64: at each overlap HOTA_COUNTS, then HOTA_MEANS times the true positives; clear (10,) float64 and
    identity (3,) float64: the fields that trackeval sums, all whole numbers but the sum of overlaps. figures: of the
    sequence alone.
    """

    hota: np.ndarray
    clear: np.ndarray
    identity: np.ndarray
    figures: Figures


def tracking_metrics(sequences: dict[str, tuple[Tracks, Tracks]], threshold: float = OVERLAP) -> dict:
    """The figures that the module explains, of sequences by name: (truth, found); `summary` of `sequence_counts`."""
    return summary(sequence_counts(sequences, threshold))


def summary(counts: dict[str, Counts]) -> dict:
    """The figures of all sequences together, and `per_sequence`: a row of `sequence` and the same figures for each."""
    rows = [{"sequence": name} | own.figures for name, own in counts.items()]
    return combined(list(counts.values())) | {"per_sequence": rows}


def sequence_counts(sequences: dict[str, tuple[Tracks, Tracks]], threshold: float = OVERLAP) -> dict[str, Counts]:
    """One evaluation of each sequence: (truth, found). `threshold`: the overlap of a match in CLEAR and Identity.

    Raises SightlineError for a box that is not finite and for an identity that is in a frame twice; of the truth's
    ignored boxes the identities do not matter.
    """
    hota, clear, identity = _judges(threshold)
    counts = {}
    for name, (truth, found) in sequences.items():
        data = _aligned(name, truth, found)
        results = hota.eval_sequence(data), clear.eval_sequence(data), identity.eval_sequence(data)
        by_overlap, of_clear, of_identity = results
        counted = [by_overlap[field] for field in HOTA_COUNTS]
        weighted = [by_overlap[field] * by_overlap["HOTA_TP"] for field in HOTA_MEANS]
        counts[name] = Counts(
            np.array(counted + weighted, np.float64),
            np.array([of_clear[field] for field in clear.summed_fields], np.float64),
            np.array([of_identity[field] for field in identity.integer_fields], np.float64),
            _figures(*results),
        )
    return counts


def combined(counts: list[Counts], times: np.ndarray | None = None) -> Figures:
    """The figures of the sequences together where sequence i is there `times[i]` times, (S,) int (None: once).

    Raises SightlineError without sequences.
    """
    if not counts:
        raise SightlineError("tracking metrics: no sequences", "hold out sequences with tracks: see ingest.split")
    times = np.ones(len(counts), np.int64) if times is None else np.asarray(times)
    hota, clear, identity = _judges(OVERLAP)
    sums, *others = (
        np.tensordot(times, np.stack([getattr(own, part) for own in counts]), 1)
        for part in ("hota", "clear", "identity")
    )
    counted, weighted = sums[: len(HOTA_COUNTS)], sums[len(HOTA_COUNTS) :]
    by_overlap = dict(zip(HOTA_COUNTS, counted, strict=True))
    by_overlap |= dict(zip(HOTA_MEANS, weighted / np.maximum(1, counted[0]), strict=True))
    fields = clear.summed_fields, identity.integer_fields
    results = by_overlap, *(dict(zip(names, row, strict=True)) for names, row in zip(fields, others, strict=True))
    # What was summed is to trackeval one sequence, of which it works out the shares.
    judged = zip((hota, clear, identity), results, strict=True)
    return _figures(*(judge.combine_sequences({"all": result}) for judge, result in judged))


def _judges(threshold: float) -> tuple[HOTA, CLEAR, Identity]:
    config = {"THRESHOLD": threshold, "PRINT_CONFIG": False}
    return HOTA(), CLEAR(dict(config)), Identity(dict(config))


def _figures(hota: dict, clear: dict, identity: dict) -> Figures:
    """The module's figures from trackeval's results of the three metrics."""
    return {
        "hota": float(hota["HOTA"].mean()),
        "deta": float(hota["DetA"].mean()),
        "assa": float(hota["AssA"].mean()),
        "mota": float(clear["MOTA"]),
        "motp": float(clear["MOTP"]),
        "idf1": float(identity["IDF1"]),
        "id_switches": int(clear["IDSW"]),
        "false_positives": int(clear["CLR_FP"]),
        "misses": int(clear["CLR_FN"]),
        "fragmentations": int(clear["Frag"]),
        "tracks": int(clear["MT"] + clear["PT"] + clear["ML"]),
    }


def _aligned(name: str, truth: Tracks, found: Tracks) -> dict:
    """The sequence as trackeval's metrics take it: by frame, identities from 0 on, without what is to be ignored."""
    ignored = np.zeros(len(truth), bool) if truth.ignore is None else np.asarray(truth.ignore, bool)
    _check(f"{name}: truth", truth, ~ignored)
    _check(f"{name}: found", found, np.ones(len(found), bool))
    frames = np.union1d(truth.frame, found.frame)
    true_rows, found_rows, similarity = [], [], []
    for true, claimed in zip(_by_frame(truth, frames), _by_frame(found, frames), strict=True):
        ious, ignore = iou_matrix(truth.boxes[true], found.boxes[claimed]), ignored[true]
        kept = ~_on_ignored(ious, ignore)
        true_rows.append(true[~ignore])
        found_rows.append(claimed[kept])
        similarity.append(ious[~ignore][:, kept])
    true_ids, true_tracks = _renumbered(truth.ids, true_rows)
    found_ids, found_tracks = _renumbered(found.ids, found_rows)
    return {
        "num_timesteps": len(frames), "similarity_scores": similarity,
        "gt_ids": true_ids, "num_gt_ids": true_tracks, "num_gt_dets": sum(map(len, true_ids)),
        "tracker_ids": found_ids, "num_tracker_ids": found_tracks, "num_tracker_dets": sum(map(len, found_ids)),
    }  # fmt: skip


def _check(what: str, tracks: Tracks, counted: np.ndarray) -> None:
    if not np.isfinite(tracks.boxes).all():
        raise SightlineError(f"{what}: a box is not finite", "leave such boxes out")
    pairs, times = np.unique(np.stack([tracks.frame, tracks.ids])[:, counted], axis=1, return_counts=True)
    if (times > 1).any():
        frame, identity = pairs[:, times.argmax()]
        raise SightlineError(
            f"{what}: identity {identity} is more than once in frame {frame}", "give each box of a frame its own"
        )


def _by_frame(tracks: Tracks, frames: np.ndarray) -> list[np.ndarray]:
    """The rows of each of `frames`, sorted and all that occur; rows of one frame stay in their order."""
    order = np.argsort(tracks.frame, kind="stable")
    return np.split(order, np.searchsorted(tracks.frame[order], frames[1:]))


def _on_ignored(ious: np.ndarray, ignore: np.ndarray) -> np.ndarray:
    """Which boxes found, (D,) bool, fall to an ignored true box; overlaps (T, D), ignore (T,).

    As MOTChallenge does away with what is found on distractors: each box found goes to one true box at most, ignored or
    not, so that the sum of overlaps, of OVERLAP or more, is greatest.
    """
    gone = np.zeros(ious.shape[1], bool)
    if ignore.any():
        scores = np.where(ious >= OVERLAP - EPSILON, ious, 0)
        true, claimed = linear_sum_assignment(scores, maximize=True)
        gone[claimed[(scores[true, claimed] > 0) & ignore[true]]] = True
    return gone


def _renumbered(ids: np.ndarray, rows: list[np.ndarray]) -> tuple[list[np.ndarray], int]:
    """The identities of each frame's rows, counted from 0 in their order, and how many there are."""
    distinct, numbers = np.unique(ids[np.concatenate(rows)], return_inverse=True)
    return np.split(numbers, np.cumsum([len(own) for own in rows])[:-1]), len(distinct)
