"""The champion moved by hand: promoted, refused, rolled back, and all of it in the audit trail."""

import json

import pytest

from components.core import paths, tracking
from components.core.bundle import GRAPH, Bundle, write_manifest
from components.core.errors import SightlineError, UsageError
from components.core.recipe import load_recipe
from components.promotion import byhand, trail
from components.promotion.trail import Move
from tests.promotion.test_promote import run_stage


@pytest.fixture
def recipe(root):
    """Three versions in the registry, each with its bundle: 1 promoted, 2 refused, 3 promoted."""
    for number, skill in enumerate((1.0, 0.4, 2.0), 1):
        assert run_stage(root, number, skill)["promoted"] == (number != 2)
        publish(number)
    return load_recipe("toy")


def publish(number: int) -> None:
    folder = paths.state("deployed", "toy", f"v{number}")
    folder.mkdir(parents=True)
    (folder / GRAPH).write_bytes(bytes([number]))
    write_manifest(folder, Bundle("toy", ("a", "b"), "b", 0.5, 8, 8, None, None, 1, {}, {}))


def champion() -> int:
    return int(tracking.version_by_alias("toy", tracking.CHAMPION).version)


def steps() -> list[tuple]:
    return [(one.before, one.after, one.by) for one in trail.moves("toy")]


def test_every_move_is_in_the_trail_and_a_repeated_one_is_none(recipe):
    assert steps() == [(None, 1, "promotion"), (1, 3, "promotion")]
    assert byhand.rollback(recipe, reason="false alarms at night") == (1, True)
    assert champion() == 1
    assert byhand.rollback(recipe, 1) == (1, False)
    assert byhand.promote(recipe) == (3, True), "without a number: the challenger"
    assert byhand.promote(recipe) == (3, False)
    assert steps()[2:] == [(3, 1, "rollback"), (1, 3, "promote")]
    told = trail.moves("toy")
    assert told[2].reason == "false alarms at night" and told[2].time.endswith("+00:00")
    assert "frame_auc" in told[0].reason


def test_a_refused_version_needs_a_reason(recipe):
    with pytest.raises(SightlineError, match="version 2 was refused:\n  - ") as told:
        byhand.promote(recipe, 2)
    assert "--override WHY" in told.value.remedy and champion() == 3
    assert byhand.promote(recipe, 2, "the new camera matters more") == (2, True)
    assert trail.moves("toy")[-1].reason == "the new camera matters more"


def test_what_is_not_there_or_not_whole_is_not_served(recipe):
    with pytest.raises(UsageError, match="no version 9"):
        byhand.promote(recipe, 9)
    with pytest.raises(UsageError, match="no version 9"):
        byhand.rollback(recipe, 9)
    paths.state("deployed", "toy", "v1", GRAPH).write_bytes(b"other bytes")
    with pytest.raises(SightlineError, match="bytes"):
        byhand.rollback(recipe)
    paths.state("deployed", "toy", "v1").rename(paths.state("deployed", "toy", "away"))
    with pytest.raises(SightlineError, match="never published here"):
        byhand.rollback(recipe)
    assert champion() == 3 and len(steps()) == 2


def test_the_first_champion_has_none_before_it(root):
    run_stage(root, 1, 1.0)
    with pytest.raises(SightlineError, match="no champion before"):
        byhand.rollback(load_recipe("toy"))


def test_a_move_that_was_killed_before_it_was_noted_is_noted_when_repeated(recipe):
    tracking.client().set_registered_model_alias("toy", tracking.CHAMPION, "1")  # what the killed call had done
    assert byhand.rollback(recipe, 1) == (1, True)
    assert steps()[-1] == (3, 1, "rollback")


def test_the_command_speaks_and_ends_with_the_right_code(recipe, capsys):
    assert byhand.main(["rollback", "--recipe", "toy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"recipe": "toy", "champion": 1, "moved": True}
    assert byhand.main(["promote", "--recipe", "toy", "--version", "2"]) == 1
    assert byhand.main(["promote", "--recipe", "toy", "--version", "9"]) == 2
    capsys.readouterr()
    assert byhand.main(["history", "--recipe", "toy"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def made(*steps: tuple) -> list[Move]:
    return [Move("", before, after, by, "", {}) for before, after, by in steps]


UP = [(None, 1, "promotion"), (1, 3, "promotion"), (3, 4, "promote")]


@pytest.mark.parametrize(
    "steps, present, expected",
    [
        ([], None, None),
        (UP[:1], 1, None),
        (UP, 4, 3),
        ([*UP, (4, 3, "rollback")], 3, 1),
        ([*UP, (4, 3, "rollback"), (3, 1, "rollback")], 1, None),
        ([*UP, (4, 3, "rollback"), (3, 5, "promotion")], 5, 3),
        ([*UP, (4, 1, "rollback"), (1, 5, "promotion")], 5, 1),
        (UP, 7, 4),  # somebody moved it to 7 in MLflow itself
    ],
)
def test_the_champion_before_the_present_one(steps, present, expected):
    assert byhand.before(made(*steps), present) == expected
