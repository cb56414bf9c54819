"""The flow on a real Prefect server, with real DVC: order, caching, retries, failures, interruption."""

import json
import os
import shutil
import signal
import time

import psutil
import pytest

from tests.flows import toy

RAN = dict.fromkeys(toy.STAGES, "Ran")


@pytest.fixture(scope="module")
def finished(template, server, tmp_path_factory):
    """A workspace whose flow has run once: its root and what the command said."""
    root = tmp_path_factory.mktemp("finished") / "toy"
    shutil.copytree(template, root)
    toy.plan(root, frames=["meet 2"], other=["meet 2"])
    env = {"PREFECT_API_URL": server.api, "SIGHTLINE_MEMORY_GB": "100"}
    reply = toy.sightline(root, "run", toy.RECIPE, "--json", **env)
    assert reply.returncode == 0, reply.stderr
    return root, reply


def run(root, server, *arguments, code=0):
    reply = toy.sightline(root, "run", toy.RECIPE, "--json", *arguments, PREFECT_API_URL=server.api)
    assert reply.returncode == code, reply.stdout + reply.stderr
    return reply


def test_every_stage_runs_as_a_task_of_its_own(finished, server):
    root, reply = finished
    assert toy.statuses(reply) == RAN
    flow_run = json.loads(reply.stdout)["flow_run"]
    assert server.task_states(flow_run) == dict.fromkeys(toy.STAGES, "Completed")
    (told,) = server.find("flow_runs", flow_runs={"id": {"any_": [flow_run]}})
    commit = toy.shell(root, "git", "rev-parse", "--short", "HEAD").stdout.strip()
    assert set(told["tags"]) == {toy.RECIPE, commit}
    assert told["name"].startswith("toy-")
    assert toy.attempts(root, "frames")[0].split()[1] == flow_run, "the stage knows which flow run it belongs to"
    assert "frames looks at 1 inputs" in server.logs(flow_run)
    keys = {artifact["key"] for artifact in server.find("artifacts/latest")}
    assert {"toy-stages", "toy-report"} <= keys


def test_what_the_stages_made_are_assets_with_their_versions(finished, server):
    root, reply = finished
    wanted = {
        f"dvc://{out['path']}": out["md5"] for stage in toy.lock(root)["stages"].values() for out in stage["outs"]
    }
    for _ in range(240):  # events are stored a moment after they were sent, and those of earlier runs are there already
        made = materialized(server)
        if {asset: made[asset]["payload"]["md5"] for asset in wanted if asset in made} == wanted:
            break
        time.sleep(0.5)
    assert {asset: made[asset]["payload"]["md5"] for asset in wanted} == wanted
    upstream = {one["prefect.resource.id"] for one in made["dvc://data/toy/join"]["related"]}
    assert {"dvc://data/toy/frames", "dvc://data/toy/other", "dvc"} <= upstream


def materialized(server) -> dict[str, dict]:
    body = {"filter": {"event": {"name": ["prefect.asset.materialization.succeeded"]}}, "limit": 50}
    events = server.ask("events/filter", body)["events"]  # the newest first
    return {event["resource"]["prefect.resource.id"]: event for event in reversed(events)}


def test_how_far_a_stage_is_can_be_seen(root, server):
    toy.plan(root, frames=["count"])
    run(root, server)
    (shown,) = [one for one in server.find("artifacts") if one["key"] == "frames-toy-progress"]
    assert (shown["type"], shown["data"], shown["description"]) == ("progress", 100.0, "done")


def test_independent_stages_run_at_the_same_time(finished):
    root, _ = finished
    frames, other = toy.span(root, "frames"), toy.span(root, "other")
    assert max(frames[0], other[0]) < min(frames[1], other[1])
    assert toy.span(root, "join")[0] > max(frames[1], other[1])


def test_outputs_and_lock_file_are_those_of_dvc_repro(finished, root):
    flow, _ = finished
    toy.dvc(root, "repro")
    assert toy.lock(root) == toy.lock(flow)
    for stage in toy.STAGES:
        assert (root / "data" / "toy" / stage).read_bytes() == (flow / "data" / "toy" / stage).read_bytes()
    assert "up to date" in toy.dvc(flow, "status", "join@toy").stdout


