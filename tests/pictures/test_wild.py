"""Animals in the open: the same bytes from a spec, its shares kept, boxes tight around what can be seen."""

import csv
import json

import numpy as np
import pytest

from components.core.files import tree_sha256
from components.core.media import read_picture
from components.core.recipe import Wild
from components.ingest.labels.common import Names
from components.ingest.labels.csv_file import read
from components.pictures.placing import boxes, masks
from components.pictures.wild import Shot, WildSpec, compose, generate, shots, take, visit

SPEC = WildSpec(seed=5, pictures=20, empty=0.4, several=0.5, camouflage=0.25)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The data set, made once."""
    return generate(SPEC, tmp_path_factory.mktemp("wild"))


@pytest.fixture(scope="module")
def composed():
    """[(shot, scene, figures)] of the shots that show animals, and the place they are at."""
    place = visit(5, 0)
    planned = [Shot(number, 0, number % 4 == 3, (number % 3 == 0,) * (1 + number % 3)) for number in range(12)]
    return [(shot, *compose(5, shot, place)) for shot in planned], place


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_same_spec_gives_the_same_bytes_and_another_seed_others(made, tmp_path):
    ticks = []
    generate(SPEC, tmp_path / "again", progress=lambda done, total: ticks.append((done, total)))
    assert tree_sha256(tmp_path / "again") == tree_sha256(made)
    assert ticks == [(n, 20) for n in range(1, 21)]
    assert shots(SPEC) != shots(WildSpec(6, 20, 0.4, 0.5, 0.25))


def test_the_spec_is_the_recipes_section():
    assert WildSpec(**Wild().model_dump()) == WildSpec(9, 360, 0.45, 0.35, 0.25)


@pytest.mark.parametrize(("pictures", "empty", "several", "camouflage"), [
    (360, 0.45, 0.35, 0.25),
    (21, 0.33, 0.0, 1.0),
    (50, 0.99, 1.0, 0.0),
    (20, 0.01, 1.0, 0.5),
])  # fmt: skip
def test_counts_follow_the_spec(pictures, empty, several, camouflage):
    planned = shots(WildSpec(3, pictures, empty, several, camouflage))
    each = [len(shot.animals) for shot in planned]
    shown = pictures - round(empty * pictures)
    assert each.count(0) == round(empty * pictures)
    assert sum(number > 1 for number in each) == round(several * shown) and max(each, default=0) <= 3
    assert sum(sum(shot.animals) for shot in planned) == round(camouflage * sum(each))
    assert [shot.number for shot in planned] == list(range(pictures))


def test_names_and_places_say_nothing_of_the_label():
    planned = shots(WildSpec(9, 360, 0.45, 0.35, 0.25))
    shown = np.array([bool(shot.animals) for shot in planned])
    halves = shown[:180].mean(), shown[180:].mean()
    assert abs(halves[0] - halves[1]) < 0.15
    by_place = {place: {bool(shot.animals) for shot in planned if shot.place == place} for place in range(30)}
    assert all(both == {True, False} for both in by_place.values())


def test_files_hold_together(made):
    labels = {row["image"]: row["label"] for row in table(made / "labels.csv")}
    assert set(labels) == {path.relative_to(made).as_posix() for path in made.rglob("*.jpg")}
    rows = table(made / "boxes.csv")
    for shot in shots(SPEC):
        size = read_picture(made / shot.name).shape[:2]
        assert size == ((480, 360) if shot.portrait else (360, 480))
        own = [tuple(int(row[side]) for side in ("xmin", "ymin", "xmax", "ymax")) for row in rows
               if row["filename"] == shot.name]  # fmt: skip
        assert len(own) == len(shot.animals) and (labels[shot.name] == "animal") == bool(own)
        assert all(1 <= x0 < x1 <= size[1] and 1 <= y0 < y1 <= size[0] for x0, y0, x1, y1 in own)
    assert json.loads((made / "spec.json").read_text()) == {
        "seed": 5, "pictures": 20, "empty": 0.4, "several": 0.5, "camouflage": 0.25,
    }  # fmt: skip


def test_ingest_reads_the_boxes(made):
    names = tuple(shot.name for shot in shots(SPEC))
    found = read(made, "boxes.csv", Names(names))
    assert not found.refused and {label.word for label in found.labels} == {"animal"}
    shot = next(shot for shot in shots(SPEC) if len(shot.animals) > 1)
    scene, placed = compose(5, shot, visit(5, shot.place))
    read_back = [(label.box.x, label.box.y, label.box.x + label.box.w, label.box.y + label.box.h)
                 for label in found.labels if label.media == shot.name]  # fmt: skip
    assert read_back == boxes(scene.site.size, placed)


def test_a_box_is_tight_and_most_of_its_animal_is_seen(composed):
    for shot, scene, placed in composed[0]:
        found, seen = boxes(scene.site.size, placed), masks(scene.site.size, placed)
        assert len(found) == len(seen) == len(shot.animals)
        for (left, top, right, bottom), mask in zip(found, seen, strict=True):
            inside = mask[top:bottom, left:right]
            assert inside.sum() == mask.sum() > 500
            assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
        assert not (np.sum(seen, 0) > 1).any(), "a pixel shows one animal"


def test_an_animal_changes_the_picture_in_its_box_and_elsewhere_only_by_its_shadow(composed):
    shots_made, place = composed
    for shot, scene, placed in shots_made:
        without, _ = compose(5, shot, place)
        found, animals = boxes(scene.site.size, placed), [one for one in placed if one.animal]
        # Before exposure: what is lit is changed by shadows, what has a colour only by the animals themselves.
        for one in placed:
            scene.put(one.figure, one.seen, one.foot, one.unit, one.metres)
        for one in placed:
            if not one.animal:
                without.put(one.figure, one.seen, one.foot, one.unit, one.metres)
        changed = np.abs(scene.colours - without.colours).max(2) > 8
        near = np.zeros_like(changed)
        for left, top, right, bottom in found:
            box = changed[top:bottom, left:right]
            assert box.mean() > 0.2, "the animal is in its box"
            near[max(0, top - 3) : bottom + 3, max(0, left - 3) : right + 3] = True
        assert (changed & ~near).sum() <= 0.01 * changed.sum(), "the soft edge apart"
        assert len(animals) == len(found)


def test_sizes_spread_from_small_to_large():
    planned = [Shot(number, 0, False, (False,)) for number in range(60)]
    place, high = visit(7, 0), []
    for shot in planned:
        scene, placed = compose(7, shot, place)
        ((_, top, _, bottom),) = boxes(scene.site.size, placed)
        high.append((bottom - top) / scene.site.size[0])
    assert 0.1 < min(high) < 0.22 and 0.55 < max(high) < 0.85 and 0.25 < np.median(high) < 0.5


def test_a_toned_animal_has_the_colour_of_what_it_stands_before():
    place, nearer = visit(5, 1), 0
    for number in range(10):
        plain, toned = (compose(5, Shot(number, 1, False, (coat,)), place) for coat in (False, True))
        gaps = []
        for scene, placed in (plain, toned):
            (one,) = (one for one in placed if one.animal)
            weights = one.seen.alpha.ravel() + 1e-6
            layers = (scene.site.albedo[one.seen.patch], one.figure.rgb[one.seen.part])
            behind, coat = (np.average(layer.reshape(-1, 3), axis=0, weights=weights) for layer in layers)
            gaps.append(np.abs(behind - coat).mean())
        nearer += gaps[1] < gaps[0]
        assert gaps[1] < 25
    assert nearer >= 8


def test_empty_pictures_show_look_alikes_more_often_than_the_others():
    place, found = visit(5, 2), {True: 0, False: 0}
    for number in range(30):
        for shown in (True, False):
            _, placed = compose(5, Shot(number, 2, False, (False,) * shown), place)
            found[shown] += sum(not one.animal for one in placed)
    assert found[False] > found[True] > 0


def test_pictures_by_night_are_grey(composed):
    for shot, scene, placed in composed[0][:4]:
        night, rgb = scene.weather.night, take(5, shot, scene, placed).astype(int)
        assert (np.abs(rgb[..., 0] - rgb[..., 2]).mean() < 0.5) == night
