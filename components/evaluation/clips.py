"""Clips of held-out sequences with what the tracker made of them: a box, an identity and its colour."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from components.core import paths
from components.core.draw import Colour, Corners, canvas, identity_colour, outlined
from components.core.errors import SightlineError
from components.core.media import decode_picture
from components.core.progress import progress
from components.core.recipe import Recipe
from components.core.show import video_file
from components.core.tables import PICTURES, iter_rows, shard_asset, shards
from components.evaluation.tracks import FrameTracks, sequences
from components.tasks.detection.metrics import OVERLAP, iou_matrix
from components.tasks.detection.samples import Boxes

MOST_FRAMES = 900  # of a clip: of a longer sequence the stretch that shows most
PICTURES_PER_S = 10  # of a sequence of pictures, which have no time
MISSED = (255, 255, 255)  # colour of true boxes that nothing found fits


@dataclass(frozen=True)
class Clip:
    """`frames`: (asset, row) of what is shown, in order of time, `first` the place of the first; `length`: frames of
    the whole sequence; `file`: its name below the report's videos; `why`: what it is shown for."""

    sequence: str
    file: str
    why: str
    frames: list[tuple[int, int]]
    first: int
    length: int


def chosen_clips(assets: Sequence, rows: Sequence[Mapping]) -> list[Clip]:
    """The sequence of `scores.Scored` assets with the most true boxes, and the one that was followed worst, by IDF1;
    `rows`: of `tracks.Followed`. None where no tracker was asked."""
    parts = sequences(assets)
    boxes = {name: sum(row["boxes"] for row in rows if row["sequence"] == name) for name in parts}
    worst: dict[str, float] = {}  # of a sequence's classes
    for row in rows:
        if row["boxes"]:
            worst[row["sequence"]] = min(row["idf1"], worst.get(row["sequence"], 1.0))
    wanted: dict[str, str] = {}
    if parts:
        wanted[max(parts, key=boxes.get)] = "the most true boxes"
    if worst:
        name = min(sorted(worst), key=worst.get)
        wanted[name] = f"{wanted[name]} and the lowest IDF1" if name in wanted else "the lowest IDF1"
    return [_clip(assets, name, parts[name], why) for name, why in wanted.items()]


def _clip(assets: Sequence, name: str, frames: list[tuple[int, int]], why: str) -> Clip:
    shown = np.array([_shown(assets[asset].tracks, row) for asset, row in frames])
    first = 0
    if len(frames) > MOST_FRAMES:
        first = int(np.convolve(shown, np.ones(MOST_FRAMES), "valid").argmax())
    asset = assets[frames[first][0]].asset_id
    return Clip(name, f"{asset}-tracks.mp4", why, frames[first : first + MOST_FRAMES], first, len(frames))


def _shown(tracks: FrameTracks, row: int) -> int:
    """True boxes of a frame, or where that is not known, boxes found."""
    marked = tracks.marked[row]
    return len(tracks.tracked[row]) if marked is None else int((marked.weights > 0).sum())


def write_clips(folder: Path, recipe: Recipe, assets: Sequence, clips: list[Clip]) -> None:
    """Writes each clip as H.264 in MP4 into `folder`, every frame at its own time; the pictures are those of the frames
    table. Raises SightlineError where one is not there."""
    if not clips:
        return
    count = sum(len(clip.frames) for clip in clips)
    with progress("evaluation: clips with tracks", count, "frames") as ticker:
        for clip in clips:
            held = [assets[asset] for asset, _ in clip.frames]
            wanted = [assets[asset].frame_ids[row] for asset, row in clip.frames]
            jpegs = frame_pictures(recipe.name, wanted, {asset.asset_id for asset in held})
            moving = held[0].kind == "video"
            rate = recipe.frames.fps if moving else Fraction(PICTURES_PER_S)
            with video_file(folder / clip.file, held[0].time_base if moving else 1 / rate, rate) as show:
                for at, (asset, row) in enumerate(clip.frames):
                    tracks = assets[asset].tracks
                    rgb = canvas(decode_picture(jpegs[at]))
                    pts = int(assets[asset].pts[row]) if moving else at
                    show(drawn(rgb, tracks.tracked[row], tracks.marked[row], recipe.task.classes), pts)
                    ticker.advance()


def drawn(rgb: np.ndarray, tracked: Boxes, marked: Boxes | None, classes: Sequence[str]) -> np.ndarray:
    """A copy of a frame's picture, (H, W, 3) uint8 RGB, with what was tracked, each in its identity's colour and with
    its number (and of several classes its class), what is lower in the picture on top; and without a number the true
    boxes that overlap none of it by OVERLAP."""
    height, width = rgb.shape[:2]
    marks: list[tuple[Corners, str, Colour]] = []
    if marked is not None:
        found = iou_matrix(marked.boxes, tracked.boxes) * (marked.classes[:, None] == tracked.classes[None])
        missed = marked.at((marked.weights > 0) & (found.max(1, initial=0) < OVERLAP))
        marks += [(_corners(box, width, height), "", MISSED) for box in missed.boxes]
    for row in np.argsort(tracked.boxes[:, 3], kind="stable"):
        identity, kind = int(tracked.identities[row]), f"{classes[tracked.classes[row]]} " if len(classes) > 2 else ""
        marks.append((_corners(tracked.boxes[row], width, height), f"{kind}{identity}", identity_colour(identity)))
    return outlined(rgb, marks)


def _corners(box: np.ndarray, width: int, height: int) -> Corners:
    left, top, right, bottom = (round(float(part) * side) for part, side in zip(box, (width, height) * 2, strict=True))
    return left, top, max(left, right - 1), max(top, bottom - 1)


def frame_pictures(recipe: str, wanted: list[str], assets: Iterable[str]) -> list[bytes]:
    """The encoded pictures of these frames, which are of these assets, out of the frames table. Raises SightlineError
    where one is not there."""
    needed, holders = set(wanted), {*assets, PICTURES}
    found: dict[str, bytes] = {}
    for shard in shards(paths.data(recipe, "frames")):
        if shard_asset(shard) in holders:
            for row in iter_rows(shard, ["frame_id", "jpeg"], batch_rows=64):
                if row["frame_id"] in needed:
                    found[row["frame_id"]] = row["jpeg"]
    if missing := [frame for frame in wanted if frame not in found]:
        raise SightlineError(f"data/{recipe}/frames: no frame {missing[0]}", "run the frames and features stages again")
    return [found[frame] for frame in wanted]
