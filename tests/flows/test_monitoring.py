"""When drift may ask for retraining."""

import json

import pytest

from components.core.recipe import Monitoring
from flows.automations import run_when
from flows.events import WANTED
from flows.monitoring import events, no_cure, note_asked, reasons, refusal

HOUR = 3600.0
LIMITS = Monitoring(cooldown_h=6, per_day=2)


def ask_once(recipe: str, footage: str, limits: Monitoring, now: float) -> str:
    """As the flow does it."""
    refused = refusal(recipe, footage, limits, now)
    if not refused:
        note_asked(recipe, footage, now)
    return refused


def test_the_same_footage_asks_once(root):
    assert ask_once("toy", "a", LIMITS, 0.0) == ""
    assert "this very footage" in ask_once("toy", "a", LIMITS, 40 * HOUR)
    assert ask_once("other", "a", LIMITS, 0.0) == "", "each recipe for itself"


def test_a_cool_down_and_a_daily_budget_keep_it_from_storms(root):
    said = [ask_once("toy", f"footage-{hour}", LIMITS, hour * HOUR) for hour in range(48)]
    asked = [hour for hour, words in enumerate(said) if not words]
    assert asked == [0, 6, 24, 30]
    assert "6 h must pass" in said[1] and "2 is the most" in said[13]
    kept = json.loads((root / ".sightline" / "monitoring" / "toy.json").read_text())
    assert [one["time"] / HOUR for one in kept] == asked


@pytest.mark.parametrize("limits", [{"alpha": 0}, {"alpha": 1}, {"cooldown_h": -1}, {"per_day": 0}])
def test_limits_that_make_no_sense_are_refused(limits):
    with pytest.raises(ValueError):
        Monitoring(**limits)


def test_the_automation_runs_the_retraining_deployment():
    automation = run_when(WANTED, "toy", "9e1cb9ee-98b6-4e0d-9a2b-1f8f0b9f6c0a", "retrain toy", "why")
    assert automation.trigger.expect == {"sightline.retraining.wanted"}
    assert automation.trigger.match.root == {"prefect.resource.id": "sightline.recipe.toy"}
    assert automation.actions[0].parameters == {"recipe": "toy"}


def found(*drifted: str, stale: bool = False) -> dict:
    """What a check finds where these figures have drifted."""
    names = {"brightness": "data", "new looks": "novelty", "score": "predictions", "error": "decay"}
    names["quarantined"] = "quarantine"
    tests = [{"name": name, "kind": kind, "drifted": name in drifted} for name, kind in names.items()]
    return {
        "tests": tests, "drifted": sorted({names[name] for name in drifted}), "stale": stale, "age_days": 41.2,
        "current": 9, "reason": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    "drifted, stale, sent, asks",
    [
        ((), False, ["sightline.footage.checked"], None),
        (("brightness",), False, ["sightline.footage.drifted"], "learned from the like"),
        (("score",), False, ["sightline.predictions.drifted"], "learned from the like"),
        (("quarantined",), False, ["sightline.quarantine.high"], "cannot be read"),
        (("brightness", "new looks"), False, ["sightline.footage.drifted", "sightline.footage.new"], ""),
        (("error",), False, ["sightline.model.decayed"], ""),
        (("quarantined", "error"), False, ["sightline.model.decayed", "sightline.quarantine.high"], ""),
        ((), True, ["sightline.model.stale"], ""),
    ],
)
def test_what_was_found_is_an_event_each_and_what_training_cures_asks_for_it(drifted, stale, sent, asks):
    said = found(*drifted, stale=stale)
    assert [event for event, _ in events(said)] == sent
    assert bool(reasons(said)) == bool(drifted or stale)
    if asks is not None:
        assert asks in no_cure(said) if asks else not no_cure(said)


def test_an_event_has_the_figures_of_its_kind():
    said = dict(events(found("brightness", "error")))
    assert [test["name"] for test in said["sightline.model.decayed"]["tests"]] == ["error"]
    assert said["sightline.model.decayed"]["current"] == 9
    assert reasons(found("brightness", "error", stale=True)) == (
        "drift in brightness, error and the champion is 41 days old"
    )
