"""Places: what the floor and the wall look like, the furniture that stands there, and the light that falls on it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import cv2
import numpy as np

from components.scenes.camera import View
from components.scenes.solids import Solid, furniture
from components.scenes.textures import FLOORS, WALLS, shade


@dataclass(frozen=True)
class Background:
    """A place. `things`: (kind, across -1..1, away 0..1); `sun`: the run of a shadow per metre of height."""

    name: str
    floor: str
    floor_tone: tuple[int, int, int]
    wall: str
    wall_tone: tuple[int, int, int]
    sun: tuple[float, float]
    shadow: float
    things: tuple[tuple[str, float, float], ...] = ()


BACKGROUNDS = {
    place.name: place
    for place in (
        Background("lobby-tiles", "tiles", (168, 162, 150), "plain", (196, 190, 174), (0.35, 0.15), 0.35,
                   (("bench", -0.55, 0.9), ("plant", 0.8, 0.85), ("pillar", 0.93, 0.3), ("bin", 0.45, 0.97))),
        Background("street-asphalt", "asphalt", (98, 98, 100), "facade", (150, 122, 104), (-0.8, 0.35), 0.5,
                   (("bench", 0.5, 0.9), ("bollard", -0.75, 0.2), ("bollard", 0.9, 0.2), ("carton", -0.9, 0.95))),
        Background("corridor-lino", "lino", (142, 156, 150), "doors", (206, 202, 186), (0.1, 0.3), 0.3,
                   (("bench", 0.1, 0.97), ("bin", -0.85, 0.9), ("carton", 0.88, 0.9))),
        Background("shop-wood", "wood", (150, 112, 74), "shelves", (170, 164, 152), (0.2, -0.1), 0.3,
                   (("counter", -0.85, 0.55), ("carton", 0.6, 0.97), ("bench", 0.9, 0.75))),
        Background("plaza-slabs", "slabs", (176, 168, 156), "glass", (112, 130, 142), (0.9, 0.2), 0.5,
                   (("plant", -0.85, 0.7), ("bench", -0.3, 0.92), ("bin", 0.8, 0.8), ("sack", 0.9, 0.88))),
        Background("hall-carpet", "carpet", (116, 74, 76), "plain", (182, 170, 150), (-0.25, 0.1), 0.3,
                   (("bench", 0.6, 0.93), ("pillar", -0.92, 0.25), ("plant", -0.8, 0.93))),
        Background("yard-concrete", "concrete", (150, 148, 142), "brick", (142, 92, 74), (0.6, 0.5), 0.45,
                   (("carton", 0.75, 0.9), ("sack", 0.86, 0.93), ("bench", -0.5, 0.93), ("bollard", -0.9, 0.3))),
        Background("mall-granite", "granite", (136, 132, 134), "shelves", (204, 200, 196), (-0.15, 0.2), 0.35,
                   (("plant", 0.88, 0.45), ("bench", -0.75, 0.8), ("sack", 0.3, 0.98))),
        Background("lobby-marble", "marble", (196, 190, 182), "glass", (140, 150, 150), (-0.4, 0.2), 0.3,
                   (("plant", -0.88, 0.8), ("bench", 0.35, 0.93), ("pillar", 0.94, 0.35), ("sack", -0.5, 0.97))),
        Background("street-cobble", "cobble", (124, 116, 106), "brick", (168, 146, 116), (0.7, 0.4), 0.5,
                   (("bollard", 0.85, 0.15), ("bench", -0.6, 0.9), ("carton", 0.7, 0.94), ("bin", 0.2, 0.97))),
        Background("shop-vinyl", "checker", (158, 158, 166), "shelves", (188, 180, 168), (0.1, 0.15), 0.3,
                   (("counter", 0.85, 0.6), ("carton", -0.7, 0.96), ("bench", -0.92, 0.7))),
        Background("corridor-brick", "concrete", (128, 120, 112), "doors", (164, 128, 104), (-0.3, 0.3), 0.4,
                   (("bench", 0.5, 0.96), ("bin", -0.6, 0.96), ("pillar", -0.94, 0.3))),
    )
}  # fmt: skip
TEST_BACKGROUNDS = frozenset({"lobby-marble", "street-cobble", "shop-vinyl", "corridor-brick"})


class Place:
    """A background in front of a camera. Its looks depend on both names alone, as those of a real site do."""

    def __init__(self, background: Background, view: View):
        self.background, self.view = background, view
        self.rng = np.random.Generator(np.random.PCG64(zlib.crc32(f"{background.name}/{view.camera.name}".encode())))
        lamp = self.rng.uniform([-0.8, 0.2], [0.8, 0.9])
        self.lamp, self.reach = view.floor(*lamp), self.rng.uniform(3.5, 6.0)
        self.solids: list[Solid] = []
        for kind, across, away in background.things:
            facing = np.arctan2(*view.normal[::-1]) + np.pi  # out of the wall
            self.solids.append(furniture(kind, view.floor(across, away), facing, self.rng))

    @property
    def seats(self) -> list[tuple[np.ndarray, float]]:
        """Where one can sit: the floor point of the seat and the heading of the sitter."""
        return [(s.xy + 0.1 * s.forward, s.heading) for s in self.solids if s.kind == "bench"]

    def light(self, xy: np.ndarray) -> np.ndarray:
        """The brightness factor (...,) at floor points (..., 2): the place is lit unevenly."""
        distance = ((xy - self.lamp) ** 2).sum(axis=-1) / self.reach**2
        return 0.78 + 0.4 * np.exp(-distance)

    def paint(self) -> tuple[np.ndarray, list[tuple[float, tuple[slice, slice], np.ndarray]]]:
        """The empty place (H, W, 3) uint8 RGB, and its furniture as occluders: (depth, region, mask uint8)."""
        view, twice = self.view, 2
        rays = view.rays(twice)
        to_floor = np.where(rays[..., 2] < -1e-4, -view.camera.above / np.minimum(rays[..., 2], -1e-4), np.inf)
        ahead = rays[..., 0] * np.float32(view.normal[0]) + rays[..., 1] * np.float32(view.normal[1])
        to_wall = view.wall / np.maximum(ahead, 1e-3)
        on_floor = to_floor < to_wall
        reach = np.minimum(np.where(on_floor, to_floor, to_wall), 200.0).astype(np.float32)
        hit = rays * reach[..., None]
        along = hit[..., 0] * np.float32(view.normal[1]) - hit[..., 1] * np.float32(view.normal[0])
        depth = hit[..., 0] * np.float32(view.normal[0]) + hit[..., 1] * np.float32(view.normal[1])
        up = hit[..., 2] + np.float32(view.camera.above)
        b = self.background
        picture = WALLS[b.wall](along, up, np.array(b.wall_tone, np.float32), self.rng)
        floor = FLOORS[b.floor](along, depth, np.array(b.floor_tone, np.float32), self.rng)
        picture[on_floor] = floor[on_floor]
        skirting = np.exp(-np.where(on_floor, view.wall - depth, up * 2) / 0.25)
        picture *= (self.light(hit[..., :2].astype(np.float64)) * (1 - 0.3 * skirting))[..., None].astype(np.float32)
        picture = cv2.resize(picture, (view.width, view.height), interpolation=cv2.INTER_AREA)
        picture = np.ascontiguousarray(np.clip(picture, 0, 255).astype(np.uint8))
        occluders = []
        for solid in sorted(self.solids, key=lambda s: -s.depth(view)):
            occluders.append(self._place(solid, picture))
        return picture, occluders

    def _place(self, solid: Solid, picture: np.ndarray):
        shade(picture, view_polygon(self.view, solid.footprint(0.12)), 0.55)
        mask = np.zeros(picture.shape[:2], np.uint8)
        solid.draw(self.view, picture, float(self.light(solid.xy)))
        solid.draw(self.view, mask, None)
        x, y, w, h = cv2.boundingRect(mask)
        region = (slice(y, y + h), slice(x, x + w))
        return solid.depth(self.view), region, np.ascontiguousarray(mask[region])


def view_polygon(view: View, floor_points: np.ndarray) -> np.ndarray:
    """Floor points (N, 2) -> pixels (N, 2)."""
    return view.project(np.concatenate([floor_points, np.zeros((len(floor_points), 1))], axis=1))[0]
