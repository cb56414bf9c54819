"""A detector's bundle in memory whose boxes are followed: which of them are the same object as in the frames before."""

import numpy as np

from components.core.boxes import placed
from components.core.bundle import Bundle, Pointer
from components.core.recipe import Tracker as TrackerParams
from components.serving.detector import Found, ServedDetector
from components.tracks.detections import followable
from components.tracks.tracker import LONGEST_STEP, Tracker


class ServedTracker(ServedDetector):
    """One version of one recipe's detector and tracker. It never changes: what is known of a source is in the
    `Tracker` that `begin` makes for it."""

    def __init__(self, pointer: Pointer, bundle: Bundle, session):
        super().__init__(pointer, bundle, session)
        self.params = TrackerParams(**bundle.tracker)
        if "embeddings" in {given.name for given in session.get_outputs()}:
            self.outputs = (*ServedDetector.outputs, "embeddings")

    def check(self) -> None:
        """As a detector's; and has a black frame followed. Raises ValueError where embeddings do not belong to the
        boxes."""
        super().check()
        found = self.find([self.black()])
        looks = found.embeddings
        if looks is not None and not (looks.ndim == 3 and looks.shape[:2] == found.scores.shape and looks.shape[2]):
            raise ValueError("it gives boxes and embeddings that do not belong together")
        if looks is not None and not np.isfinite(looks).all():
            raise ValueError("it gives embeddings that are no numbers")
        self.follow(self.begin(), found, (self.bundle.height, self.bundle.width), 1.0)

    def begin(self, next_id: int = 1) -> Tracker:
        """A tracker for a new source, whose identities count from `next_id` on."""
        tracker = Tracker(self.params)
        return tracker if next_id == 1 else Tracker.restore(self.params, tracker.state() | {"next_id": next_id})

    def follow(self, tracker: Tracker, found: Found, size: tuple[int, int], dt: float) -> list[dict]:
        """The tracks that the source's next frame shows, by rising id: track_id, class, score, and as detected left
        `x`, top `y`, `w`, `h` in pixels of the frame of this (height, width).

        `found`: in that frame alone (B is 1), which comes `dt` frame intervals after the one before. Raises
        SightlineError as `Tracker.update` does.
        """
        height, width = size
        boxes = found.boxes[0].astype(np.float64) * (width, height, width, height)
        there = np.flatnonzero((found.scores[0] > 0) & followable(boxes))
        looks = None if found.embeddings is None else found.embeddings[0][there]
        dt = min(dt, LONGEST_STEP)
        tracks = tracker.update(boxes[there], found.scores[0][there], found.classes[0][there], looks, dt)
        return [
            {
                "track_id": one.track_id, "class": self.bundle.classes[one.kind], "score": one.score,
                **placed(found.boxes[0][there[one.row]], size),
            }
            for one in tracks
        ]  # fmt: skip
