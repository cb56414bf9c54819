"""One stage as a process: what ran, what was skipped, how it failed, and whose locks it waits for."""

import json
import os
import subprocess
import sys
import threading
import time

import psutil
import pytest

from components.core.errors import MAY_PASS
from flows.graph import read_graph
from flows.needs import needs
from flows.runners import local
from flows.runners.local import StageFailed, Stages, Stopped, last_words
from tests.flows import toy


@pytest.fixture
def nodes(root):
    return {node.stage: node for node in read_graph(toy.RECIPE)}


def run_stage(node, stages=None, timeout_s=None, **options):
    """The stage, alone unless `stages` are given."""
    needed = needs(node.stage).model_copy(update={"timeout_s": timeout_s})
    return local.run_stage(node, stages or Stages(), needed, **options)


def ignore(line: str) -> None:
    pass


def test_ran_then_cached_then_forced(root, nodes):
    lines = []
    assert run_stage(nodes["ingest"], log=lines.append).status == "ran"
    assert lines == ["ingest looks at 1 inputs"], "DVC's own lines are not the stage's"
    assert run_stage(nodes["frames"], log=lines.append, env={"SIGHTLINE_FLOW_RUN_ID": "abc"}).status == "ran"
    assert toy.attempts(root, "frames")[0].split()[1] == "abc"
    assert run_stage(nodes["frames"], log=lines.append).status == "cached"
    assert len(toy.attempts(root, "frames")) == 1
    assert run_stage(nodes["frames"], force=True, log=lines.append).status == "ran"
    assert len(toy.attempts(root, "frames")) == 2


def test_a_stage_that_always_looks_runs_each_time(root, nodes):
    for number in (1, 2):
        assert run_stage(nodes["ingest"], log=ignore).status == "ran"
        assert len(toy.attempts(root, "ingest")) == number


def test_outputs_of_an_earlier_equal_run_are_put_back(root, nodes):
    for stage in ("ingest", "frames"):
        run_stage(nodes[stage], log=ignore)
    (root / "data" / "toy" / "frames").unlink()
    result = run_stage(nodes["frames"], log=ignore)
    assert (result.status, len(toy.attempts(root, "frames"))) == ("cached", 1)
    assert "put back" in result.message and (root / "data" / "toy" / "frames").exists()


@pytest.mark.parametrize("code, expected", [(1, 1), (2, 2), (3, 1), (75, 75)])
def test_a_failure_speaks_in_the_stages_own_words(root, nodes, code, expected):
    toy.plan(root, ingest=[f"exit {code}"])
    with pytest.raises(StageFailed) as told:
        run_stage(nodes["ingest"], log=ignore)
    assert told.value.exit_code == expected
    assert told.value.problem == "ingest@toy: the footage is not there"
    assert told.value.remedy == "bring footage"


def test_a_killed_stage_says_by_which_signal(root, nodes):
    toy.plan(root, ingest=["sleep 60"])
    told = in_background(nodes["ingest"])
    stage = wait_for(lambda: toy.attempts(root, "ingest"))[0].split()[0]
    os.kill(int(stage), 9)
    error = told()
    assert isinstance(error, StageFailed) and "signal 9" in error.problem and error.exit_code == MAY_PASS


def test_a_stage_that_takes_too_long_is_ended(root, nodes):
    toy.plan(root, ingest=["sleep 60"])
    began = time.monotonic()
    with pytest.raises(StageFailed, match="not done after 2 s"):
        run_stage(nodes["ingest"], log=ignore, timeout_s=2)
    assert time.monotonic() - began < 50
    assert_gone(root, "ingest")


def test_stopping_ends_the_stage_and_its_children(root, nodes):
    toy.plan(root, ingest=["sleep 60"])
    stages = Stages()
    told = in_background(nodes["ingest"], stages)
    wait_for(lambda: toy.attempts(root, "ingest"))
    stages.stop()
    assert isinstance(told(), Stopped)
    assert_gone(root, "ingest")
    held = json.loads((root / ".dvc" / "tmp" / "rwlock").read_text())
    assert not any(held.values()), "DVC had the time to release its locks"
    with pytest.raises(Stopped):
        run_stage(nodes["ingest"], stages, log=ignore)


