"""What batch scoring writes where the model follows what it finds: tracks, as a table, as MOTChallenge has them, and
drawn."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from components.core import tables
from components.core.draw import LARGEST
from components.core.files import atomic_path
from components.core.media import fit
from components.serving.detector import Found
from components.serving.draw import drawn_tracks
from components.serving.footage import Footage
from components.serving.named import Named
from components.serving.outputs import Finds, Looked, Note
from components.serving.tracker import ServedTracker
from components.tracks.mot import mot_line

MOT, TRACKS = "mot", "tracks"


class Follows(Finds):
    """Writes besides `output`/tracks, a shard per file with columns of `tables.TRACKS`, and `output`/mot, a result file
    of the MOTChallenge per file, frames of the source counted from 1; what is drawn are the tracks.

    Every file is a source of its own, whose identities count from 1. A picture is one of a single frame. Every frame of
    long footage is drawn and encoded: copies are no larger than the footage, and encoded in a fifth of the time.
    """

    model: ServedTracker
    canvas = staticmethod(partial(fit, max_side=LARGEST))
    preset = "ultrafast"

    def __init__(self, model: ServedTracker, output: Path, passes: int = 1):
        super().__init__(model, output, passes)
        self.mot = Named(output / MOT)

    def known(self, asset_id: str) -> bool:
        """True where tracks, their result file and all that a detector gives are there."""
        followed = tables.scored_by(self._tracks(asset_id)) == self.model.tag
        return followed and asset_id in self.mot and super().known(asset_id)

    @contextmanager
    def _noted(self, path: Path, asset_id: str, footage: Footage) -> Iterator[Note]:
        target, tracker, before = self.mot.target(path, asset_id, ".txt"), self.model.begin(), None
        schema = tables.TRACKS.with_metadata(self.notes)
        with (
            tables.shard_writer(self._tracks(asset_id), schema) as add,
            _text_file(target) as write,
            super()._noted(path, asset_id, footage) as note_boxes,
        ):

            def note(place: dict, frame: Looked, found: Found) -> list[dict]:
                nonlocal before
                note_boxes(place, frame, found)
                tracks = self.model.follow(tracker, found, frame.size, footage.intervals(before, frame.pts))
                before = frame.pts
                for one in tracks:
                    add(place | one)
                    sides = (one[side] for side in "xywh")
                    write(mot_line(frame.index + 1, one["track_id"], *sides, one["score"]))
                return tracks

            yield note
        self.mot.settle(asset_id, target)

    def _drawn(self, frame: Looked, marks: list[dict]) -> np.ndarray:
        return drawn_tracks(frame.shown, marks, frame.size)

    def _tracks(self, asset_id: str) -> Path:
        return self.output / TRACKS / f"{asset_id}.parquet"


@contextmanager
def _text_file(path: Path) -> Iterator[Callable[[str], int]]:
    """Yields `write(text)`; the file appears whole on leaving, or not at all."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="ascii", newline="\n") as file:
        yield file.write
