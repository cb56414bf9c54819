"""Workers on the hosts that a file names."""

import os
import socket
import subprocess
import sys
import threading

import pytest

from components.core import distributed, hosts
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
    assert distributed._slots(2, None) == {} and distributed._ssh() == []
    monkeypatch.setenv(distributed.HOSTFILE, str(file))
    monkeypatch.setenv(distributed.SSH_PORT, "2222")
    monkeypatch.setenv(distributed.SSH_KEY, "/etc/key")
    assert distributed._slots(4, None) == distributed._slots(4, 1) == {"a": 2, "b": 1, "c": 1}
    assert distributed._ssh() == ["--ssh-port", "2222", "--ssh-identity-file", "/etc/key"]


@pytest.mark.parametrize(
    "text, workers, least, words",
    [
        ("a slots=1\n", 2, None, "1 slots for 2 workers"),
        ("a slots=two\n", 1, None, "two"),
        (None, 1, None, "No such file"),
        ("a slots=2\n", 2, 1, "one host, and none is left"),
    ],
)
def test_a_file_that_does_not_serve_is_refused(tmp_path, monkeypatch, text, workers, least, words):
    file = tmp_path / "hostfile"
    if text is not None:
        file.write_text(text)
    monkeypatch.setenv(distributed.HOSTFILE, str(file))
    with pytest.raises(UsageError, match=words):
        distributed.launch(workers, "worker", [], least)


@pytest.mark.parametrize("value", ["soon", "0", "-1"])
def test_a_silence_that_is_no_number_of_seconds_is_refused(tmp_path, monkeypatch, value):
    (tmp_path / "hostfile").write_text("a\nb\n")
    monkeypatch.setenv(distributed.HOSTFILE, str(tmp_path / "hostfile"))
    monkeypatch.setenv(distributed.SILENT, value)
    with pytest.raises(UsageError, match=f"SIGHTLINE_SILENT_S: '{value}'"):
        distributed.launch(2, "worker", [], 1)


class Server:
    """Takes connections at a port of 127.0.0.1 and greets with these words; with none it leaves them in the queue."""

    def __init__(self, words: bytes | None):
        self.words, self.socket = words, socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        if words is not None:
            threading.Thread(target=self._greet, daemon=True).start()

    def _greet(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                connection.sendall(self.words)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        self.socket.close()


def test_only_hosts_whose_ssh_answers_are_printed_and_the_file_is_read_each_time(tmp_path, monkeypatch):
    file, folder = tmp_path / "host file", tmp_path / "scripts"
    folder.mkdir()
    monkeypatch.setenv(distributed.HOSTFILE, str(file))
    with Server(b"SSH-2.0-OpenSSH_9.2\r\n") as ssh:
        monkeypatch.setenv(distributed.SSH_PORT, str(ssh.port))
        script = distributed._reached(folder)

        def printed() -> set[str]:
            return set(subprocess.run([script], check=True, capture_output=True, text=True, timeout=120).stdout.split())

        file.write_text("127.0.0.1 slots=2\nnobody.invalid slots=1\n")
        assert printed() == {"127.0.0.1:2"}
        file.write_text("127.0.0.1 slots=3\nlocalhost\n")
        assert printed() == {"127.0.0.1:3", "localhost:1"}
    assert printed() == set()


@pytest.mark.parametrize(
    "words, there", [(b"SSH-2.0-x\r\n", True), (b"HTTP/1.1 400\r\n", False), (b"", False), (None, False)]
)
def test_a_stopped_server_takes_connections_and_does_not_answer(words, there):
    with Server(words) as server:
        assert hosts.answers("127.0.0.1", server.port, within_s=60 if words is not None else 0.2) is there


def test_one_machine_goes_by_two_names(tmp_path):
    reply = subprocess.run([distributed._twice(tmp_path, 3)], check=True, capture_output=True, text=True)
    assert reply.stdout == "localhost:2\n127.0.0.1:1\n"


@pytest.mark.parametrize("told, used", [("lo", "lo"), ("eth77", "lo")])
def test_an_interface_that_is_not_there_gives_way_to_the_one_that_reaches_the_launcher(monkeypatch, told, used):
    monkeypatch.setenv("HOROVOD_GLOO_RENDEZVOUS_ADDR", "127.0.0.1")
    monkeypatch.setenv("HOROVOD_GLOO_IFACE", told)
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", told)
    distributed.name_interface()
    assert os.environ["HOROVOD_GLOO_IFACE"] == os.environ["NCCL_SOCKET_IFNAME"] == used
