"""The tracker: FairMOT's and JDE's order of associations, with ByteTrack's second one for low scores."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from components.core.errors import SightlineError
from components.tracks import kalman
from components.tracks.association import Solve, assign, embedding_distances, fuse_motion, iou_distances, unit
from components.tracks.detections import LEAST_SIDE, Detections, detections
from components.tracks.table import Tracks, bad_state, checked, no_tracks, tracks_of

if TYPE_CHECKING:
    from components.core.recipe import Tracker as TrackerParams

FORMAT = 1  # of the state
SLACK = 1e-9  # of summed time steps
LONGEST_STEP = 1e12  # frame intervals; far more than any track outlives
WIDEST = 65_536  # numbers in an embedding


class Tracked(NamedTuple):
    """A confirmed track in a frame that shows it."""

    track_id: int  # from 1
    kind: int  # class
    score: float  # of the detection
    box: np.ndarray  # (4,) float64 left, top, right, bottom in pixels, as filtered; the detection's is the input's
    row: int  # place of the detection in the input


class Tracker:
    """Identities for one source of frames. It keeps what is tracked or lost, and nothing of what is gone."""

    def __init__(self, params: "TrackerParams | None" = None, solve: Solve | None = None):
        """`params`: None: those of a recipe that says nothing; `solve`: see `association.assign`."""
        if params is None:
            from components.core.recipe import Tracker as Recipes  # not before: devices are without

            params = Recipes()
        self.params, self._solve = params, solve
        self._tracks = no_tracks()
        self._next_id = 1
        self._first = True

    def __len__(self) -> int:
        """Number of tracks it keeps: tracked, unconfirmed and lost."""
        return len(self._tracks)

    def update(
        self,
        boxes: np.ndarray,
        scores: np.ndarray,
        classes: np.ndarray,
        embeddings: np.ndarray | None = None,
        dt: float = 1.0,
    ) -> list[Tracked]:
        """The confirmed tracks that this frame shows, by rising id.

        boxes (N, 4) left, top, right, bottom in pixels; scores (N,); classes (N,) int; embeddings (N, D) or None; `dt`:
        time since the frame before in frame intervals at the nominal rate. Tracks of different classes never mix.
        Raises SightlineError for a time or a detection that cannot be; nothing has changed then.
        """
        number = isinstance(dt, (int, float, np.integer, np.floating)) and not isinstance(dt, bool)
        if not (number and 0 < dt <= LONGEST_STEP):
            raise SightlineError(f"dt: {dt!r} is not a time above 0", "give each frame once, in order of time")
        embeddings = embeddings if self.params.appearance else None
        found = detections(boxes, scores, classes, embeddings, self._tracks.embeddings.shape[1])
        if found.embeddings is not None:
            self._tracks.widen(found.embeddings.shape[1])
        lost = self._predict(float(dt))
        rows, left = self._associate(found, lost)
        self._correct(found, rows)
        new = left[found.scores[left] >= self.params.new_score]
        self._begin(found, new)
        rows = np.concatenate((rows, new))
        kept = (self._tracks.confirmed | (rows >= 0)) & ~self._duplicates()
        if not kept.all():
            self._tracks, rows = self._tracks.take(kept), rows[kept]
        self._first = False
        return self._shown(rows)

    def state(self) -> dict:
        """All that it knows, in numbers and lists that JSON keeps to the last bit."""
        return {
            "format": FORMAT,
            "next_id": self._next_id,
            "first": self._first,
            "dimension": self._tracks.embeddings.shape[1],
            "tracks": self._tracks.rows(),
        }

    @classmethod
    def restore(cls, params: "TrackerParams", state: dict) -> "Tracker":
        """The tracker whose `state` this is: it goes on to the last bit as that one does. Raises SightlineError."""
        keys = ("dimension", "first", "format", "next_id", "tracks")
        if not isinstance(state, dict) or set(state) != set(keys):
            raise bad_state(f"not a mapping of {', '.join(keys)}")
        if checked(state["format"], (), int, "format") != FORMAT:
            raise bad_state(f"format {state['format']}, this reader knows {FORMAT}")
        tracker = cls(params)
        tracker._first = checked(state["first"], (), bool, "first")
        dimension = checked(state["dimension"], (), int, "dimension")
        if not 0 <= dimension <= WIDEST:
            raise bad_state(f"dimension {dimension} is not in 0..{WIDEST}")
        tracker._tracks = tracks_of(state["tracks"], dimension)
        tracker._next_id = checked(state["next_id"], (), int, "next_id")
        if tracker._next_id <= max(tracker._tracks.ids, default=0):
            raise bad_state("next_id is no new id")
        return tracker

    def _predict(self, dt: float) -> np.ndarray:
        """Moves all tracks on by `dt` and gives up those missed for too long. Returns which are lost, (N,) bool."""
        tracks = self._tracks
        lost = tracks.ages > 0
        tracks.ages += dt
        # As published, the frame that shows a track again may come one interval after the last that it may miss.
        kept = tracks.ages - 1 <= self.params.lost_frames + SLACK
        if not kept.all():
            tracks, lost = tracks.take(kept), lost[kept]
        tracks.means[lost, kalman.HEIGHT_VELOCITY] = 0
        tracks.means, tracks.covariances = kalman.predict(tracks.means, tracks.covariances, tracks.heights, dt)
        self._tracks = tracks
        return lost

    def _associate(self, found: Detections, lost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(row of the detection of each of N tracks, -1 without one; rows of high score that no track has)."""
        params, tracks = self.params, self._tracks
        rows, high = np.full(len(tracks), -1), np.nonzero(found.scores >= params.high_score)[0]
        if len(tracks) == 0 or len(found.scores) == 0:
            return rows, high
        apart = iou_distances(kalman.to_boxes(tracks.means), found.boxes)
        apart[tracks.kinds[:, None] != found.kinds] = np.inf

        def stage(pool: np.ndarray, offered: np.ndarray, most: float, cost: np.ndarray | None = None) -> np.ndarray:
            """Assigns; returns those of the offered rows that are left."""
            if len(pool) == 0 or len(offered) == 0:
                return offered
            pairs, _, left = assign(apart[pool[:, None], offered] if cost is None else cost, most, self._solve)
            rows[pool[pairs[:, 0]]] = offered[pairs[:, 1]]
            return offered[left]

        pool = np.nonzero(tracks.confirmed)[0]
        most = params.motion_distance if found.embeddings is None else params.appearance_distance
        left = stage(pool, high, most, self._first_cost(found, pool, high, apart))
        left = stage(np.nonzero(tracks.confirmed & ~lost & (rows < 0))[0], left, params.iou_distance)
        if params.low_scores:
            low = np.nonzero((found.scores >= params.low_score) & (found.scores < params.high_score))[0]
            stage(np.nonzero(tracks.confirmed & ~lost & (rows < 0))[0], low, params.low_iou_distance)
        left = stage(np.nonzero(~tracks.confirmed)[0], left, params.unconfirmed_iou_distance)
        return rows, left

    def _first_cost(self, found: Detections, pool: np.ndarray, high: np.ndarray, apart: np.ndarray) -> np.ndarray:
        """Appearance, or without embeddings IoU, fused with motion: (tracks of the pool, rows of high score)."""
        tracks, cost = self._tracks, apart[pool[:, None], high]
        if cost.size == 0:
            return cost
        if found.embeddings is not None:
            looks = embedding_distances(tracks.embeddings[pool], found.embeddings[high])
            cost = np.where(np.isinf(cost), np.inf, looks)  # inf: another class
        gating = kalman.gating_distances(tracks.means[pool], tracks.covariances[pool], found.measurements[high])
        return fuse_motion(cost, gating)

    def _correct(self, found: Detections, rows: np.ndarray) -> None:
        """Updates the tracks that have a detection."""
        seen = np.nonzero(rows >= 0)[0]
        if len(seen) == 0:
            return
        tracks, rows = self._tracks, rows[seen]
        tracks.means[seen], tracks.covariances[seen] = kalman.update(
            tracks.means[seen], tracks.covariances[seen], found.measurements[rows]
        )
        tracks.heights[seen] = np.maximum(tracks.means[seen, 3], LEAST_SIDE)
        tracks.scores[seen] = found.scores[rows]
        tracks.hits[seen] += 1
        tracks.confirmed[seen] |= tracks.hits[seen] >= self.params.min_hits
        tracks.spans[seen] += tracks.ages[seen]
        tracks.ages[seen] = 0
        if found.embeddings is not None:
            clear = found.scores[rows] >= self.params.high_score  # low scores are of what is hidden or blurred
            seen, rows = seen[clear], rows[clear]
            momentum = self.params.momentum
            tracks.embeddings[seen] = unit(momentum * tracks.embeddings[seen] + (1 - momentum) * found.embeddings[rows])

    def _begin(self, found: Detections, new: np.ndarray) -> None:
        """Begins a track with each of these rows."""
        count = len(new)
        if count == 0:
            return
        means, covariances = kalman.initiate(found.measurements[new])
        width = self._tracks.embeddings.shape[1]
        begun = Tracks(
            ids=np.arange(self._next_id, self._next_id + count),
            kinds=found.kinds[new],
            confirmed=np.full(count, self._first or self.params.min_hits == 1),
            hits=np.ones(count, np.int64),
            scores=found.scores[new],
            ages=np.zeros(count),
            spans=np.zeros(count),
            heights=found.measurements[new, 3],
            means=means,
            covariances=covariances,
            embeddings=np.zeros((count, width)) if found.embeddings is None else found.embeddings[new],
        )
        self._next_id += count
        self._tracks = self._tracks.append(begun)

    def _duplicates(self) -> np.ndarray:
        """(N,) bool: of a tracked and a lost track of one class in one place, the one that was seen for less time; the
        tracked one if that is the same."""
        tracks, twice = self._tracks, np.zeros(len(self._tracks), bool)
        tracked, lost = np.nonzero(tracks.ages == 0)[0], np.nonzero((tracks.ages > 0) & tracks.confirmed)[0]
        if len(tracked) == 0 or len(lost) == 0:
            return twice
        boxes = kalman.to_boxes(tracks.means)
        near = iou_distances(boxes[tracked], boxes[lost]) < self.params.duplicate_distance
        near &= tracks.kinds[tracked][:, None] == tracks.kinds[lost]
        longer = tracks.spans[tracked][:, None] > tracks.spans[lost]
        twice[lost] = (near & longer).any(axis=0)
        twice[tracked] = (near & ~longer).any(axis=1)
        return twice

    def _shown(self, rows: np.ndarray) -> list[Tracked]:
        """What `update` answers, from the row of each track."""
        tracks, at = self._tracks, np.nonzero(self._tracks.confirmed & (rows >= 0))[0]
        return [
            Tracked(*values)
            for values in zip(
                tracks.ids[at].tolist(),
                tracks.kinds[at].tolist(),
                tracks.scores[at].tolist(),
                kalman.to_boxes(tracks.means[at]),
                rows[at].tolist(),
                strict=True,
            )
        ]
