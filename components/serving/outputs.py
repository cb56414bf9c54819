"""What batch scoring writes for one file: its scores and, where the model finds boxes, those and drawn footage."""

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from components.core import tables
from components.core.draw import canvas
from components.core.media import Frame, MediaError
from components.core.show import Show, picture_file, video_file
from components.serving.detector import Found, ServedDetector
from components.serving.draw import drawn
from components.serving.footage import Footage, is_picture, sampled
from components.serving.model import ServedModel
from components.serving.named import Named
from components.serving.overlap import abreast, ahead, behind
from components.serving.sequence import chunks

CHUNK = 32  # frames through a classifier at a time
LOOKED_AT = 4  # frames through a detector at a time
AHEAD = 8  # frames decoded before they are looked at, and as many looked at before they are drawn and encoded
DRAWN = "drawn"

Seen = Callable[[], None]  # hears of every frame that is done


class Scores:
    """Writes `output`/predictions: a shard per file, columns of `tables.PREDICTIONS`, a row per sampled frame."""

    def __init__(self, model: ServedModel, output: Path):
        self.model, self.output = model, output
        self.notes = {tables.MODEL: model.tag}

    def shard(self, asset_id: str) -> Path:
        """Where the scores of an asset are, or will be."""
        return self.output / "predictions" / f"{asset_id}.parquet"

    def known(self, asset_id: str) -> bool:
        """True where all that this model has to say of an asset is there."""
        return tables.scored_by(self.shard(asset_id)) == self.model.tag

    def write(self, path: Path, asset_id: str, seen: Seen = lambda: None) -> int:
        """Scores one video or picture; returns how many frames, each of which `seen` hears of. Memory does not grow
        with its length.

        Raises MediaError where it cannot be decoded; nothing is left of it then.
        """
        time_base, _, frames = sampled(path, self.model.bundle.fps)
        count, first = 0, 0
        with self._predictions(asset_id) as add:
            prepared = ((frame.index, frame.pts, self.model.prepare(frame.rgb)) for frame in frames)
            for piece, new in chunks(prepared, CHUNK, self.model.bundle.window_frames):
                probabilities = self.model.sequence([picture for *_, picture in piece])[new]
                for (index, pts, _), called in zip(piece[new], self.model.called(probabilities), strict=True):
                    first = first if count else pts
                    count += 1
                    seen()
                    add(self._score(self._place(path, asset_id, index, pts, (pts - first) * time_base), called))
        return count

    def _predictions(self, asset_id: str) -> AbstractContextManager:
        schema = tables.predictions_schema(self.model.bundle.classes).with_metadata(self.notes)
        return tables.shard_writer(self.shard(asset_id), schema)

    def _place(self, path: Path, asset_id: str, index: int, pts: int, seconds: Fraction) -> dict:
        """What the rows of all tables say of a frame, and of who looked at it."""
        return {
            "uri": str(path), "asset_id": asset_id, "frame_index": index, "pts": pts, "timestamp_s": float(seconds),
            "model_version": str(self.model.version),
        }  # fmt: skip

    def _score(self, place: dict, called: dict) -> dict:
        probabilities = {f"prob_{name}": value for name, value in called["probabilities"].items()}
        return place | {"prediction": called["prediction"], "score": called["score"]} | probabilities


class Looked(NamedTuple):
    """A frame on its way: its number and time, `shown` (H, W, 3) for the drawn copy, the (height, width) `size` it had,
    `prepared` for the model."""

    index: int
    pts: int
    shown: np.ndarray
    size: tuple[int, int]
    prepared: np.ndarray


# Writes what was found in a frame (what the rows of all tables say of it; the frame; what was found in it alone), and
# returns what is to be drawn into its copy.
Note = Callable[[dict, Looked, Found], list[dict]]


