"""Which of what a detector finds are the same objects as in the frames before: the service's tracker, on a device."""

from types import SimpleNamespace

import numpy as np

from components.core.boxes import placed
from components.core.bundle import Bundle
from components.edge.device.assignment import least_cost
from components.tracks.detections import followable
from components.tracks.tracker import LONGEST_STEP, Tracker


class Follower:
    """Identities for one source of frames, counted from 1 on."""

    def __init__(self, bundle: Bundle):
        """`bundle`: one that tracks."""
        self._classes = bundle.classes
        self._tracker = Tracker(SimpleNamespace(**bundle.tracker), least_cost)

    def follow(self, found: dict[str, np.ndarray], size: tuple[int, int], intervals: float) -> list[dict]:
        """The tracks that the next frame shows, by rising id: track_id, class, score, and as detected left `x`, top
        `y`, `w`, `h` in pixels of the frame of this (height, width); as `components.serving.tracker` gives them.

        `found`: what the graph gives for that frame, by name, without the batch; `intervals`: how many frame intervals
        it comes after the one before.
        """
        height, width = size
        boxes = found["boxes"].astype(np.float64) * (width, height, width, height)
        there = np.flatnonzero((found["scores"] > 0) & followable(boxes))
        looks = found["embeddings"][there] if "embeddings" in found else None
        dt = min(intervals, LONGEST_STEP)
        tracks = self._tracker.update(boxes[there], found["scores"][there], found["classes"][there], looks, dt)
        return [
            {
                "track_id": one.track_id, "class": self._classes[one.kind], "score": one.score,
                **placed(found["boxes"][there[one.row]], size),
            }
            for one in tracks
        ]  # fmt: skip
