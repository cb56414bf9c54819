"""Drawing a clip: the place, shadows, people and bags from far to near, then the light and the sensor."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from components.scenes.bags import BagTrack
from components.scenes.people import parts
from components.scenes.shapes import BagShape, shadow
from components.scenes.solids import SHIFT, fill, fixed, visible_faces
from components.scenes.spec import ClipSpec
from components.scenes.truth import FrameTruth, Staging

_MARGIN = 64  # how much larger than the picture the noise is, so that it can be moved about


def render_clip(clip: ClipSpec, every: int = 1) -> Iterator[tuple[np.ndarray, FrameTruth]]:
    """Yields (picture (H, W, 3) uint8 RGB, FrameTruth) for each frame of the clip, the same each time.

    With `every` N, only frames 0, N, 2 N ... are drawn, and come out as they are in the whole clip.

    Holds OpenCV to one thread while it draws, so that clips can be rendered side by side.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        staging = Staging(clip)
        painter = Painter(clip, staging)
        for t in range(0, clip.frames, every):
            yield painter.frame(t), staging.truth(t)
    finally:
        cv2.setNumThreads(threads)


class Painter:
    """Draws the frames of one staging; all geometry is worked out before the first frame."""

    def __init__(self, clip: ClipSpec, staging: Staging):
        self.staging, self.view = staging, staging.view
        self.empty, self.occluders = staging.place.paint()
        background = staging.place.background
        self.figures = []
        for track, figure in zip(staging.cast.people, staging.figures, strict=True):
            light = staging.place.light(track.xy)
            base = np.array([part[5] * track.body.colours[part[4]] for part in parts(track.body)])
            colours = np.clip(light[:, None, None] * base, 0, 255).astype(int).tolist()
            shadows = fixed(shadow(track, self.view, background.sun) / 2)
            self.figures.append((fixed(figure.outlines), figure, colours, shadows))
        self.keep = 1 - background.shadow
        self.sensor = Sensor(clip, self.view)

    def frame(self, t: int) -> np.ndarray:
        """The picture of frame t (H, W, 3) uint8 RGB."""
        picture = self.empty.copy()
        self._shadows(picture, t)
        layers = [(-depth, i, "thing") for i, (depth, _, _) in enumerate(self.occluders)]
        layers += [(-f.depth[t], i, "person") for i, (_, f, _, _) in enumerate(self.figures) if f.seen[t]]
        layers += [(-b.depth[t], i, "bag") for i, b in enumerate(self.staging.bags) if b.seen[t]]
        drawn = False
        for _, i, kind in sorted(layers):
            if kind == "thing":
                if drawn:  # furniture hides only what was drawn behind it
                    _, region, mask = self.occluders[i]
                    cv2.copyTo(self.empty[region], mask, picture[region])
                continue
            drawn = True
            if kind == "person":
                outlines, figure, colours, _ = self.figures[i]
                for part in figure.order[t]:
                    fill(picture, outlines[t, part], colours[t][part])
            else:
                self._bag(picture, self.staging.cast.bags[i], self.staging.bags[i], t)
        return self.sensor.expose(picture, t)

    def _shadows(self, picture: np.ndarray, t: int) -> None:
        half = np.full((picture.shape[0] // 2, picture.shape[1] // 2), 255, np.uint8)
        tone = int(255 * self.keep)
        for _, figure, _, shadows in self.figures:
            if figure.seen[t]:
                for outline in shadows[t]:
                    cv2.fillConvexPoly(half, outline, tone, cv2.LINE_8, SHIFT)
        for bag, shape in zip(self.staging.cast.bags, self.staging.bags, strict=True):
            if shape.seen[t] and bag.base[t, 2] < 0.3:
                foot = self.view.project(shape.solid[t, :4] * [1, 1, 0])[0]
                spread = foot.mean(axis=0) + (foot - foot.mean(axis=0)) * 1.25
                cv2.fillConvexPoly(half, fixed(spread / 2), tone, cv2.LINE_8, SHIFT)
        x, y, w, h = cv2.boundingRect(255 - half)
        if not w:
            return
        x0, y0 = max(0, x - 4), max(0, y - 4)
        x1, y1 = min(half.shape[1], x + w + 4), min(half.shape[0], y + h + 4)
        soft = cv2.resize(cv2.blur(half[y0:y1, x0:x1], (3, 3)), None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
        region = picture[2 * y0 : 2 * y1, 2 * x0 : 2 * x1]
        cv2.multiply(region, cv2.cvtColor(soft, cv2.COLOR_GRAY2RGB), region, 1 / 255)

    def _bag(self, picture: np.ndarray, bag: BagTrack, shape: BagShape, t: int) -> None:
        light = float(self.staging.place.light(bag.base[t, :2]))
        eye = np.array([0.0, 0.0, self.view.camera.above])
        points = fixed(shape.corners[t])
        for face, tone in visible_faces(shape.solid[t], float(bag.heading[t]), eye):
            corners = points[list(face)]
            fill(picture, corners, _rgb(bag.tone, tone * light))
            if len(face) == 4 and face[2] >= 4 and face[0] < 4:  # a pocket on the sides
                inner = np.rint(corners.mean(axis=0) + (corners - corners.mean(axis=0)) * 0.6).astype(np.int32)
                fill(picture, inner, _rgb(bag.tone, tone * light * 0.82))
        top = shape.corners[t, 4:]
        middle, across = top.mean(axis=0), (top[3] - top[0] + top[2] - top[1]) * 0.13
        rise = np.array([0.0, -0.16 * bag.size[2] * self.view.focal / shape.depth[t]])
        handle = fixed(np.array([middle - across, middle - across + rise, middle + across + rise, middle + across]))
        cv2.polylines(picture, [handle], False, _rgb(bag.tone, 0.5 * light), 1, cv2.LINE_AA, SHIFT)


def _rgb(colour: np.ndarray, factor: float) -> tuple[int, int, int]:
    return tuple(int(min(255.0, c * factor)) for c in colour)


class Sensor:
    """From scene to camera picture: lens blur, saturation, tint, contrast, a light that drifts, and noise."""

    def __init__(self, clip: ClipSpec, view):
        camera, rng = view.camera, clip.rng(2)
        self.camera = camera
        seconds = np.arange(clip.frames) / float(clip.fps)
        self.gain = rng.uniform(0.86, 1.1) * (
            1
            + rng.uniform(0.01, 0.06) * np.sin(2 * np.pi * (seconds / rng.uniform(3, 12) + rng.random()))
            + rng.uniform(-0.1, 0.1) * (seconds / max(seconds[-1], 1) - 0.5)
            + 0.006 * rng.standard_normal(clip.frames)
        )
        self.warmth = rng.uniform(-0.03, 0.03) * np.sin(seconds / rng.uniform(4, 9) + rng.uniform(0, 6))
        sigma = camera.noise * rng.uniform(0.8, 1.4)
        shape = (clip.height + _MARGIN, clip.width + _MARGIN)
        grain = rng.standard_normal((*shape, 1), np.float32) + 0.5 * rng.standard_normal((*shape, 3), np.float32)
        self.noise = np.rint(grain * sigma * 0.9).astype(np.int16)
        self.offsets = rng.integers(0, _MARGIN, (clip.frames, 2))
        self.size = (clip.height, clip.width)
        grey = np.full((3, 3), 1 / 3) * (1 - camera.saturation)
        self.mix = (grey + np.eye(3) * camera.saturation).astype(np.float32)

    def expose(self, picture: np.ndarray, t: int) -> np.ndarray:
        """The picture (H, W, 3) uint8 RGB as the camera would give it at frame t."""
        if self.camera.saturation < 1:
            picture = cv2.transform(picture, self.mix)
        picture = cv2.GaussianBlur(picture, (3, 3), self.camera.blur)
        level = np.arange(256) * self.gain[t]
        tint = np.array(self.camera.tint) + np.array([1, 0, -1]) * self.warmth[t]
        curve = (level[:, None] * tint - 128) * self.camera.contrast + 128 + self.camera.brightness
        picture = cv2.LUT(picture, np.clip(curve, 0, 255).astype(np.uint8)[None])
        y, x = self.offsets[t]
        noise = self.noise[y : y + self.size[0], x : x + self.size[1]]
        return cv2.add(picture, noise, dtype=cv2.CV_8U)
