"""What batch scoring writes for one file: its scores and, where the model finds boxes, those and drawn footage."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path

from components.core import media, tables
from components.core.media import IMAGE_SUFFIXES, Frame, MediaError, TimeSampler
from components.serving.detector import ServedDetector
from components.serving.draw import canvas, drawn
from components.serving.model import ServedModel
from components.serving.sequence import chunks
from components.serving.show import Show, picture_file, video_file

CHUNK = 32  # frames through a classifier at a time
LOOKED_AT = 8  # frames through a detector at a time, and of their drawn copies in memory
DRAWN = "drawn"
NAME_BYTES = 120  # of a file's own name in that of its drawn copy


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

    def write(self, path: Path, asset_id: str) -> int:
        """Scores one video or picture; returns how many frames. Memory does not grow with its length.

        Raises MediaError where it cannot be decoded; nothing is left of it then.
        """
        time_base, frames = sampled(path, self.model.bundle.fps)
        count, first = 0, 0
        with self._predictions(asset_id) as add:
            prepared = ((frame.index, frame.pts, self.model.prepare(frame.rgb)) for frame in frames)
            for piece, new in chunks(prepared, CHUNK, self.model.bundle.window_frames):
                probabilities = self.model.sequence([picture for *_, picture in piece])[new]
                for (index, pts, _), called in zip(piece[new], self.model.called(probabilities), strict=True):
                    first = first if count else pts
                    count += 1
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


class Finds(Scores):
    """Writes besides `output`/boxes, a shard per file with columns of `tables.DETECTIONS`, a row for every box found;
    and `output`/drawn, a JPEG or MP4 per file with the boxes that are called.

    Boxes come first and predictions last: where both are this model's, what lies between is too.
    """

    model: ServedDetector

    def __init__(self, model: ServedDetector, output: Path):
        super().__init__(model, output)
        self.drawn = {file.stem.rpartition("-")[2]: file for file in (output / DRAWN).glob("*")}

    def known(self, asset_id: str) -> bool:
        """True where scores, boxes and the drawn copy are there."""
        boxed = tables.scored_by(self._boxes(asset_id)) == self.model.tag
        return boxed and asset_id in self.drawn and super().known(asset_id)

    def write(self, path: Path, asset_id: str) -> int:
        """As `Scores.write`, with boxes and drawn copy."""
        time_base, frames = sampled(path, self.model.bundle.fps)
        target = self._drawn_file(path, asset_id)
        count, first = 0, 0
        with (
            self._predictions(asset_id) as add,
            self._shown(target, time_base) as show,
            tables.shard_writer(self._boxes(asset_id), tables.DETECTIONS.with_metadata(self.notes)) as add_box,
        ):
            for frame, called, boxes in self._found(frames):
                first = first if count else frame.pts
                count += 1
                place = self._place(path, asset_id, frame.index, frame.pts, (frame.pts - first) * time_base)
                add(self._score(place, called))
                for box in boxes:
                    add_box(place | box)
                show(frame.rgb, frame.pts)
            if not count:
                raise MediaError("no frame can be decoded")
        before = self.drawn.get(asset_id, target)
        if before != target:  # the same bytes under another name
            before.unlink(missing_ok=True)
        self.drawn[asset_id] = target
        return count

    def _found(self, frames: Iterator[Frame]) -> Iterator[tuple[Frame, dict, list[dict]]]:
        """(every frame, its pixels those of the drawn copy; what it is called; all of its boxes)."""
        bundle = self.model.bundle
        small = (
            (Frame(frame.index, frame.pts, canvas(frame.rgb)), frame.rgb.shape[:2], self.model.prepare(frame.rgb))
            for frame in frames
        )
        for piece, _ in chunks(small, LOOKED_AT, 0):
            shown, sizes, prepared = zip(*piece, strict=True)
            found = self.model.find(list(prepared))
            results = zip(self.model.called(found.probabilities), self.model.boxed(found, sizes), strict=True)
            for frame, size, (called, boxes) in zip(shown, sizes, results, strict=True):
                wanted = [box for box in boxes if box["score"] >= bundle.box_threshold]
                yield Frame(frame.index, frame.pts, drawn(frame.rgb, wanted, size, bundle.classes)), called, boxes

    def _boxes(self, asset_id: str) -> Path:
        return self.output / "boxes" / f"{asset_id}.parquet"

    def _drawn_file(self, path: Path, asset_id: str) -> Path:
        name = os.fsencode(path.stem)[:NAME_BYTES].decode(errors="ignore")
        return self.output / DRAWN / f"{name}-{asset_id}{'.jpg' if is_picture(path) else '.mp4'}"

    def _shown(self, target: Path, time_base: Fraction) -> AbstractContextManager[Show]:
        fps = self.model.bundle.fps
        if target.suffix == ".jpg":
            return picture_file(target)
        return video_file(target, time_base, Fraction(fps) if fps else None)


def outputs(model: ServedModel, output: Path) -> Scores:
    """What writes all that a model of this kind has to say."""
    return Finds(model, output) if isinstance(model, ServedDetector) else Scores(model, output)


def is_picture(path: Path) -> bool:
    """True where a file is a picture, by its name; else it is taken for a video."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def sampled(path: Path, fps: str | None) -> tuple[Fraction, Iterator[Frame]]:
    """(time base, the frames at `fps` of a video, or the one frame of a picture). Raises MediaError, then or later."""
    if is_picture(path):
        return Fraction(1), iter([Frame(0, 0, media.read_picture(path))])
    with media.opened(path) as video:
        time_base = Fraction(video.stream.time_base)
    return time_base, media.read_frames(path, TimeSampler(Fraction(fps) if fps else None))
