"""Background processes: found again, ended with their children, and never mistaken for another."""

import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from flows import processes, services
from tests.flows import toy

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
# A parent with a worker in its group, as servers have; the second line of its log is the worker's number.
FAMILY = [
    sys.executable, "-c",
    f"import subprocess, time; p = subprocess.Popen({SLEEP!r}); print(p.pid, flush=True); time.sleep(60)",
]  # fmt: skip


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path))
    yield tmp_path
    for name in processes.recorded():
        processes.forget(name)


def lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def worker_of(name: str) -> int:
    deadline = time.monotonic() + 20
    while not (lines := [line for line in processes.last_lines(name).splitlines() if line.isdigit()]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return int(lines[0])


def test_started_found_and_stopped_with_its_children(workspace):
    running = processes.start("one", FAMILY, "http://x", {})
    worker = worker_of("one")
    assert processes.find("one") == running
    processes.stop(running)
    assert processes.find("one") is None and processes.recorded() == []
    assert not lives(running.pid) and not lives(worker)


def test_a_killed_servers_workers_are_ended_too(workspace):
    running = processes.start("one", FAMILY, "http://x", {})
    worker = worker_of("one")
    os.kill(running.pid, 9)
    deadline = time.monotonic() + 20
    while lives(running.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes.find("one") is None and lives(worker)
    processes.forget("one")
    assert not lives(worker)


def test_the_leader_hears_before_its_children(workspace, monkeypatch):
    """DVC that was interrupted after its child had died was caught writing its file of locks, and left it empty."""
    many = (
        f"import subprocess, time; [subprocess.Popen({SLEEP!r}) for _ in range(8)]; "
        "print(1, flush=True); time.sleep(60)"
    )
    running = processes.start("one", [sys.executable, "-c", many], "http://x", {})
    worker_of("one")
    told = []
    send = psutil.Process.send_signal

    def sent(process, number):
        told.append(process.pid)
        send(process, number)

    monkeypatch.setattr(psutil.Process, "send_signal", sent)
    processes.stop(running)
    assert told[0] == running.pid and len(set(told)) == 9


def test_a_number_that_went_to_another_program_is_left_alone(workspace):
    bystander = subprocess.Popen(SLEEP, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        processes.record("one").parent.mkdir(parents=True)
        body = {"name": "one", "pid": bystander.pid, "started": time.time() - 3600, "url": ""}
        processes.record("one").write_text(json.dumps(body))
        assert processes.find("one") is None
        assert services.down(print) == []
        assert bystander.poll() is None and processes.recorded() == []
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
def test_a_damaged_record_counts_as_not_running(workspace, text):
    processes.record("one").parent.mkdir(parents=True)
    processes.record("one").write_text(text)
    assert processes.find("one") is None


def test_one_that_does_not_heed_term_is_killed(workspace, monkeypatch):
    monkeypatch.setattr(processes, "GRACE_S", 0.5)
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    )
    running = processes.start("one", [sys.executable, "-c", stubborn], "", {})
    worker_of("one")
    processes.stop(running)
    assert not lives(running.pid)


def test_a_port_that_another_holds_is_named(workspace):
    port = toy.free_port()
    service = services.Service("mlflow", SLEEP, f"http://127.0.0.1:{port}", port, lambda: True)
    services._check_port(service)
    import socket

    with socket.create_server(("127.0.0.1", port)):
        with pytest.raises(services.SightlineError, match=f"port {port} is held") as told:
            services._check_port(service)
    assert "--mlflow-port" in told.value.remedy
