"""When drift may ask for retraining."""

import json

import pytest

from components.core.recipe import Monitoring
from flows.monitoring import ask_once, retrain_when_wanted

HOUR = 3600.0
LIMITS = Monitoring(cooldown_h=6, per_day=2)


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
    automation = retrain_when_wanted("toy", "9e1cb9ee-98b6-4e0d-9a2b-1f8f0b9f6c0a")
    assert automation.trigger.expect == {"sightline.retraining.wanted"}
    assert automation.trigger.match.root == {"prefect.resource.id": "sightline.recipe.toy"}
    assert automation.actions[0].parameters == {"recipe": "toy"}