class Finds(Scores):
    """Writes besides `output`/boxes, a shard per file with columns of `tables.DETECTIONS`, a row for every box found;
    and `output`/drawn, a JPEG or MP4 per file with the boxes that are called.

    The footage is gone through once: it is decoded in a thread of its own, looked at in `passes` of them, and drawn and
    encoded in another. Boxes are finished first and predictions last: where both are this model's, what lies between
    is too.
    """

    model: ServedDetector
    canvas = staticmethod(canvas)  # of a frame: what its copy is drawn on
    preset = "veryfast"  # x264's, of a drawn video

    def __init__(self, model: ServedDetector, output: Path, passes: int = 1):
        super().__init__(model, output)
        self.drawn, self.passes = Named(output / DRAWN), passes

    def known(self, asset_id: str) -> bool:
        """True where scores, boxes and the drawn copy are there."""
        boxed = tables.scored_by(self._boxes(asset_id)) == self.model.tag
        return boxed and asset_id in self.drawn and super().known(asset_id)

    def write(self, path: Path, asset_id: str, seen: Seen = lambda: None) -> int:
        """As `Scores.write`, with boxes and drawn copy."""
        footage = sampled(path, self.model.bundle.fps)
        target = self.drawn.target(path, asset_id, ".jpg" if is_picture(path) else ".mp4")
        count, first = 0, 0
        with (
            self._predictions(asset_id) as add,
            self._shown(target, footage) as show,
            self._noted(path, asset_id, footage) as note,
            behind(lambda one: show(self._drawn(*one), one[0].pts), AHEAD) as draw,
            ahead(self._looked(footage.frames), AHEAD) as looked,
            abreast(self._find, (piece for piece, _ in chunks(looked, LOOKED_AT, 0)), self.passes) as pieces,
        ):
            for piece, found in pieces:
                for row, (frame, called) in enumerate(zip(piece, self.model.called(found.probabilities), strict=True)):
                    first = first if count else frame.pts
                    count += 1
                    seen()
                    seconds = (frame.pts - first) * footage.time_base
                    place = self._place(path, asset_id, frame.index, frame.pts, seconds)
                    add(self._score(place, called))
                    draw((frame, note(place, frame, found.of(row))))
            if not count:
                raise MediaError("no frame can be decoded")
        self.drawn.settle(asset_id, target)
        return count

    def _looked(self, frames: Iterator[Frame]) -> Generator[Looked, None, None]:
        for frame in frames:
            rgb = frame.rgb
            yield Looked(frame.index, frame.pts, self.canvas(rgb), rgb.shape[:2], self.model.prepare(rgb))

    def _find(self, piece: list[Looked]) -> Found:
        return self.model.find([frame.prepared for frame in piece])

    def _shown(self, target: Path, footage: Footage) -> AbstractContextManager[Show]:
        if target.suffix == ".jpg":
            return picture_file(target)
        return video_file(target, footage.time_base, footage.rate, self.preset)

    @contextmanager
    def _noted(self, path: Path, asset_id: str, footage: Footage) -> Iterator[Note]:
        """What writes the tables of what was found in a file."""
        bundle = self.model.bundle
        with tables.shard_writer(self._boxes(asset_id), tables.DETECTIONS.with_metadata(self.notes)) as add:

            def note(place: dict, frame: Looked, found: Found) -> list[dict]:
                (boxes,) = self.model.boxed(found, [frame.size])
                for box in boxes:
                    add(place | box)
                return [box for box in boxes if box["score"] >= bundle.box_threshold]

            yield note

    def _drawn(self, frame: Looked, marks: list[dict]) -> np.ndarray:
        return drawn(frame.shown, marks, frame.size, self.model.bundle.classes)

    def _boxes(self, asset_id: str) -> Path:
        return self.output / "boxes" / f"{asset_id}.parquet"


def outputs(model: ServedModel, output: Path, passes: int = 1) -> Scores:
    """What writes all that a model of this kind has to say; a detector is asked in so many `passes` side by side."""
    if model.bundle.tracks:
        from components.serving.follows import Follows  # and SciPy with it, which the others do without

        return Follows(model, output, passes)
    return Finds(model, output, passes) if isinstance(model, ServedDetector) else Scores(model, output)
