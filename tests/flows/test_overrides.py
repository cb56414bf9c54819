"""`--set`: the value changes, the rest of the file does not, and DVC would have read it the same way."""

import shutil

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from components.core.errors import UsageError
from components.core.recipe import load_recipe
from flows.overrides import apply, edit
from tests.flows.toy import PROJECT

TEXT = (PROJECT / "params.yaml").read_text()
RECIPE = "suspicious"


def changed_lines(new: str) -> list[str]:
    before, after = TEXT.splitlines(), new.splitlines()
    assert len(before) == len(after)
    return [line for old, line in zip(before, after, strict=True) if old != line]


def value(text: str, key: str):
    body = yaml.safe_load(text)["recipes"][RECIPE]
    for part in key.split("."):
        body = body[part]
    return body


@pytest.mark.parametrize(
    "setting, key, expected",
    [
        ("training.epochs=3", "training.epochs", 3),
        ("training.lr=.01", "training.lr", 0.01),
        ("training.lr=1e-3", "training.lr", 0.001),
        ("source=ped2", "source", "ped2"),
        ("source=../footage of mine", "source", "../footage of mine"),
        ("source='a, b # c'", "source", "a, b # c"),
        ("source='x=1'", "source", "x=1"),
        ("ingest.split.test=[Test004,Test007]", "ingest.split.test", ["Test004", "Test007"]),
        ("ingest.uncovered=normal", "ingest.uncovered", "normal"),
        ("ingest.label_map.fight=suspicious", "ingest.label_map", {"fight": "suspicious"}),
        ("frames.fps=30000/1001", "frames.fps", "30000/1001"),
        ("frames.fps=null", "frames.fps", None),
        ("recipes.suspicious.training.seed=9", "training.seed", 9),
        ("ingest.split={seed: 3, val: [a]}", "ingest.split.seed", 3),
    ],
)
def test_one_value_changes_and_nothing_else(setting, key, expected):
    new, changes = edit(TEXT, RECIPE, [setting])
    assert value(new, key) == expected
    assert changes
    (line,) = changed_lines(new)
    old = next(one for one in TEXT.splitlines() if one.partition(":")[0] == line.partition(":")[0])
    assert line.endswith(old.partition(" #")[2]), "the comment stays"


@pytest.mark.parametrize(
    "size", ["size:\n  - 160\n  - 208", "size: # a comment\n  - 160\n  - 208", "size:\n    - 160\n    - 208"]
)
def test_a_list_on_lines_of_its_own_gives_way(size):
    """As YAML's own writers lay it out."""
    body = yaml.safe_load(TEXT)["recipes"][RECIPE]
    del body["features"]["size"]
    features = yaml.safe_dump(body.pop("features"), sort_keys=False).replace("\n", "\n  ")
    rest = yaml.safe_dump(body, sort_keys=False).replace("\n", "\n    ")
    inner = f"{size}\n  {features}".replace("\n", "\n    ")
    text = f"recipes:\n  {RECIPE}:\n    features:\n      {inner.strip()}\n    {rest.strip()}\n"
    assert value(text, "features.size") == [160, 208]
    new, changes = edit(text, RECIPE, ["features.size=[96, 128]"])
    assert value(new, "features.size") == [96, 128] and [str(one) for one in changes]
    assert ("# a comment" in new) == ("# a comment" in size)


@pytest.mark.parametrize("setting", ["training.epochs=3", "source=ped2", "ingest.split={seed: 3}", "training.lr=1e-5"])
def test_dvc_reads_a_setting_the_same_way(setting, tmp_path):
    from dvc.utils.hydra import apply_overrides
    from dvc.utils.serialize import load_yaml

    file = tmp_path / "params.yaml"
    file.write_text(TEXT)
    apply_overrides(file, [f"recipes.{RECIPE}.{setting}"])
    ours = tmp_path / "ours.yaml"
    ours.write_text(edit(TEXT, RECIPE, [setting])[0])
    assert load_yaml(ours) == load_yaml(file)


def test_a_key_that_the_file_leaves_out_is_added():
    text = TEXT.replace("      max_iter: 100\n      seed: 0\n", "      max_iter: 100\n", 1)
    assert text != TEXT
    new, (change,) = edit(text, RECIPE, ["training.seed=4"])
    assert value(new, "training.seed") == 4
    assert str(change) == "training.seed: null -> 4"
    assert len(new.splitlines()) == len(text.splitlines()) + 1


def test_a_value_that_is_there_already_changes_nothing():
    assert edit(TEXT, RECIPE, [f"source={value(TEXT, 'source')}"]) == (TEXT, [])


@pytest.mark.parametrize(
    "setting, problem, remedy",
    [
        ("training.epoch=3", "recipes.suspicious.training.epoch", "'epochs'"),
        ("trainin.epochs=3", "recipes.suspicious.trainin", "'training'"),
        ("training.epochs=many", "recipes.suspicious.training.epochs", ""),
        ("training.epochs", "no KEY=VALUE", "training.lr=.01"),
        ("=3", "no KEY=VALUE", "training.lr=.01"),
        ("source=a=b", "cannot be read", "source='a=b'"),
        ("training.epochs=1,2", "one value at a time", "dvc exp run"),
        ("~training.epochs", "no KEY=VALUE", ""),
        ("~training.epochs=3", "one value at a time", ""),
    ],
)
def test_a_wrong_setting_is_refused_with_the_remedy(setting, problem, remedy):
    with pytest.raises(UsageError) as told:
        edit(TEXT, RECIPE, [setting])
    assert problem in told.value.problem
    assert remedy in told.value.remedy
    assert told.value.exit_code == 2


def test_nothing_is_written_unless_all_of_it_is_right(tmp_path, monkeypatch):
    shutil.copy(PROJECT / "params.yaml", tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path))
    with pytest.raises(UsageError):
        apply(RECIPE, ["training.epochs=3", "training.epoch=3"])
    with pytest.raises(UsageError, match="no recipe 'suspicous'"):
        apply("suspicous", ["training.epochs=3"])
    assert (tmp_path / "params.yaml").read_text() == TEXT
    apply(RECIPE, ["training.epochs=3"])
    assert load_recipe(RECIPE).training.epochs == 3


SMALL = """
recipes:
  suspicious:
    task: {classes: [a, b], positive: b} # what is learnt
    source: here # and from where
    training: {lr: 0.1, penalty: 0.1}
    ingest:
      label_map: {}
      # of the rest
      uncovered: null
"""

# Between quotes a backslash and the quote itself have a meaning of their own.
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="\\'"), min_size=1)


@settings(max_examples=60, deadline=None)
@example("yes")
@example("3")
@example("[]{}, :#")
@example("null")
@example(" ")
@given(words)
def test_any_quoted_text_comes_back_whole(text):
    keys = ["source", "ingest.label_map.fight", "ingest.uncovered"]
    new, _ = edit(SMALL, RECIPE, [f"{key}='{text}'" for key in keys])
    assert [value(new, key) for key in keys] == [text] * 3
    assert all(comment in new for comment in ("# what is learnt", "# and from where", "# of the rest"))