def test_a_missing_input_is_said_by_dvc(root, nodes):
    with pytest.raises(StageFailed, match="data/toy/ingest"):
        run_stage(nodes["frames"], log=ignore)


def test_waits_for_another_process_of_dvc(root, nodes):
    """A plain `dvc repro` in another terminal must delay the run, not fail it."""
    run_stage(nodes["ingest"], log=ignore)
    toy.plan(root, frames=["until heard"])
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", "frames@toy"]
    other = subprocess.Popen(command, cwd=root, env=toy.environment(root), stdout=subprocess.DEVNULL)
    wait_for(lambda: toy.attempts(root, "frames"))
    lines = []

    def log(line: str) -> None:
        lines.append(line)
        if "waiting for another DVC process" in line:
            (root / "heard").touch()

    result = run_stage(nodes["frames"], log=log)
    assert other.wait() == 0
    assert result.status == "cached" and len(toy.attempts(root, "frames")) == 1
    assert any("waiting for another DVC process" in line for line in lines)


def test_a_lock_of_a_dead_run_whose_number_lives_on_is_released(root, nodes):
    run_stage(nodes["ingest"], log=ignore)
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        held = {"pid": bystander.pid, "cmd": "dvc repro --single-item frames@toy"}
        path = str(root / "data" / "toy" / "frames")
        (root / ".dvc" / "tmp" / "rwlock").write_text(json.dumps({"write": {path: held}, "read": {path: [held]}}))
        began = time.monotonic()
        assert run_stage(nodes["frames"], log=ignore).status == "ran"
        assert time.monotonic() - began < 50
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize("text", ["", '{"write": {', "[]"])
def test_a_file_of_locks_that_a_kill_left_half_written_is_no_obstacle(root, nodes, text):
    run_stage(nodes["ingest"], log=ignore)
    for force in (False, True):
        (root / ".dvc" / "tmp" / "rwlock").write_text(text)
        assert run_stage(nodes["frames"], log=ignore, force=force).status == "ran"


def test_all_at_once_and_no_lock_fails(root, nodes):
    run_stage(nodes["ingest"], log=ignore)
    told = [in_background(nodes[stage]) for stage in ("frames", "other", "frames", "other")]
    assert [wait() for wait in told] == [None] * 4
    assert run_stage(nodes["join"], log=ignore).status == "ran"


@pytest.mark.parametrize(
    "lines, problem, remedy",
    [
        (["noise", "a@r: bad file", "  remedy: mend it"], "a@r: bad file", "mend it"),
        (["a@r: 3 of 9 done", "a@r: bad", "more of it", "  remedy: mend it", "bye"], "a@r: bad\nmore of it", "mend it"),
        (["a@r: 3 of 9 done", "Traceback (most", "ValueError: 7"], "a@r: ValueError: 7", "*"),
        (["Traceback (most recent call last):", "  File x", "ValueError: 7", ""], "a@r: ValueError: 7", "*"),
        (["usage: a", "a: error: --recipe is missing"], "a@r: a: error: --recipe is missing", "*"),
        ([], "", ""),
    ],
)
def test_last_words(lines, problem, remedy):
    told = last_words("a@r", lines)
    assert told[0] == problem
    assert told[1] == remedy or (remedy == "*" and told[1])


def in_background(node, stages=None):
    """Starts the stage in a thread; the function returned waits for it and gives what it raised, or None."""
    raised: list[BaseException | None] = [None]

    def work():
        try:
            run_stage(node, stages, log=ignore)
        except BaseException as error:
            raised[0] = error

    thread = threading.Thread(target=work)
    thread.start()

    def wait():
        thread.join(300)
        assert not thread.is_alive()
        return raised[0]

    return wait


def wait_for(what, seconds: float = 30):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


def assert_gone(root, stage):
    for line in toy.attempts(root, stage):
        pid = int(line.split()[0])
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