def test_a_second_run_looks_at_the_source_and_says_so(finished, server):
    root, _ = finished
    before = {stage: len(toy.attempts(root, stage)) for stage in toy.STAGES}
    reply = run(root, server)
    assert toy.statuses(reply) == RAN | dict.fromkeys(["frames", "other", "join"], "Cached")
    flow_run = json.loads(reply.stdout)["flow_run"]
    assert server.task_states(flow_run) == {
        "ingest": "Completed", "frames": "Cached", "other": "Cached", "join": "Cached",
    }  # fmt: skip
    assert json.loads(reply.stdout)["message"].startswith("nothing changed: ingest looked at the source, 3 stages")
    assert {stage: len(toy.attempts(root, stage)) - before[stage] for stage in toy.STAGES} == {
        "ingest": 1, "frames": 0, "other": 0, "join": 0,
    }  # fmt: skip


def test_from_a_stage_by_force(finished, server):
    root, _ = finished
    reply = run(root, server, "--from", "frames", "--force")
    assert toy.statuses(reply) == {"frames": "Ran", "join": "Ran"}


def test_a_failure_that_passes_is_retried(root, server):
    toy.plan(root, frames=["exit 75", "exit 75"])
    reply = run(root, server)
    assert toy.statuses(reply) == RAN
    assert len(toy.attempts(root, "frames")) == 3
    assert "attempt 3 of 4" in reply.stderr
    first, second, third = (float(line.split()[2]) for line in toy.attempts(root, "frames"))
    assert second - first > 3 and third - second > 6, "each retry waits twice as long as the one before"


@pytest.mark.parametrize("code, status", [(1, "Failed"), (2, "WrongRequest")])
def test_what_would_fail_again_is_not_retried_and_nothing_follows(root, server, code, status):
    toy.plan(root, frames=[f"exit {code}"])
    reply = run(root, server, code=code)
    assert len(toy.attempts(root, "frames")) == 1
    assert toy.statuses(reply) == {"ingest": "Ran", "frames": status, "other": "Ran", "join": "NotReady"}
    assert not toy.attempts(root, "join")
    assert "frames@toy: the footage is not there\n  remedy: bring footage" in reply.stderr
    assert "Traceback" not in reply.stderr
    flow_run = json.loads(reply.stdout)["flow_run"]
    (told,) = server.find("flow_runs", flow_runs={"id": {"any_": [flow_run]}})
    assert told["state"]["type"] == "FAILED"
    assert told["state"]["message"] == "frames@toy: the footage is not there\n  remedy: bring footage"


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_an_interrupted_run_leaves_nothing_behind_and_can_go_on(root, server, number, code, finished):
    toy.plan(root, frames=["sleep 100"])
    process = toy.popen(root, "run", toy.RECIPE, PREFECT_API_URL=server.api)
    stage = first_attempt(root, "frames", process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    assert not psutil.pid_exists(stage) or psutil.Process(stage).status() == psutil.STATUS_ZOMBIE
    assert not toy.attempts(root, "join")
    if number == signal.SIGTERM:
        toy.plan(root, frames=[])
        run(root, server)
        assert toy.lock(root) == toy.lock(finished[0])


def test_a_killed_stage_is_run_again(root, server, finished):
    toy.plan(root, frames=["sleep 100"])
    process = toy.popen(root, "run", toy.RECIPE, PREFECT_API_URL=server.api)
    os.kill(first_attempt(root, "frames", process), signal.SIGKILL)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert len(toy.attempts(root, "frames")) == 2
    assert toy.lock(root) == toy.lock(finished[0])


def test_without_a_server_and_with_an_empty_home(root, tmp_path):
    """The run brings its own server, and what it keeps stays in the workspace."""
    home = tmp_path / "home"
    home.mkdir()
    reply = toy.sightline(root, "run", toy.RECIPE, "--json", HOME=str(home))
    assert reply.returncode == 0, reply.stderr
    assert toy.statuses(reply) == RAN
    assert (root / ".sightline" / "prefect" / "prefect.db").exists()
    assert not list(home.rglob("*prefect*"))


def test_a_server_that_does_not_answer_is_named(root):
    url = f"http://127.0.0.1:{toy.free_port()}/api"
    reply = toy.sightline(root, "run", toy.RECIPE, PREFECT_API_URL=url)
    assert reply.returncode == 1
    assert url in reply.stderr and "remedy: " in reply.stderr and "Traceback" not in reply.stderr
    assert not toy.attempts(root, "ingest")


def first_attempt(root, stage, process) -> int:
    deadline = time.monotonic() + 300
    while not toy.attempts(root, stage):
        assert process.poll() is None and time.monotonic() < deadline, process.stdout.read()
        time.sleep(0.1)
    time.sleep(0.3)
    return int(toy.attempts(root, stage)[0].split()[0])
