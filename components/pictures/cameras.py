"""Pictures of edge cameras: fixed sites by day and by night, mostly empty, with EXIF and labels."""

import csv
import io
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from components.core.files import atomic_json, atomic_path, atomic_text
from components.pictures.animals import SPECIES, Figure, draw
from components.pictures.draw import stream
from components.pictures.exif import exif
from components.pictures.light import Camera, Weather
from components.pictures.sites import FOCAL, Site, paint

QUALITY = 90
DAYS = 24
EPOCHS = 2  # how often what lies about a site changes
HOURS_AHEAD = 2  # of UTC
FIRST = datetime(2024, 5, 3)
SHOULDER_PIXELS, FARTHEST = (80, 260), 8.0  # how large animals are in the picture, and how many metres away
SEEN_PIXELS, SEEN_SHARE = 500, 0.45  # of an animal that counts as there


@dataclass(frozen=True)
class CameraSpec:
    """A data set of camera pictures: so many per site, of which the share `animals` shows one."""

    seed: int
    sites: int
    pictures: int
    animals: float


@dataclass(frozen=True)
class Shot:
    """One picture to be taken: when, in which light, with an animal or without."""

    name: str
    taken: datetime
    epoch: int
    weather: Weather
    animal: bool


def generate(spec: CameraSpec, folder: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """Writes SITE/IMG_NNNN.jpg for every site, labels.csv (image, label) and, last, spec.json; returns the folder.

    The bytes depend on the spec only. `progress(done, total)` is called after each picture.
    """
    folder, total, done = Path(folder), spec.sites * spec.pictures, 0
    (folder / "spec.json").unlink(missing_ok=True)
    labels = io.StringIO()
    rows = csv.writer(labels, lineterminator="\n")
    rows.writerow(("image", "label"))
    for number in range(spec.sites):
        site, camera, epoch = None, None, None
        for index, shot in enumerate(shots(spec, number)):
            if shot.epoch != epoch:
                epoch, site = shot.epoch, paint(spec.seed, number, shot.epoch)
                camera = Camera(site, spec.seed, number)
            rng = stream(spec.seed, number, 1000 + index)
            name = f"{site.name}/{shot.name}"
            _write(folder / name, picture(camera, shot, rng), _exif(spec, number, site, shot, rng))
            rows.writerow((name, "animal" if shot.animal else "empty"))
            done += 1
            if progress:
                progress(done, total)
    atomic_text(folder / "labels.csv", labels.getvalue())
    atomic_json(folder / "spec.json", asdict(spec))
    return folder


def shots(spec: CameraSpec, number: int) -> list[Shot]:
    """What a site's camera takes, in the order of time; exactly round(animals * pictures) with an animal, 1 or more."""
    rng = stream(spec.seed, number, 200)
    moments = np.sort(rng.uniform(0, DAYS * 86400, spec.pictures)).astype(int)
    with_animal = np.zeros(spec.pictures, bool)
    count = min(spec.pictures, max(1, round(spec.animals * spec.pictures)))
    with_animal[rng.permutation(spec.pictures)[:count]] = True
    cloud, fog, rain = rng.uniform(0, 1, DAYS), rng.uniform(0, 1, DAYS) ** 5, rng.uniform(-1.2, 1, DAYS)
    out = []
    for index, (moment, animal) in enumerate(zip(moments, with_animal, strict=True)):
        day, second = divmod(int(moment), 86400)
        sun = float(np.sin(2 * np.pi * (second / 86400 - 0.25)) + 0.12)
        drift = float(np.clip(cloud[day] + rng.normal(0, 0.12), 0, 1))
        weather = Weather(sun, drift, float(fog[day]), float(max(0, rain[day] * cloud[day])), second / 86400)
        taken = FIRST + timedelta(seconds=int(moment))
        out.append(Shot(f"IMG_{index + 1:04d}.jpg", taken, day * EPOCHS // DAYS, weather, bool(animal)))
    return out


def picture(camera: Camera, shot: Shot, rng: np.random.Generator) -> np.ndarray:
    """The upright picture of a shot, (H, W, 3) uint8 RGB."""
    site, light = camera.site, camera.light(shot.weather)
    scene, distance = site.albedo.astype(np.float32), site.distance
    if shot.animal:
        distance = distance.copy()
        _add_animal(site, scene, light, distance, shot.weather, rng)
    return camera.expose(scene, light, distance, shot.weather, rng)


def _add_animal(site: Site, scene, light, distance, weather: Weather, rng) -> None:
    """Puts an animal, of which enough can be seen, into the scene, its shadow into the light, both in place."""
    species = SPECIES[rng.choice(len(SPECIES), p=_chances())]
    lowest = 1.04 * site.size[0]  # of its feet: nearer, the picture would cut off its legs
    nearest = FOCAL * site.height_m / (lowest - site.horizon)
    # From small to large in the picture, whatever the species: small ones come near or are not noticed.
    metres = float(np.clip(species.tall * FOCAL / np.exp(rng.uniform(*np.log(SHOULDER_PIXELS))), nearest, FARTHEST))
    unit = species.tall * FOCAL / metres
    figure = draw(rng, species, unit)
    if rng.random() < 0.6:
        figure = _blurred(figure, rng, unit)
    while True:
        across, y = site.foot(float(rng.uniform(-1.0, 1.0)), metres)
        left, top = round(across - figure.foot[0]), round(y - figure.foot[1])
        patch, part = _overlap(site.size, figure.alpha.shape, left, top)
        if patch is not None:
            alpha = np.where(site.standing[patch] < metres, 0, figure.alpha[part]).astype(np.float32)
            if alpha.sum() >= max(SEEN_PIXELS, SEEN_SHARE * figure.alpha.sum()):
                break
        metres = max(nearest, 0.97 * metres)  # in front of what hides it, sooner or later
    scene[patch] += (figure.rgb[part] - scene[patch]) * alpha[..., None]
    distance[patch] += (metres - distance[patch]) * alpha
    _shadow(site, light, (across, y), unit, metres, weather)
    # The animal stands upright in the light of where it stands, not in that of what it hides.
    row, column = (int(np.clip(at, 0, edge - 1)) for at, edge in zip((y, across), site.size, strict=True))
    own = np.float32(light[row, column] if weather.night else 0.5 * light[row, column] + 0.4)
    light[patch] += (own - light[patch]) * alpha * np.float32(0.9)
    if weather.night and rng.random() < 0.6:
        for x, y in figure.eyes + (left, top):
            if 0 <= x < site.size[1] and 0 <= y < site.size[0] and site.standing[int(y), int(x)] >= metres:
                cv2.circle(scene, (int(x * 16), int(y * 16)), int(max(16, 0.3 * unit)), (255,) * 3, -1, cv2.LINE_AA, 4)
                cv2.circle(light, (int(x * 16), int(y * 16)), int(max(16, 0.3 * unit)), 1.2, -1, cv2.LINE_AA, 4)


def _chances() -> np.ndarray:
    weights = np.array([species.common for species in SPECIES])
    return weights / weights.sum()


def _blurred(figure: Figure, rng, unit: float) -> Figure:
    """The animal moved while the shutter was open: along the picture, a little up or down."""
    length = int(abs(rng.normal(0, 0.05)) * unit) // 2 * 2 + 1
    if length < 3:
        return figure
    kernel = np.zeros((length, length), np.float32)
    rise = round(rng.normal(0, 0.12) * length)
    middle = length // 2
    cv2.line(kernel, (0, middle - rise), (length - 1, middle + rise), 1.0, 1)
    kernel /= kernel.sum()
    alpha = cv2.filter2D(figure.alpha, -1, kernel)
    covered = cv2.filter2D(figure.rgb * figure.alpha[..., None], -1, kernel)
    return Figure(alpha, covered / np.maximum(alpha, 1e-3)[..., None], figure.eyes, figure.foot)


def _overlap(size, shape, left: int, top: int):
    """Where a patch of this shape lies in the picture, and which part of it does: two pairs of slices, or None."""
    y0, y1 = max(0, top), min(size[0], top + shape[0])
    x0, x1 = max(0, left), min(size[1], left + shape[1])
    if y1 - y0 < 4 or x1 - x0 < 4:
        return None, None
    return (slice(y0, y1), slice(x0, x1)), (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))


def _shadow(site: Site, light, foot, unit: float, metres: float, weather: Weather) -> None:
    """Darkens the ground under the animal: more under a clear sky."""
    strength = 0.22 if weather.night else 0.18 + 0.3 * (1 - weather.cloud)
    wide, flat = 0.75 * unit, max(2.0, 0.3 * unit * site.height_m / metres)
    left, top = round(foot[0] - 1.5 * wide), round(foot[1] - 2 * flat)
    shape = (max(4, round(4 * flat)), max(4, round(3 * wide)))
    patch, part = _overlap(site.size, shape, left, top)
    if patch is None:
        return
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = np.exp(-(((x / shape[1] - 0.5) * 3) ** 4) - ((y / shape[0] - 0.5) * 2.6) ** 2).astype(np.float32)
    open_ground = (site.standing[patch] >= metres).astype(np.float32)
    light[patch] *= 1 - np.float32(strength) * inside[part] * open_ground


def _exif(spec: CameraSpec, number: int, site: Site, shot: Shot, rng: np.random.Generator) -> Image.Exif:
    at = stream(spec.seed, number, 300)
    place = (at.uniform(46, 61), at.uniform(7, 24), at.uniform(60, 1400))
    sun = shot.weather.sun
    bright = 0.0 if sun <= 0 else min(1.0, 0.15 + sun) * (1 - 0.6 * shot.weather.cloud)
    exposure = (
        (int(rng.choice((15, 20, 30))), 1600) if sun <= 0 else (round(30 + 470 * bright), 100 if bright > 0.3 else 400)
    )
    zone = timezone(timedelta(hours=HOURS_AHEAD))
    offset = shot.taken.replace(tzinfo=zone).strftime("%z")
    return exif(number, shot.taken, f"{offset[:3]}:{offset[3:]}", site.orientation, place, exposure)


def _write(path: Path, upright: np.ndarray, tags: Image.Exif) -> None:
    """A JPEG stored as the sensor lay: its EXIF orientation turns it upright again."""
    turns = {1: 0, 3: 2, 6: 1}[tags[0x0112]]
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(upright, turns)))
    with atomic_path(path) as temporary:
        stored.save(temporary, "JPEG", quality=QUALITY, exif=tags)
