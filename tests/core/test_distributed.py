"""Workers on the hosts that a file names."""

import os
import subprocess
import sys

import pytest

from components.core import distributed
from components.core.errors import UsageError

WORKER = """
import pathlib, sys
import horovod.torch as hvd

hvd.init()
pathlib.Path(sys.argv[1], str(hvd.rank())).write_text(str(hvd.size()))
hvd.shutdown()
"""


def test_workers_are_started_on_the_hosts_of_the_file(tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    (tmp_path / "hostfile").write_text("localhost slots=2\n\n")
    call = f"from components.core.distributed import launch; launch(2, 'worker', [{str(tmp_path)!r}])"
    env = os.environ | {
        "SIGHTLINE_HOSTFILE": str(tmp_path / "hostfile"),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.getcwd()]),
    }
    reply = subprocess.run([sys.executable, "-c", call], env=env, capture_output=True, text=True, timeout=300)
    assert reply.returncode == 0, reply.stderr
    assert [(tmp_path / rank).read_text() for rank in ("0", "1")] == ["2", "2"]


def test_what_the_launcher_is_told(tmp_path, monkeypatch):
    file = tmp_path / "hostfile"
    file.write_text("a slots=2\nb slots=1\nc\n")
    assert distributed._hosts(2, None) == []
    monkeypatch.setenv(distributed.HOSTFILE, str(file))
    monkeypatch.setenv(distributed.SSH_PORT, "2222")
    monkeypatch.setenv(distributed.SSH_KEY, "/etc/key")
    told = ["-H", "a:2,b:1,c:1", "--ssh-port", "2222", "--ssh-identity-file", "/etc/key"]
    assert distributed._hosts(4, None) == told


@pytest.mark.parametrize(
    "text, workers, least, words",
    [
        ("a slots=1\n", 2, None, "1 slots for 2 workers"),
        ("a slots=two\n", 1, None, "two"),
        (None, 1, None, "No such file"),
        ("a slots=2\n", 2, 1, "elastic workers"),
    ],
)
def test_a_file_that_does_not_serve_is_refused(tmp_path, monkeypatch, text, workers, least, words):
    file = tmp_path / "hostfile"
    if text is not None:
        file.write_text(text)
    monkeypatch.setenv(distributed.HOSTFILE, str(file))
    with pytest.raises(UsageError, match=words):
        distributed.launch(workers, "worker", [], least)
