"""A whole data set: videos, labels, boxes and the list of clips, over several processes, whatever interrupts it."""

from __future__ import annotations

import csv
import fcntl
import io
import multiprocessing
import os
import re
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from components.core.files import atomic_json, atomic_text, file_sha256, json_text
from components.scenes.encode import write_clip
from components.scenes.spec import GENERATOR_VERSION, ClipSpec, SceneSpec, clip_specs
from components.scenes.truth import FrameTruth, clip_truth

_STATE = ".clips"  # what is already there: one small file per finished clip, outside of the videos
_CLIP_COLUMNS = (
    "split", "scenario", "variant", "camera", "background", "width", "height", "fps", "codec", "frames", "seed",
)  # fmt: skip
_HALF_WRITTEN = re.compile(r"\.\w+-\d{3,}-\w+\.\d+\.[0-9a-f]{8}\.\w+")  # as core.files.atomic_path names them


def generate(
    spec: SceneSpec,
    directory: str | Path,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Writes the scene to `directory` and returns it: videos/<split>/<clip>, labels, boxes and clips .csv, scene.json.

    labels.csv: video (file name), frame_index (from 0), label (1 suspicious). boxes.csv: video, frame_index, track_id,
    class, x, y, w, h (pixels), activity. clips.csv: one row per clip. Clips that are complete are kept; clips of an
    earlier spec that are not in this one are removed. `workers` processes (default: one per core); `progress(done,
    total)` is called in this process after each clip. The bytes depend on the spec only.
    """
    directory, clips = Path(directory), clip_specs(spec)
    _wait_for_orphans(directory / _STATE / "lock")
    _remove_others(directory, clips)
    rows: dict[str, tuple[str, str]] = {}
    for done, (clip_id, labels, boxes) in enumerate(_run(clips, directory, workers or os.cpu_count() or 1), 1):
        rows[clip_id] = (labels, boxes)
        if progress:
            progress(done, len(clips))
    ordered = [rows[clip.clip_id] for clip in clips]
    atomic_text(directory / "labels.csv", "video,frame_index,label\n" + "".join(labels for labels, _ in ordered))
    header = "video,frame_index,track_id,class,x,y,w,h,activity\n"
    atomic_text(directory / "boxes.csv", header + "".join(boxes for _, boxes in ordered))
    atomic_text(directory / "clips.csv", _csv([("video", *_CLIP_COLUMNS), *map(_clip_row, clips)]))
    # Last, so that its presence says that the rest is there.
    atomic_json(directory / "scene.json", {"generator": GENERATOR_VERSION, "spec": asdict(spec)})
    return directory


def _run(clips: list[ClipSpec], directory: Path, workers: int) -> Iterable[tuple[str, str, str]]:
    if workers == 1 or len(clips) < 2:
        for clip in clips:
            yield make_clip(clip, directory)
        return
    # spawn: a fork of a process that holds threads (Spark, Torch, OpenCV) may hang.
    lock = directory / _STATE / "lock"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(clips)), context, _start_worker, (os.getpid(), lock)) as pool:
        futures = [pool.submit(make_clip, clip, directory) for clip in clips]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def make_clip(clip: ClipSpec, directory: Path) -> tuple[str, str, str]:
    """Makes one clip unless it is complete; returns its id and its rows of labels.csv and boxes.csv."""
    video = directory / "videos" / clip.split / clip.file_name
    state = directory / _STATE / f"{clip.clip_id}.json"
    if not _complete(clip, video, state):
        state.unlink(missing_ok=True)
        write_clip(clip, video.parent)
        atomic_json(state, _mark(clip, video))
    truth = clip_truth(clip)
    labels = _csv((clip.file_name, frame.frame_index, int(frame.suspicious)) for frame in truth)
    return clip.clip_id, labels, _csv(row for frame in truth for row in _box_rows(clip, frame))


def _mark(clip: ClipSpec, video: Path) -> dict:
    return {"clip": clip.as_json(), "generator": GENERATOR_VERSION, "sha256": file_sha256(video)}


def _complete(clip: ClipSpec, video: Path, state: Path) -> bool:
    return video.is_file() and state.is_file() and state.read_text() == json_text(_mark(clip, video))


def _box_rows(clip: ClipSpec, frame: FrameTruth) -> Iterable[tuple]:
    for track_id, x, y, w, h, activity in frame.people:
        yield clip.file_name, frame.frame_index, track_id, "person", x, y, w, h, activity
    for track_id, kind, x, y, w, h, abandoned in frame.objects:
        state = "carried" if track_id in frame.carried else "abandoned" if abandoned else "attended"
        yield clip.file_name, frame.frame_index, track_id, kind, x, y, w, h, state


def _clip_row(clip: ClipSpec) -> tuple:
    values = {**clip.as_json(), "frames": clip.frames}
    return clip.file_name, *(values[name] for name in _CLIP_COLUMNS)


def _csv(rows: Iterable[tuple]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _remove_others(directory: Path, clips: list[ClipSpec]) -> None:
    """Removes what earlier runs here made that this scene does not have, and what a killed run left half-written."""
    (directory / "scene.json").unlink(missing_ok=True)
    wanted = {clip.clip_id: clip.file_name for clip in clips}
    for state in sorted((directory / _STATE).glob("*.json")):
        for video in (directory / "videos").glob(f"*/{state.stem}.*"):
            if video.name != wanted.get(state.stem):
                video.unlink()
        if state.stem not in wanted:
            state.unlink()
    for folder in (directory / _STATE, *(directory / "videos").glob("*/")):
        for file in folder.iterdir() if folder.is_dir() else ():
            if _HALF_WRITTEN.fullmatch(file.name):
                file.unlink(missing_ok=True)


def _wait_for_orphans(lock: Path) -> None:
    """Waits (a tenth of a second) until the workers of a run that was killed here have ended."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)


_held = []  # open for as long as this worker lives


def _start_worker(parent: int, lock: Path) -> None:
    """Shows by a shared lock that this worker lives, and ends it when its parent is gone, however that went."""
    _held.append(open(lock))
    fcntl.flock(_held[-1], fcntl.LOCK_SH)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
