"""Pictures of animals in the open as an image search returns them: many places, a word per picture, boxes set aside."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from components.core.files import atomic_json, atomic_path, atomic_text
from components.pictures.draw import stream
from components.pictures.light import Camera
from components.pictures.placing import Placed, boxes, far_first, herd, lookalike
from components.pictures.scene import Scene
from components.pictures.sites import Site, paint
from components.pictures.views import developed, section, weather

FOLDER, QUALITY = "pictures", 90
PER_PLACE = 12  # pictures of one place, animals in some of them
PORTRAIT = 0.2
LOOKALIKES = {True: (0.7, 0.25, 0.05), False: (0.35, 0.4, 0.25)}  # chance of 0, 1, 2; with animals or not


@dataclass(frozen=True)
class WildSpec:
    """A data set of so many pictures, of which the share `empty` shows no animal.

    `several`: share of the others with two or three; `camouflage`: share of the animals in the tone of what is behind.
    """

    seed: int
    pictures: int
    empty: float
    several: float
    camouflage: float


@dataclass(frozen=True)
class Shot:
    """One picture to be taken: of which place, and for each animal in it whether its coat is toned like the place."""

    number: int
    place: int
    portrait: bool
    animals: tuple[bool, ...]

    @property
    def name(self) -> str:
        """The picture's file. It says nothing of what is to be seen."""
        return f"{FOLDER}/IMG_{self.number + 1:04d}.jpg"


@dataclass(frozen=True)
class Place:
    """A painted place, and what it is photographed with: across, and upright."""

    site: Site
    cameras: tuple[Camera, Camera]


def generate(spec: WildSpec, folder: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """Writes pictures/IMG_NNNN.jpg, labels.csv, boxes.csv and, last, spec.json; returns the folder.

    labels.csv (image, label) says `animal` or `empty`; boxes.csv (filename, class, xmin, ymin, xmax, ymax, counted from
    1 as Pascal VOC does) has a row per animal, around what can be seen of it. The bytes depend on the spec only.
    `progress(done, total)` is called after each picture.
    """
    folder, done = Path(folder), 0
    (folder / "spec.json").unlink(missing_ok=True)
    planned, found = shots(spec), {}
    for number in sorted({shot.place for shot in planned}):
        place = visit(spec.seed, number)
        for shot in (shot for shot in planned if shot.place == number):
            scene, placed = compose(spec.seed, shot, place)
            found[shot] = boxes(scene.site.size, placed)
            _write(folder / shot.name, take(spec.seed, shot, scene, placed))
            done += 1
            if progress:
                progress(done, spec.pictures)
    rows = [(shot.name, "animal" if shot.animals else "empty") for shot in planned]
    atomic_text(folder / "labels.csv", _table(("image", "label"), rows))
    rows = [(shot.name, "animal", x0 + 1, y0 + 1, x1, y1) for shot in planned for x0, y0, x1, y1 in found[shot]]
    atomic_text(folder / "boxes.csv", _table(("filename", "class", "xmin", "ymin", "xmax", "ymax"), rows))
    atomic_json(folder / "spec.json", asdict(spec))
    return folder


def shots(spec: WildSpec) -> list[Shot]:
    """What is taken, in the order of names: the spec's shares, rounded, of pictures and of animals."""
    rng = stream(spec.seed, 0, 400)
    with_animals = rng.permutation(spec.pictures)[round(spec.empty * spec.pictures) :]
    each = np.zeros(spec.pictures, int)
    each[with_animals] = 1
    crowded = with_animals[: round(spec.several * len(with_animals))]
    each[crowded] = rng.choice((2, 3), len(crowded), p=(0.65, 0.35))
    toned = np.zeros(each.sum(), bool)
    toned[rng.permutation(len(toned))[: round(spec.camouflage * len(toned))]] = True
    coats = np.split(toned, np.cumsum(each)[:-1])
    places = rng.permutation(spec.pictures) // PER_PLACE
    upright = rng.random(spec.pictures) < PORTRAIT
    return [
        Shot(number, int(places[number]), bool(upright[number]), tuple(bool(coat) for coat in coats[number]))
        for number in range(spec.pictures)
    ]


def visit(seed: int, number: int) -> Place:
    """The place of this number, painted, and a camera for pictures across and for upright ones."""
    site = paint(seed, number, 0)
    views = (section(site, stream(seed, number, 404), portrait) for portrait in (False, True))
    return Place(site, tuple(Camera(view, seed, number) for view in views))


def compose(seed: int, shot: Shot, place: Place) -> tuple[Scene, list[Placed]]:
    """The scene of a shot at its place, still without figures, and these, the farthest first."""
    rng = stream(seed, shot.number, 401)
    view = section(place.site, rng, shot.portrait)
    scene = Scene(place.cameras[shot.portrait].at(view), weather(rng))
    placed = herd(rng, view, shot.animals)
    for _ in range(int(rng.choice(3, p=LOOKALIKES[bool(shot.animals)]))):
        extra = lookalike(rng, view, placed)
        placed += [extra] if extra else []
    return scene, far_first(placed)


def take(seed: int, shot: Shot, scene: Scene, placed: Sequence[Placed]) -> np.ndarray:
    """The picture, (H, W, 3) uint8 RGB, of the figures in the scene, which is used up."""
    rng = stream(seed, shot.number, 402)
    for one in placed:
        scene.put(one.figure, one.seen, one.foot, one.unit, one.metres)
        if scene.weather.night and rng.random() < 0.6:
            scene.shine(one.figure.eyes + one.corner, one.unit, one.metres)
    return developed(scene.expose(stream(seed, shot.number, 403)))


def _table(header: tuple[str, ...], rows: Sequence[tuple]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header, *rows])
    return text.getvalue()


def _write(path: Path, rgb: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(rgb).save(temporary, "JPEG", quality=QUALITY)
