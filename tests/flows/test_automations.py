"""The automations know every state that a run of ours can end in."""

import re

from flows.automations import ENDED, OWN
from flows.training import FAILURES
from tests.flows.toy import PROJECT


def test_a_run_that_ended_in_a_state_of_our_own_is_not_taken_for_silent():
    """Prefect names its event after the state: one that is not awaited would be marked as crashed when it is over."""
    texts = [file.read_text() for file in sorted((PROJECT / "flows").rglob("*.py"))]
    named = {name for text in texts for name in re.findall(r'(?:Completed|Failed)\(name="(\w+)"', text)}
    assert named >= {"Drifted", "NoChampion"}
    assert named | set(FAILURES.values()) - {"Cached"} <= set(OWN) | {"Cached"}  # cached: a task, never a flow
    assert {f"prefect.flow-run.{name}" for name in OWN} <= set(ENDED)
