"""What is pushed for Prometheus: read back by Prometheus' own parser, and taken by a server."""

import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from prometheus_client.parser import text_string_to_metric_families

from flows import gauges
from tests.flows.toy import free_port

FOUND = {
    "tests": [
        {"name": "brightness", "kind": "data", "p_value": 2e-05, "shift": -1.5, "drifted": True},
        {"name": 'odd "name"\\', "kind": "novelty", "p_value": 0.4, "shift": float("inf"), "drifted": False},
    ],
    "drifted": ["data"], "stale": True, "age_days": 41.2,
}  # fmt: skip


def samples(text: str) -> dict[tuple, float]:
    families = text_string_to_metric_families(text)
    return {(one.name, *sorted(one.labels.items())): one.value for family in families for one in family.samples}


def test_prometheus_reads_what_was_found():
    read = samples(gauges.exposition(FOUND, 1_796_000_000.25))
    found = {labels[0][1]: value for (name, *labels), value in read.items() if name == "sightline_drift_found"}
    assert found == {"data": 1, "novelty": 0, "predictions": 0, "decay": 0, "quarantine": 0, "stale": 1}
    assert read["sightline_drift_shift", ("kind", "data"), ("name", "brightness")] == -1.5
    assert read["sightline_drift_p_value", ("kind", "data"), ("name", "brightness")] == 2e-05
    assert read["sightline_drift_shift", ("kind", "novelty"), ("name", 'odd "name"\\')] == float("inf")
    assert read["sightline_champion_age_days",] == 41.2
    assert read["sightline_drift_checked_seconds",] == 1_796_000_000.25


def test_the_recipes_group_is_put_in_its_place(monkeypatch):
    asked, codes = [], [200, 500]

    class Gateway(BaseHTTPRequestHandler):
        def do_PUT(self):
            asked.append((self.path, self.rfile.read(int(self.headers["Content-Length"])).decode()))
            self.send_response(codes[len(asked) - 1])
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Gateway)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        monkeypatch.setenv(gauges.GATEWAY, f"http://127.0.0.1:{server.server_port}/")
        assert gauges.push("digits", FOUND, 1.0) == ""
        assert "500" in gauges.push("digits", FOUND, 1.0)
    finally:
        server.shutdown()
        server.server_close()
    assert asked[0] == ("/metrics/job/sightline-drift/recipe/digits", gauges.exposition(FOUND, 1.0))


def test_without_a_gateway_nothing_is_pushed_and_one_that_is_gone_is_said(monkeypatch):
    monkeypatch.delenv(gauges.GATEWAY, raising=False)
    assert gauges.push("digits", FOUND, 1.0) == ""
    monkeypatch.setenv(gauges.GATEWAY, f"http://127.0.0.1:{free_port()}")
    assert "refused" in gauges.push("digits", FOUND, 1.0)
    for wrong, said in (("pushgateway", "unknown url type"), ("http://gateway:port", "port"), ("http://a b", "a b")):
        monkeypatch.setenv(gauges.GATEWAY, wrong)
        assert said in gauges.push("digits", FOUND, 1.0)


def test_what_speaks_no_http_fails_no_check(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"220 mail.example.org\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        monkeypatch.setenv(gauges.GATEWAY, f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert "220 mail" in gauges.push("digits", FOUND, 1.0)
        thread.join(60)


def test_a_real_gateway_takes_them(monkeypatch):
    program = shutil.which("prometheus-pushgateway") or shutil.which("pushgateway")
    if not program:
        pytest.skip("there is no pushgateway (Debian: prometheus-pushgateway)")
    url = f"http://127.0.0.1:{(port := free_port())}"
    process = subprocess.Popen([program, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
    try:
        monkeypatch.setenv(gauges.GATEWAY, url)
        deadline = time.monotonic() + 60
        while gauges.push("digits", FOUND, 1.0):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        assert gauges.push("digits", FOUND | {"tests": FOUND["tests"][:1]}, 2.0) == ""
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as reply:
            read = samples(reply.read().decode())
    finally:
        process.terminate()
        process.wait()
    mine = {key: value for key, value in read.items() if ("recipe", "digits") in key}
    shifts = [key for key in mine if key[0] == "sightline_drift_shift"]
    assert len(shifts) == 1, "the last check's tests are in the place of those before"
    (checked,) = [value for key, value in mine.items() if key[0] == "sightline_drift_checked_seconds"]
    assert checked == 2.0
