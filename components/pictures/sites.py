"""A camera's site: what it looks at day after day, as colours without light, distances, and what stands in the way."""

from dataclasses import dataclass

import cv2
import numpy as np

from components.pictures.draw import curve, fixed, grid, noise, stream

FOCAL = 560.0  # pixels: about 60 degrees over 640
FAR = 60.0  # metres: where the ground ends
# What grows where: colours of ground, its second cover, backdrop, leaves, bark; how many trees, bushes, tufts, stones.
BIOMES = {
    "forest": ((92, 76, 54), (72, 86, 46), (44, 54, 38), (58, 80, 38), (74, 62, 50), (22, 6, 34, 4)),
    "meadow": ((112, 128, 62), (156, 142, 88), (70, 92, 58), (84, 108, 48), (90, 76, 60), (6, 5, 70, 2)),
    "heath": ((150, 128, 92), (104, 88, 70), (118, 116, 92), (96, 92, 54), (96, 84, 70), (4, 9, 50, 6)),
    "snow": ((206, 210, 216), (168, 166, 160), (88, 98, 98), (56, 72, 62), (70, 60, 54), (16, 4, 22, 5)),
}
TURNED = (1, 3, 6, 1)  # EXIF orientation by site: how its camera hangs


@dataclass(frozen=True)
class Site:
    """A painted site, all arrays (height, width) of the upright picture.

    albedo (..., 3) uint8 RGB; distance float32 metres of what is seen; standing: the same where something stands that
    can hide an animal, infinite on open ground; sky: float32 share. horizon in pixels, camera height in metres.
    """

    name: str
    orientation: int
    albedo: np.ndarray
    distance: np.ndarray
    standing: np.ndarray
    sky: np.ndarray
    horizon: float
    height_m: float

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the upright picture."""
        return self.albedo.shape[:2]

    def foot(self, across: float, metres: float) -> tuple[float, float]:
        """Pixel (x, y) of the ground at a distance; `across` is -1 at the left edge of the picture, 1 at the right."""
        return self.size[1] / 2 * (1 + across), self.horizon + FOCAL * self.height_m / metres


def paint(seed: int, number: int, epoch: int) -> Site:
    """The site of this number. What lies about (stones, tufts, a fallen trunk) is partly other in another `epoch`."""
    rng = stream(seed, number, 0)
    orientation = TURNED[number % len(TURNED)]
    height, width = (640, 480) if orientation == 6 else (480, 640)
    names = list(BIOMES)
    kind = names[(number + int(rng.integers(2))) % len(names)]
    ground, cover, backdrop, leaves, bark, counts = BIOMES[kind]
    height_m = rng.uniform(0.9, 1.6)
    horizon = height * rng.uniform(0.16, 0.34)
    ground, cover, backdrop, leaves, bark = (
        np.array(tone) * rng.uniform(0.88, 1.12) * rng.uniform(0.96, 1.04, 3)
        for tone in (ground, cover, backdrop, leaves, bark)
    )
    albedo, distance, sky = _land(rng, (height, width), horizon, height_m, ground, cover, backdrop)
    brush = _Brush(albedo, distance, horizon, height_m)
    things = _things(rng, kind, counts, leaves, bark, ground, cover)
    things += _things(stream(seed, number, 1 + epoch), kind, (0, 1, 8, 2), leaves, bark, ground, cover)
    for metres, draw in sorted(things, key=lambda thing: -thing[0]):
        draw(brush, metres)
    sky = sky * np.isinf(brush.standing)
    return Site(
        f"site-{chr(ord('a') + number)}",
        orientation,
        brush.albedo,
        brush.distance,
        brush.standing,
        sky,
        horizon,
        height_m,
    )


def _land(rng, size, horizon, height_m, ground, cover, backdrop):
    """Bare ground in perspective, a band of distant growth behind it, sky above: albedo, distance, sky."""
    x, y = grid(*size)
    metres = np.clip(FOCAL * height_m / np.maximum(y - np.float32(horizon), 0.5), 0.5, FAR).astype(np.float32)
    along = (x - size[1] / 2) * metres / np.float32(FOCAL)
    patch = np.clip(0.5 + 0.9 * noise(along, metres, rng.uniform(1.2, 3.0), rng, 3), 0, 1)[..., None]
    fine = 1 + 0.16 * noise(along, metres * 0.6, 0.12, rng, 3) + 0.10 * noise(along, metres, 0.6, rng, 2)
    land = (ground * (1 - patch) + cover * patch) * fine[..., None]
    band = size[0] * rng.uniform(0.05, 0.14)
    skyline = np.float32(horizon) - band * (1 + 0.5 * noise(x, x * 0, 60.0, rng, 4))
    leafage = 1 + 0.35 * noise(x, y * 1.3, 9.0, rng, 3)
    land = np.where((y < horizon)[..., None], backdrop * leafage[..., None], land)
    sky = np.clip(skyline - y, 0, 2) / 2
    albedo = np.where((sky > 0.5)[..., None], 210.0, land)
    return np.clip(albedo, 0, 255).astype(np.uint8), metres, sky.astype(np.float32)


class _Brush:
    """Draws what stands on the ground, far things first: colour, distance and `standing` together."""

    def __init__(self, albedo: np.ndarray, distance: np.ndarray, horizon: float, height_m: float):
        self.albedo, self.distance = np.ascontiguousarray(albedo), distance
        self.standing = np.full(distance.shape, np.inf, np.float32)
        self.horizon, self.height_m = horizon, height_m

    def base(self, across: float, metres: float) -> tuple[float, float, float]:
        """Pixel (x, y) of the ground there, and pixels per metre."""
        width = self.albedo.shape[1]
        return width / 2 * (1 + across), self.horizon + FOCAL * self.height_m / metres, FOCAL / metres

    def fill(self, points: np.ndarray, tone: np.ndarray, metres: float) -> None:
        """A filled outline (N, 2) in pixels."""
        outline = [fixed(points)]
        cv2.fillPoly(self.albedo, outline, _colour(tone), cv2.LINE_AA, 4)
        for layer in (self.standing, self.distance):
            cv2.fillPoly(layer, outline, float(metres), cv2.LINE_8, 4)

    def line(self, points: np.ndarray, tone: np.ndarray, metres: float, thick: float) -> None:
        """A line through points (N, 2) in pixels."""
        outline, pixels = [fixed(points)], max(1, round(thick))
        cv2.polylines(self.albedo, outline, False, _colour(tone), pixels, cv2.LINE_AA, 4)
        for layer in (self.standing, self.distance):
            cv2.polylines(layer, outline, False, float(metres), pixels, cv2.LINE_8, 4)


def _colour(tone: np.ndarray) -> tuple[float, ...]:
    return tuple(min(max(value, 0.0), 255.0) for value in np.asarray(tone, float).tolist())


def _things(rng, kind, counts, leaves, bark, ground, cover) -> list:
    """What stands about: (metres away, how it is drawn). The middle of the near ground stays fairly open."""
    trees, bushes, tufts, stones = counts
    things = []

    def put(count: int, nearest: float, farthest: float, make) -> None:
        for _ in range(count):
            metres = float(np.exp(rng.uniform(np.log(nearest), np.log(farthest))))
            things.append((metres, make(rng.uniform(-1.15, 1.15), int(rng.integers(2**31)))))

    conifers = kind == "snow"
    put(trees, 5, 40, lambda across, seed: lambda b, d: _tree(b, d, across, stream(seed), leaves, bark, conifers))
    put(bushes, 3.5, 22, lambda across, seed: lambda b, d: _bush(b, d, across, stream(seed), leaves))
    grass = ground * 0.5 + cover * 0.25 + leaves * 0.45 if kind != "snow" else np.array((150, 138, 104.0))
    put(tufts, 1.6, 14, lambda across, seed: lambda b, d: _tuft(b, d, across, stream(seed), grass))
    put(stones, 2.5, 16, lambda across, seed: lambda b, d: _stone(b, d, across, stream(seed), ground))
    put(int(rng.integers(0, 3)), 3.5, 10, lambda across, seed: lambda b, d: _log(b, d, across, stream(seed), bark))
    return things


def _tree(brush: _Brush, metres: float, across: float, rng, leaves, bark, conifer: bool) -> None:
    x, y, unit = brush.base(across, metres)
    tall, thick, lean = rng.uniform(4, 11) * unit, rng.uniform(0.12, 0.4) * unit, rng.normal(0, 0.03)
    steps = np.linspace(0, 1, 6)
    middle = np.stack([x + lean * tall * steps + rng.normal(0, 0.1 * thick, 6), y - tall * steps], axis=1)
    half = np.stack([thick / 2 * (1.25 - 0.8 * steps), np.zeros(6)], axis=1)
    tone = bark * rng.uniform(0.7, 1.25)
    brush.fill(np.concatenate([curve(middle - half), curve(middle + half)[::-1]]), tone, metres)
    for _ in range(int(min(40, thick * 1.5))):
        start, reach = rng.uniform(0, 0.8), rng.uniform(0.02, 0.12)
        side = rng.uniform(-0.42, 0.42) * thick * (1.2 - 0.7 * start)
        stroke = np.array([[x + side + lean * tall * s, y - tall * s] for s in (start, start + reach)])
        brush.line(stroke, tone * rng.choice((0.7, 0.82, 1.2)), metres, max(1, thick * 0.08))
    if conifer:
        for level in np.linspace(0.12, 0.95, 7):
            wide = tall * 0.2 * (1.05 - level)
            top = np.array([x + lean * tall * level, y - tall * min(1, level + 0.24)])
            low = y - tall * level + rng.normal(0, 0.02 * wide)
            fringe = np.stack([np.linspace(-wide, wide, 9), rng.uniform(0, 0.35, 9) * wide], axis=1) + (top[0], low)
            brush.fill(np.concatenate([[top], fringe[::-1]]), leaves * rng.uniform(0.7, 1.2), metres)
        return
    for _ in range(int(rng.integers(2, 6))):
        start, side = rng.uniform(0.3, 0.9), rng.choice((-1, 1))
        root = np.array([x + lean * tall * start, y - tall * start])
        tip = root + (side * rng.uniform(0.5, 1.6) * unit, -rng.uniform(0.1, 0.9) * unit)
        brush.line(
            curve(np.stack([root, (root + tip) / 2 + rng.normal(0, 0.1 * unit, 2), tip])), tone, metres, thick / 4
        )
        _foliage(brush, tip, 0.7 * unit, metres, rng, leaves, 28)


def _foliage(brush: _Brush, centre, radius: float, metres: float, rng, leaves, count: int) -> None:
    """A cloud of leaves; nearer its foot darker."""
    leaf = np.clip(radius * 0.14, 1.2, 9)
    sides = np.linspace(0, 2 * np.pi, 7)[:-1]
    shape = np.stack([leaf * 1.7 * np.cos(sides), leaf * 0.8 * np.sin(sides)], axis=1)
    # Chance is asked leaf by leaf, the rest is computed for all leaves at once.
    drawn = [(*rng.normal(0, 0.42, 2), rng.uniform(0, np.pi), rng.uniform(0.7, 1.3)) for _ in range(count)]
    off_x, off_y, turn, bright = np.array(drawn).T
    at = centre + np.stack([off_x, off_y], axis=1) * radius * (1, 0.75)
    light = 1 - 0.35 * np.clip((at[:, 1] - centre[1]) / radius, -1, 1)
    matrix = np.stack([np.cos(turn), np.sin(turn), -np.sin(turn), np.cos(turn)], axis=1).reshape(-1, 2, 2)
    tones = leaves * light[:, None] * bright[:, None]
    for turned, place, tone in zip(matrix, at, tones, strict=True):
        brush.fill(shape @ turned + place, tone, metres)


def _bush(brush: _Brush, metres: float, across: float, rng, leaves) -> None:
    x, y, unit = brush.base(across, metres)
    size = rng.uniform(0.35, 0.9) * unit
    for _ in range(5):
        tip = (x + rng.normal(0, 0.5) * size, y - rng.uniform(0.5, 1.1) * size)
        brush.line(np.array([(x, y), tip]), leaves * 0.5, metres, size * 0.03)
    _foliage(brush, np.array([x, y - 0.62 * size]), size * 0.85, metres, rng, leaves * rng.uniform(0.8, 1.15), 90)


def _tuft(brush: _Brush, metres: float, across: float, rng, tone) -> None:
    x, y, unit = brush.base(across, metres)
    size = rng.uniform(0.15, 0.6) * unit
    for _ in range(int(rng.integers(8, 22))):
        root, bend = x + rng.normal(0, 0.25) * size, rng.normal(0, 0.4) * size
        tall = size * rng.uniform(0.5, 1.0)
        blade = curve(np.array([(root, y), (root + bend * 0.3, y - tall * 0.6), (root + bend, y - tall)]), 4)
        brush.line(blade, tone * rng.uniform(0.65, 1.35), metres, np.clip(size * 0.025, 1, 3))


def _stone(brush: _Brush, metres: float, across: float, rng, ground) -> None:
    x, y, unit = brush.base(across, metres)
    wide = rng.uniform(0.12, 0.5) * unit
    sides = np.linspace(0, 2 * np.pi, 12)[:-1]
    rough = rng.uniform(0.8, 1.1, 11)
    shape = np.stack([wide * rough * np.cos(sides), 0.62 * wide * rough * np.sin(sides)], axis=1)
    tone = (ground * 0.35 + np.array((104, 102, 98.0)) * 0.65) * rng.uniform(0.6, 1.15)
    brush.fill(shape + (x, y - 0.4 * wide), tone * 0.72, metres)
    brush.fill(shape * 0.78 + (x - 0.08 * wide, y - 0.52 * wide), tone, metres)
    brush.fill(shape * 0.4 + (x - 0.16 * wide, y - 0.68 * wide), tone * 1.15, metres)


def _log(brush: _Brush, metres: float, across: float, rng, bark) -> None:
    x, y, unit = brush.base(across, metres)
    run, thick, slope = rng.uniform(0.8, 2.4) * unit, rng.uniform(0.1, 0.25) * unit, rng.normal(0, 0.12)
    ends = np.array([(x - run / 2, y + slope * run / 2), (x, y - 0.06 * thick), (x + run / 2, y - slope * run / 2)])
    for level, light in ((0.0, 0.6), (0.3, 0.9), (0.55, 1.15)):
        brush.line(curve(ends - (0, thick * (0.5 + 0.5 * level))), bark * light, metres, thick * (1 - level))
