"""The files: the same bytes whatever the workers, the hash seed or the interruptions; in them, what the truth says."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from components.core.files import tree_sha256
from components.scenes import SceneSpec, clip_specs, clip_truth, generate, render_clip, write_clip

SPEC = SceneSpec(seed=21, train_clips=6, val_clips=1, test_clips=2, seconds=3.0, scale=0.5)
ROOT = Path(__file__).resolve().parents[2]
COMMAND = [
    *(sys.executable, "-m", "components.scenes", "--seed", "21", "--train", "6", "--val", "1", "--test", "2"),
    *("--seconds", "3", "--scale", "0.5"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The scene, made in this process by one worker."""
    return generate(SPEC, tmp_path_factory.mktemp("made"), workers=1)


def videos(directory: Path) -> list[Path]:
    return [file for file in directory.glob("videos/*/*.m*") if not file.name.startswith(".")]


def rows(path: Path) -> list[dict]:
    with open(path, newline="") as handle:
        return list(csv.DictReader(handle))


def test_two_workers_and_another_hash_seed_give_the_same_bytes(made, tmp_path):
    environment = {**os.environ, "PYTHONHASHSEED": "77", "OPENCV_FOR_THREADS_NUM": "3"}
    command = [*COMMAND, "--workers", "2", str(tmp_path / "x")]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=120)
    assert tree_sha256(tmp_path / "x") == tree_sha256(made)


def test_a_run_killed_in_the_middle_is_finished_by_the_next(made, tmp_path):
    """SIGKILL once a clip is there: nothing half-written has its name, the next run ends with the same bytes."""
    target = tmp_path / "x"
    process = subprocess.Popen([*COMMAND, "--workers", "2", str(target)], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not videos(target) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    assert not (target / "scene.json").exists()
    assert 0 < len(videos(target)) < 9
    for video in videos(target):
        assert video.read_bytes() == (made / video.relative_to(target)).read_bytes()
    generate(SPEC, target, workers=1)
    assert tree_sha256(target) == tree_sha256(made)
    assert not [file for file in (target / "videos").rglob(".*") if file.is_file()]


def test_finished_clips_are_kept_and_damaged_or_foreign_ones_are_not(made, tmp_path):
    generate(SceneSpec(21, 7, 1, 1, 3.0, 0.5), tmp_path, workers=1)
    first, second = sorted((tmp_path / "videos/train").glob("train-00[01]*"))
    before = first.stat().st_mtime_ns
    second.write_bytes(second.read_bytes()[:1000])
    own = tmp_path / "videos/train/mine.mp4"
    own.write_bytes(b"somebody's own file")
    ticks = []
    generate(SPEC, tmp_path, workers=1, progress=lambda done, total: ticks.append((done, total)))
    assert first.stat().st_mtime_ns == before
    assert own.exists()
    own.unlink()
    assert tree_sha256(tmp_path) == tree_sha256(
        made
    )  # a seventh clip of the wider scene is gone, the damaged one redone
    assert ticks == [(i, 9) for i in range(1, 10)]


def test_files_hold_the_frames_rate_and_size_that_the_tables_state(made):
    labels, clips = rows(made / "labels.csv"), rows(made / "clips.csv")
    assert len(clips) == 9 and {c["codec"] for c in clips} == {"h264", "mpeg2video"}
    for clip in clips:
        path = made / "videos" / clip["split"] / clip["video"]
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            frames = list(container.decode(stream))
            assert stream.codec_context.name == clip["codec"]
            assert stream.average_rate == Fraction(clip["fps"])
        assert [r["frame_index"] for r in labels if r["video"] == clip["video"]] == [str(i) for i in range(len(frames))]
        assert len(frames) == int(clip["frames"])
        assert {(f.width, f.height) for f in frames} == {(int(clip["width"]), int(clip["height"]))}
        steps = np.diff([f.pts * f.time_base for f in frames])
        assert all(abs(step - 1 / Fraction(clip["fps"])) < Fraction(1, 10000) for step in steps)


def test_tables_say_what_the_truth_says(made):
    boxes = rows(made / "boxes.csv")
    for clip in clip_specs(SPEC)[:3]:
        truth = clip_truth(clip)
        mine = [r for r in boxes if r["video"] == clip.file_name]
        assert len(mine) == sum(len(f.people) + len(f.objects) for f in truth)
        labels = [r["label"] for r in rows(made / "labels.csv") if r["video"] == clip.file_name]
        assert labels == [str(int(f.suspicious)) for f in truth]
        person = next(f for f in truth if f.people)
        row = next(r for r in mine if int(r["frame_index"]) == person.frame_index and r["class"] == "person")
        assert tuple(int(row[k]) for k in ("track_id", "x", "y", "w", "h")) == person.people[0][:5]
    assert json.loads((made / "scene.json").read_text())["spec"]["seed"] == 21


def test_a_decoded_frame_is_the_rendered_one(tmp_path):
    """Lossy, but frame by frame nearer to its own original than to one half a second away: nothing is shifted."""
    for clip in clip_specs(SceneSpec(31, 2, 0, 0, 2.0)):
        with av.open(str(write_clip(clip, tmp_path))) as container:
            decoded = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
        drawn = [cv2.GaussianBlur(picture, (0, 0), 1.5).astype(int) for picture, _ in render_clip(clip)]
        for i in (0, 11, 23):
            near = np.abs(cv2.GaussianBlur(decoded[i].astype(np.uint8), (0, 0), 1.5) - drawn[i])
            far = np.abs(cv2.GaussianBlur(decoded[i].astype(np.uint8), (0, 0), 1.5) - drawn[i + 12])
            assert near.mean() < 4 and near.mean() < far.mean(), clip.clip_id


def test_people_are_drawn_in_their_boxes_and_move():
    """Where a walker was and no longer is, the picture changes far more than where nobody was."""
    clip = clip_specs(SceneSpec(33, 2, 0, 0, 4.0))[1]
    frames = list(render_clip(clip))
    (first, before), (last, after) = frames[0], frames[-1]
    changed = np.abs(cv2.blur(first, (5, 5)).astype(int) - cv2.blur(last, (5, 5))).mean(axis=2)
    inside = np.zeros(changed.shape, bool)
    for _, x, y, w, h, _ in (*before.people, *after.people):
        inside[y : y + h, x : x + w] = True
    assert inside.any() and changed[inside].mean() > 2 * changed[~inside].mean()
    assert first.dtype == np.uint8 and first.shape == (clip.height, clip.width, 3)


def test_every_nth_frame_is_as_in_the_whole_clip():
    clip = clip_specs(SPEC)[0]
    whole = list(render_clip(clip))
    some = list(render_clip(clip, every=7))
    assert len(some) == -(-clip.frames // 7)
    for picture, truth in some:
        assert truth == whole[truth.frame_index][1] and (picture == whole[truth.frame_index][0]).all()


def test_opencv_keeps_its_threads():
    before = cv2.getNumThreads()
    next(iter(render_clip(clip_specs(SPEC)[0])))
    assert cv2.getNumThreads() == before


def test_the_shell_refuses_a_wrong_value_in_a_sentence():
    result = subprocess.run(
        [sys.executable, "-m", "components.scenes", "x", "--seconds", "0"], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 2 and "seconds" in result.stderr and "Traceback" not in result.stderr
