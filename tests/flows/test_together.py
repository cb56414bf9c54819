"""Runs beside one another: several recipes at once, two of the same recipe, and one that somebody cancels."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

import psutil
import pytest
import yaml

from tests.flows import toy
from tests.flows.test_training import first_attempt

RECIPES = ("toy", "second", "third")


@pytest.fixture
def three(root):
    """The toy workspace with three recipes; their stages sleep by their plans."""
    body = yaml.safe_load((root / "params.yaml").read_text())
    body["recipes"] |= {name: body["recipes"]["toy"] for name in RECIPES[1:]}
    (root / "params.yaml").write_text(yaml.safe_dump(body, sort_keys=False))
    stages = yaml.safe_load((root / "dvc.yaml").read_text())
    for stage in stages["stages"].values():  # a plan, attempts and a span for each recipe's own stage
        stage["do"]["cmd"] = stage["do"]["cmd"].replace("stage.py ", "stage.py ${key}-")
    (root / "dvc.yaml").write_text(yaml.safe_dump(stages, sort_keys=False))
    return root


def cancel(server, flow_run: str) -> None:
    """What the button in Prefect's UI does."""
    body = json.dumps({"state": {"type": "CANCELLING", "name": "Cancelling"}}).encode()
    url, headers = f"{server.api}/flow_runs/{flow_run}/set_state", {"content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30) as reply:
        assert json.load(reply)["status"] == "ACCEPT"


def wait_for_state(server, flow_run: str, name: str, seconds: float = 120) -> dict:
    deadline = time.monotonic() + seconds
    while True:
        (told,) = server.find("flow_runs", flow_runs={"id": {"any_": [flow_run]}})
        if told["state"]["name"] == name:
            return told
        assert time.monotonic() < deadline, told["state"]
        time.sleep(0.2)


def test_all_recipes_run_at_the_same_time_and_none_fails_of_a_lock(three, server):
    toy.plan(three, **{f"{recipe}-{stage}": ["meet 6"] for recipe in RECIPES for stage in ("frames", "other")})
    reply = toy.sightline(three, "run", "--all", "--json", PREFECT_API_URL=server.api, SIGHTLINE_MEMORY_GB="100")
    assert reply.returncode == 0, reply.stdout + reply.stderr
    bodies = json.loads(reply.stdout)
    assert [body["recipe"] for body in bodies] == list(RECIPES)
    assert all(row["status"] == "Ran" for body in bodies for row in body["stages"])
    assert len({body["flow_run"] for body in bodies}) == 3
    for body in bodies:
        assert server.task_states(body["flow_run"]) == dict.fromkeys(toy.STAGES, "Completed")
    spans = [toy.span(three, f"{recipe}-{stage}") for recipe in RECIPES for stage in ("frames", "other")]
    assert max(began for began, _ in spans) < min(ended for _, ended in spans), "all six at the same time"
    assert "up to date" in toy.dvc(three, "status", *(f"join@{recipe}" for recipe in RECIPES)).stdout


def test_the_failure_of_one_recipe_is_not_that_of_another(three, server):
    toy.plan(three, **{"second-frames": ["exit 1"]})
    reply = toy.sightline(three, "run", "toy", "second", "--json", PREFECT_API_URL=server.api)
    assert reply.returncode == 1
    first, second = json.loads(reply.stdout)
    assert first["state"] == "Completed" and second["state"] == "Failed"
    assert not toy.attempts(three, "second-join") and toy.attempts(three, "toy-join")


def test_stages_that_do_not_fit_into_memory_together_take_turns(three, server):
    toy.plan(three, **{f"{recipe}-frames": ["sleep 2"] for recipe in RECIPES[:2]})
    reply = toy.sightline(three, "run", "toy", "second", PREFECT_API_URL=server.api, SIGHTLINE_MEMORY_GB="3")
    assert reply.returncode == 0, reply.stderr
    first, second = sorted(toy.span(three, f"{recipe}-frames") for recipe in RECIPES[:2])
    assert first[1] <= second[0]
    assert "GB of memory" in reply.stderr


@pytest.mark.parametrize(
    "arguments, problem",
    [
        ([], "name RECIPEs"),
        (["toy", "--all"], "name RECIPEs"),
        (["toy", "second", "--from", "frames"], "for one recipe at a time"),
        (["toy", "secnd"], "second"),
    ],
)
def test_a_wrong_request_is_said_before_anything_runs(three, arguments, problem):
    reply = toy.sightline(three, "run", *arguments)
    assert reply.returncode == 2 and problem in reply.stderr
    assert not toy.attempts(three, "toy-ingest")


def test_the_second_run_of_a_recipe_waits_for_the_first_and_says_so(root, server):
    toy.plan(root, frames=["until heard"])
    first = toy.popen(root, "run", toy.RECIPE, PREFECT_API_URL=server.api)
    first_attempt(root, "frames", first)
    command = [sys.executable, "-m", "flows.cli", "run", toy.RECIPE, "--json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=root, env=toy.environment(root, PREFECT_API_URL=server.api), **pipes) as process:
        said = []
        for line in process.stderr:
            said.append(line)
            if "works on toy already" in line:
                (root / "heard").touch()
        second = subprocess.CompletedProcess(command, process.wait(), process.stdout.read(), "".join(said))
    output, _ = first.communicate(timeout=300)
    assert first.returncode == 0, output
    assert second.returncode == 0, second.stderr
    assert f"(process {first.pid}), which works on toy already" in second.stderr
    assert toy.statuses(second) == {"ingest": "Ran", "frames": "Cached", "other": "Cached", "join": "Cached"}


def test_a_run_that_is_cancelled_ends_its_stage_and_can_be_taken_up_again(root, server):
    toy.plan(root, frames=["sleep 100"])
    process = toy.popen(root, "run", toy.RECIPE, PREFECT_API_URL=server.api)
    stage = first_attempt(root, "frames", process)
    flow_run = toy.attempts(root, "frames")[0].split()[1]
    cancel(server, flow_run)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1 and "cancelled" in output, output
    assert not psutil.pid_exists(stage) or psutil.Process(stage).status() == psutil.STATUS_ZOMBIE
    wait_for_state(server, flow_run, "Cancelled")
    assert not toy.attempts(root, "join")
    toy.plan(root, frames=[])
    reply = toy.sightline(root, "run", toy.RECIPE, "--json", PREFECT_API_URL=server.api)
    assert reply.returncode == 0 and toy.statuses(reply)["join"] == "Ran"


ASKS = """
from prefect import flow
from prefect.runtime import flow_run
from flows.scoring import component

@flow
def asks():
    component("waits", flow_run.id)

asks()
"""
WAITS = """
import os, sys, time

with open("began.txt.new", "w") as file:
    print(os.getpid(), sys.argv[2], file=file)
os.rename("began.txt.new", "began.txt")
time.sleep(600)
"""


@pytest.mark.parametrize("how", ["cancelled", "terminated"])
def test_the_component_that_a_run_waits_for_ends_with_it(root, server, how):
    """Else it would go on beside the next one: Prefect ends the run's own process alone."""
    (root / "asks.py").write_text(ASKS)
    (root / "waits.py").write_text(WAITS)
    env = toy.environment(root, PREFECT_API_URL=server.api)
    process = subprocess.Popen([sys.executable, "asks.py"], cwd=root, env=env)
    deadline = time.monotonic() + 300
    while not (root / "began.txt").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    waits, flow_run = (root / "began.txt").read_text().split()
    if how == "cancelled":
        cancel(server, flow_run)
    else:
        process.terminate()
    assert process.wait(120) != 0
    assert not psutil.pid_exists(int(waits)) or psutil.Process(int(waits)).status() == psutil.STATUS_ZOMBIE


FAILS_ONCE = """
import os, pathlib, sys

tries = pathlib.Path("tries.txt")
tries.write_text((tries.read_text() if tries.exists() else "") + "x")
if len(tries.read_text()) < 2:
    sys.exit("the server is away" if sys.argv[2] == "for good" else 75)
print("42")
"""


@pytest.mark.parametrize("why, tries", [("away", 2), ("for good", 1)])
def test_a_component_is_tried_again_where_that_can_help(root, server, why, tries):
    (root / "waits.py").write_text(FAILS_ONCE)
    (root / "asks.py").write_text(ASKS.replace("flow_run.id)", f"{why!r}) == '42\\n' or exit(3)"))
    env = toy.environment(root, PREFECT_API_URL=server.api)
    code = subprocess.run([sys.executable, "asks.py"], cwd=root, env=env, timeout=300).returncode
    assert (code == 0) == (tries == 2) and (root / "tries.txt").read_text() == "x" * tries


def test_cancelling_one_of_several_runs_leaves_the_others(three, server):
    toy.plan(three, **{"toy-frames": ["sleep 100"], "second-frames": ["sleep 8"]})
    process = toy.popen(three, "run", "toy", "second", "--json", PREFECT_API_URL=server.api)
    first_attempt(three, "toy-frames", process)
    first_attempt(three, "second-frames", process)
    cancel(server, toy.attempts(three, "toy-frames")[0].split()[1])
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert toy.attempts(three, "second-join") and not toy.attempts(three, "toy-join"), output


def test_several_stages_run_at_once(root, server):
    """Six independent stages, each of which waits for the other five."""
    wide = root / "wide"
    shutil.copytree(root, wide, ignore=shutil.ignore_patterns("wide"))
    stages = {
        f"part{number}": {"foreach": "${recipes}", "do": {
            "cmd": f"python stage.py part{number} data/${{key}}/part{number} source.txt",
            "deps": ["source.txt"], "outs": [f"data/${{key}}/part{number}"],
        }} for number in range(6)
    }  # fmt: skip
    (wide / "dvc.yaml").write_text(yaml.safe_dump({"vars": ["params.yaml"], "stages": stages}))
    toy.plan(wide, **{name: ["meet 6"] for name in stages})
    env = {"PREFECT_API_URL": server.api, "SIGHTLINE_MEMORY_GB": "100"}
    reply = toy.sightline(wide, "run", toy.RECIPE, "--force", **env)
    assert reply.returncode == 0, reply.stderr
    spans = [toy.span(wide, name) for name in stages]
    assert max(began for began, _ in spans) < min(ended for _, ended in spans), "all six at the same time"


@pytest.mark.slow
def test_a_run_whose_process_was_killed_is_seen_as_crashed(root, server):
    """Slow because Prefect sends a heartbeat every 30 seconds at most, and silence must last longer to be one."""
    code = "from flows import automations as a; a.register([a.silent_runs_crashed(a.timedelta(seconds=40))] * 2)"
    toy.shell(root, sys.executable, "-c", code, PREFECT_API_URL=server.api)
    automations = server.find("automations")
    assert [one["name"] for one in automations].count("sightline: a run that fell silent has crashed") == 1
    toy.plan(root, frames=["sleep 300"])
    process = toy.popen(root, "run", toy.RECIPE, PREFECT_API_URL=server.api)
    stage = first_attempt(root, "frames", process)
    flow_run = toy.attempts(root, "frames")[0].split()[1]
    process.kill()
    process.communicate()
    told = wait_for_state(server, flow_run, "Crashed", 150)
    assert "no sign of life for 40 s" in told["state"]["message"]
    os.kill(stage, signal.SIGKILL)
    toy.plan(root, frames=[])
    reply = toy.sightline(root, "run", toy.RECIPE, "--json", PREFECT_API_URL=server.api)
    assert reply.returncode == 0 and toy.statuses(reply)["join"] == "Ran", reply.stderr
    # The server is that of other tests too, whose runs must not be taken for dead so soon.
    code = "from flows import automations as a; a.register([a.silent_runs_crashed()])"
    toy.shell(root, sys.executable, "-c", code, PREFECT_API_URL=server.api)
