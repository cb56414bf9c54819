"""Shares of memory: who fits goes on, who does not waits, and nobody holds any after death."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest

from flows import memory
from flows.memory import share
from tests.flows import toy


@pytest.fixture(autouse=True)
def ten(root, monkeypatch):
    """A workspace with ten gigabytes to share."""
    monkeypatch.setenv("SIGHTLINE_MEMORY_GB", "10")


def held(*gigabytes: float) -> ExitStack:
    stack = ExitStack()
    for number, one in enumerate(gigabytes):
        stack.enter_context(share(f"stage-{number}", one, never, print))
    return stack


def never(seconds: float) -> None:
    raise AssertionError("it had to wait")


class Waited(Exception):
    """Raised in place of a pause."""


def test_shares_that_fit_are_held_at_the_same_time():
    with held(4, 3, 3):
        pass


def test_who_does_not_fit_waits_and_is_told_for_whom():
    said = []

    def pause(seconds):
        raise Waited

    with held(4, 3), pytest.raises(Waited), share("late", 3.5, pause, said.append):
        pass
    (line,) = said
    assert line.startswith("waiting for 3.5 GB of memory: ") and "stage-0 (4 GB)" in line and "stage-1 (3 GB)" in line
    with held(9.9):  # nothing of it is left
        pass


def test_it_goes_on_when_a_share_is_given_back():
    first = held(6)
    began = time.monotonic()
    threading.Timer(0.6, first.close).start()
    with share("late", 6, time.sleep, print):
        assert time.monotonic() - began >= 0.5


def test_more_than_there_is_gets_everything():
    with held(64):
        with pytest.raises(AssertionError, match="had to wait"), held(0.5):
            pass


HOLDER = """
import sys, time
from flows.memory import share
with share("holder", 8, time.sleep, print) as handle:
    import subprocess
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=[handle])
    print(child.pid, flush=True)
    time.sleep(60)
"""


def test_a_killed_holders_share_is_free_once_its_stage_has_ended_too(root):
    command = [sys.executable, "-c", HOLDER]
    env = toy.environment(root, SIGHTLINE_MEMORY_GB="10")
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    process.kill()
    process.wait()
    with pytest.raises(AssertionError, match="had to wait"), held(4):
        pass
    os.kill(child, signal.SIGKILL)
    deadline = time.monotonic() + 10
    with share("late", 4, lambda seconds: time.sleep(seconds) or deadline > time.monotonic() or never(0), print):
        pass
    assert not list((root / ".sightline" / "run" / "memory").glob("*.json"))


def test_the_machines_memory_is_the_bound_where_none_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("SIGHTLINE_MEMORY_GB")
    monkeypatch.setattr(memory, "CGROUP_LIMIT", tmp_path / "memory.max")
    machine = memory.total_gb()
    assert machine > 0
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.total_gb() == machine
    (tmp_path / "memory.max").write_text("1000000000\n")
    assert memory.total_gb() == pytest.approx(0.8)
