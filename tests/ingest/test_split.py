"""Splits: by asset, stable when footage is added, never empty where that can be helped."""

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.errors import UsageError
from components.core.recipe import Split
from components.ingest.split import Candidate, assign, assign_sequences, check_globs, position

BOTH = frozenset({"normal", "suspicious"})


def candidates(count, classes=BOTH, given=frozenset()):
    return [Candidate(f"{i:016x}", (f"clips/{i}.mp4",), classes, given) for i in range(count)]


def test_fractions_and_stability():
    few, many = candidates(400), candidates(1000)
    before, after = assign(few, Split()), assign(many, Split())
    assert all(after[name] == part for name, part in before.items())
    share = {part: list(after.values()).count(part) / 1000 for part in ("train", "val", "test")}
    assert share["test"] == pytest.approx(0.2, abs=0.04) and share["val"] == pytest.approx(0.2, abs=0.04)
    assert assign(many, Split(seed=8)) != after


assets = st.lists(
    st.builds(
        lambda number, classes, told: Candidate(f"{number:016x}", (f"{number}.mp4",), classes, told),
        st.integers(0, 10**6),
        st.frozensets(st.sampled_from(["a", "b", "c"])),
        st.sampled_from([frozenset(), frozenset({"train"}), frozenset({"val"}), frozenset({"test"})]),
    ),
    max_size=12,
    unique_by=lambda asset: asset.asset_id,
)
rules = st.builds(Split, test_fraction=st.sampled_from([0.0, 0.2, 1.0]), val_fraction=st.sampled_from([0.0, 0.2]))


@given(assets, rules, st.randoms())
def test_every_asset_has_its_place(found, rule, random):
    parts = assign(found, rule)
    assert set(parts) == {asset.asset_id for asset in found} and set(parts.values()) <= {"train", "val", "test"}
    for asset in found:
        assert not asset.given or parts[asset.asset_id] in asset.given
    shuffled = random.sample(found, len(found))
    assert assign(shuffled, rule) == parts


@given(assets.map(lambda found: [Candidate(a.asset_id, a.names, a.classes) for a in found]), st.integers(0, 50))
def test_small_sets_are_balanced(found, seed):
    parts = assign(found, Split(seed=seed))
    inside = {part: [a for a in found if parts[a.asset_id] == part] for part in ("train", "val", "test")}
    if len(found) >= 3:
        assert inside["test"]
    if len(found) - len(inside["test"]) >= 2:
        assert inside["val"] and inside["train"]
    in_train = frozenset().union(*(asset.classes for asset in inside["train"]))
    in_val = frozenset().union(*(asset.classes for asset in inside["val"]))
    assert in_val <= in_train or len(inside["val"]) == 1


def test_val_gets_a_clip_with_every_class_where_train_keeps_them():
    found = [Candidate(f"{i:016x}", (f"{i}.mp4",), BOTH if i % 2 else frozenset({"normal"})) for i in range(8)]
    for seed in range(40):
        parts = assign(found, Split(test_fraction=0, seed=seed))
        for part in ("train", "val"):
            assert BOTH == frozenset().union(*(a.classes for a in found if parts[a.asset_id] == part))


def test_the_smallest_position_makes_an_empty_val():
    found = candidates(3)
    parts = assign(found, Split(test_fraction=0, val_fraction=0))
    first = min(found, key=lambda asset: position(asset.asset_id, 7))
    assert parts == {asset.asset_id: "val" if asset is first else "train" for asset in found}


def test_globs_go_before_the_source_and_the_source_before_chance():
    found = candidates(60)
    told = [*found[:5], replace(found[5], given=frozenset({"test"})), *found[6:]]
    parts = assign(told, Split(test=("2?.mp4",), val=("clips/3?.mp4", "5.mp4")))
    for asset in told:
        number = int(asset.names[0].removeprefix("clips/").removesuffix(".mp4"))
        wanted = "test" if 20 <= number < 30 else "val" if 30 <= number < 40 or number == 5 else "train"
        assert parts[asset.asset_id] == wanted  # a part that is named is not drawn as well


def test_a_source_that_holds_out_some_is_not_asked_for_more():
    found = [*candidates(2, given=frozenset({"test"})), *candidates(80)[2:]]
    parts = assign(found, Split())
    assert [name for name, part in parts.items() if part == "test"] == [a.asset_id for a in found[:2]]
    assert 5 < list(parts.values()).count("val") < 30


def test_what_is_held_out_under_one_name_is_held_out():
    both = Candidate("a" * 16, ("clips/1.mp4", "test/1.mp4"), BOTH, frozenset({"train", "test"}))
    assert assign([both, *candidates(3)], Split())["a" * 16] == "test"


def test_a_glob_that_matches_nothing_is_named():
    names = ["clips/a.mp4", "clips/b.mp4"]
    check_globs(Split(test=("a.mp4",), val=("clips/*",)), names)
    with pytest.raises(UsageError, match=r"ingest.split.val: no file of the source matches 'd\*.mp4'"):
        check_globs(Split(test=("a.mp4",), val=("d*.mp4",)), names)


def test_many_assets_with_classes_are_split_in_no_time():
    """Each class's holders are counted, not looked for: 100,000 pictures once took ten minutes."""
    assets = [Candidate(f"{n:016x}", (f"{n}.jpg",), frozenset([f"c{n % 50}"])) for n in range(100_000)]
    begin = time.process_time()
    parts = assign(assets, Split())
    assert time.process_time() - begin < 20
    assert set(parts.values()) == {"train", "val", "test"}


def test_pictures_of_a_folder_stay_together_where_they_are_a_sequence():
    """But those that a glob puts somewhere; videos of a folder are sequences of their own."""
    pictures = [
        Candidate(f"{folder}{number:04x}", (f"mot/{folder}/img1/{number:06d}.jpg",), BOTH)
        for folder in "abcdefgh"
        for number in range(30)
    ]
    videos = [Candidate(f"v{number}", (f"mot/{number}.mp4",), BOTH) for number in range(30)]
    parts = assign_sequences(pictures + videos, Split(test=("mot/a/img1/00002*.jpg",)))
    of_folder = {folder: {parts[f"{folder}{number:04x}"] for number in range(30)} for folder in "bcdefgh"}
    assert all(len(found) == 1 for found in of_folder.values())
    assert set().union(*of_folder.values()) == {"train", "val"}, "the recipe says what is held out"
    assert {number for number in range(30) if parts[f"a{number:04x}"] == "test"} == set(range(20, 30))
    assert len({parts[f"a{number:04x}"] for number in range(20)}) == 1
    assert len({parts[one.asset_id] for one in videos}) == 2
