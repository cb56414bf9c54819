"""The graph in memory: frames of one source in, one after the other, and what the model says of each out.

A classifier comes as two graphs, cut where a frame has become a vector. A frame goes through the first once (twice
where motion is looked at, beside the frame before), and the second looks at the vectors of its neighbours: so neither
memory nor work grows with how many neighbours there are. A detector is one graph, and looks at every frame by itself.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime

from components.core.boxes import placed
from components.core.bundle import Bundle
from components.core.errors import SightlineError
from components.edge.device.pictures import scaled
from components.edge.device.release import Release
from components.edge.device.windows import windows


class Given(NamedTuple):
    """A frame as `EdgeModel.prepare` gives it, the (height, width) it had before, and how many frame intervals it comes
    after the one before (see `cameras.Look`)."""

    picture: np.ndarray
    size: tuple[int, int]
    intervals: float = 1.0


class EdgeModel:
    """The graphs of a release. Answers as the model service does of the same pixels."""

    def __init__(self, graphs: list[Path], bundle: Bundle, moves: bool, threads: int = 1):
        """`moves`: the vectors hold motion, against the frame before. Raises SightlineError where one cannot be run."""
        self._sessions = [_session(graph, threads) for graph in graphs]
        self.bundle, self.moves, self._reach = bundle, moves, bundle.window_frames // 2

    @property
    def context(self) -> int | None:
        """How many frames before one its answer hangs on; None: all of them."""
        if self.bundle.tracks:
            return None
        return 0 if self.bundle.finds_boxes else self._reach + self.moves

    def prepare(self, rgb: np.ndarray) -> np.ndarray:
        """A picture, (H, W, 3) uint8 RGB of any size, scaled as the training's frames were: (height, width, 3)."""
        return scaled(rgb, self.bundle.max_side, self.bundle.height, self.bundle.width)

    def probabilities(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """(C,) float32 of each of the neighbouring frames of one source, as `prepare` gives them; in order, each as
        soon as the frames after it that count are there."""
        if self.bundle.finds_boxes:
            for frame in frames:
                yield self._sessions[0].run(["probabilities"], {"frames": frame[None]})[0][0]
            return
        for window, at in windows(self.vectors(frames), self._reach):
            yield self._sessions[1].run(["probabilities"], {"vectors": np.stack(window)[None]})[0][0, at]

    def answers(self, frames: Iterable[Given]) -> Iterator[dict]:
        """Of each of the neighbouring frames of one source: prediction, score, probabilities; of a detector also
        `boxes`, those that are called, or of one that tracks `tracks`, those that the frame shows, in pixels of the
        size it had. In order, as `probabilities`."""
        if not self.bundle.finds_boxes:
            yield from map(self._called, self.probabilities(frame.picture for frame in frames))
            return
        names = [given.name for given in self._sessions[0].get_outputs()]
        follower = self._follower() if self.bundle.tracks else None
        for frame in frames:
            parts = self._sessions[0].run(names, {"frames": frame.picture[None]})
            found = {name: part[0] for name, part in zip(names, parts, strict=True)}
            if follower:
                seen = {"tracks": follower.follow(found, frame.size, frame.intervals)}
            else:
                seen = {"boxes": self._boxes(found["boxes"], found["scores"], found["classes"], frame.size)}
            yield self._called(found["probabilities"]) | seen

    def _follower(self):
        from components.edge.device.follow import Follower  # and the tracker with it, which the others do without

        return Follower(self.bundle)

    def vectors(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """(D,) float32 of each frame. Motion is against the frame before; the first frame's, against the second."""
        if not self.moves:
            for frame in frames:
                yield self._run([frame])[0]
            return
        last, count = deque(maxlen=2), 0
        for frame in frames:
            last.append(frame)
            count += 1
            if count == 2:
                yield from self._run(list(last))
            elif count > 2:
                yield self._run(list(last))[1]
        if count == 1:
            yield self._run(list(last))[0]

    def _run(self, frames: list[np.ndarray]) -> np.ndarray:
        return self._sessions[0].run(["vectors"], {"frames": np.stack(frames)[None]})[0][0]

    def _called(self, row: np.ndarray) -> dict:
        bundle, best = self.bundle, int(row.argmax())
        positive = None if bundle.positive is None else bundle.classes.index(bundle.positive)
        if bundle.by_threshold:
            best = positive if row[positive] >= bundle.threshold else 1 - positive
        score = float(row[best if positive is None else positive])
        named = {name: float(value) for name, value in zip(bundle.classes, row, strict=True)}
        return {"prediction": bundle.classes[best], "score": score, "probabilities": named}

    def _boxes(self, boxes: np.ndarray, scores: np.ndarray, kinds: np.ndarray, size: tuple[int, int]) -> list[dict]:
        return [
            {"class": self.bundle.classes[kind], "score": float(score), **placed(box, size)}
            for box, score, kind in zip(boxes, scores, kinds, strict=True)
            if score > 0 and score >= self.bundle.box_threshold
        ]


def load(release: Release, precision: str, threads: int) -> EdgeModel:
    """The model of a release in float32 or int8. Raises SightlineError."""
    graphs = [release.folder / name for name in release.manifest["graphs"][precision]]
    return EdgeModel(graphs, release.bundle, release.manifest["moves"], threads)


def _session(graph: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False  # the arena keeps what the largest pass took; a device has other uses
    try:
        return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no common class but this
        raise SightlineError(f"{graph}: cannot be run: {error}", "see requirements.txt for the versions") from error
