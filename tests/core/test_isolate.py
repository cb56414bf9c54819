"""Work in a child process: results come back, and what goes wrong there costs one item."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from components.core.errors import SightlineError
from components.core.isolate import Isolated, Stopped

HERE = "tests.core.test_isolate:misbehave"


def misbehave(item: dict) -> dict:
    """What the child of these tests does."""
    match item["do"]:
        case "echo":
            print("chatter on standard output")
            return {"pid": os.getpid(), "said": item.get("say")}
        case "raise":
            raise ValueError("no good")
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "leave":
            os._exit(3)
        case "sleep":
            time.sleep(60)
        case "eat":
            return {"sum": int(np.ones(item["mb"] << 17, np.int64)[-1])}


@pytest.fixture(scope="module")
def child():
    isolated = Isolated(HERE)
    yield isolated
    isolated.close()


def pid(child: Isolated) -> int:
    return child.run({"do": "echo"}, 30, 1024)["pid"]


def gone(process: int, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_one_child_answers_all(child):
    big = "\u00e9" * 300_000  # more than a pipe holds, both ways
    assert pid(child) == pid(child) != os.getpid()
    assert child.run({"do": "echo", "say": big}, 30, 1024)["said"] == big


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"do": "raise"}, "unexpected ValueError: no good"),
        ({"do": "crash"}, "decoder crashed (signal 11)"),
        ({"do": "leave"}, "decoder ended by itself (exit code 3)"),
        ({"do": "sleep"}, "took longer than 0.5 s"),
        ({"do": "eat", "mb": 600}, "needed more than 256 MB"),
    ],
)
def test_what_goes_wrong_costs_one_item(child, item, reason):
    with pytest.raises(Stopped) as stopped:
        child.run(item, 0.5 if item["do"] == "sleep" else 30, 256)
    assert str(stopped.value) == reason
    assert child.run({"do": "echo", "say": 1}, 30, 256)["said"] == 1


def test_limits_are_those_of_the_item(child):
    assert child.run({"do": "eat", "mb": 300}, 30, 1024) == {"sum": 1}
    with pytest.raises(Stopped, match="needed more than 100 MB"):
        child.run({"do": "eat", "mb": 300}, 30, 100)
    assert child.run({"do": "eat", "mb": 300}, 30, 1024) == {"sum": 1}


def test_an_innocent_item_is_tried_again(child):
    """What an item before it left behind may end a child: killed from outside while it idles stands for that."""
    os.kill(pid(child), signal.SIGKILL)
    assert child.run({"do": "echo", "say": 2}, 30, 1024)["said"] == 2


def test_a_killed_parent_leaves_no_child():
    script = f"from components.core.isolate import Isolated; c = Isolated({HERE!r})\n"
    script += "print(c.run({'do': 'echo'}, 30, 1024)['pid'], flush=True); c.run({'do': 'sleep'}, 60, 1024)"
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    grandchild = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    assert gone(grandchild)


@pytest.mark.parametrize("function", ["tests.core.test_isolate:nothing", "no.such.module:function"])
def test_what_cannot_be_imported_is_said(function):
    with pytest.raises(SightlineError, match="cannot be imported"):
        Isolated(function).run({}, 30, 1024)
