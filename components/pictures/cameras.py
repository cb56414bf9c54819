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
from components.pictures.animals import SPECIES, chances, draw
from components.pictures.draw import stream
from components.pictures.exif import exif
from components.pictures.figures import Figure
from components.pictures.light import Camera, Weather
from components.pictures.scene import Scene, seen
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
    scene = Scene(camera, shot.weather)
    if shot.animal:
        _add_animal(scene, rng)
    return scene.expose(rng)


def _add_animal(scene: Scene, rng) -> None:
    """Puts an animal, of which enough can be seen, into the scene."""
    site, night = scene.site, scene.weather.night
    species = SPECIES[rng.choice(len(SPECIES), p=chances())]
    lowest = 1.04 * site.size[0]  # of its feet: nearer, the picture would cut off its legs
    nearest = FOCAL * site.height_m / (lowest - site.horizon)
    # From small to large in the picture, whatever the species: small ones come near or are not noticed.
    metres = float(np.clip(species.tall * FOCAL / np.exp(rng.uniform(*np.log(SHOULDER_PIXELS))), nearest, FARTHEST))
    unit = species.tall * FOCAL / metres
    figure = draw(rng, species, unit)
    if rng.random() < 0.6:
        figure = _blurred(figure, rng, unit)
    while True:
        foot = site.foot(float(rng.uniform(-1.0, 1.0)), metres)
        left, top = round(foot[0] - figure.foot[0]), round(foot[1] - figure.foot[1])
        there = seen(site, figure, left, top, metres)
        if there and there.alpha.sum() >= max(SEEN_PIXELS, SEEN_SHARE * figure.alpha.sum()):
            break
        metres = max(nearest, 0.97 * metres)  # in front of what hides it, sooner or later
    scene.put(figure, there, foot, unit, metres)
    if night and rng.random() < 0.6:
        scene.shine(figure.eyes + (left, top), unit, metres)


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
