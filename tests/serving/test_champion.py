"""Following the champion: swaps under load, broken bundles, the beginning and the end of a service."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest

from components.core.bundle import POINTER, Pointer, read_bundle, write_manifest
from tests.deployment.making import RECIPE
from tests.serving.conftest import ROOT, publish, wait_for
from tests.serving.test_service import encoded, expected

PNG = {"content-type": "image/png"}


@pytest.fixture
def deployed(tmp_path):
    return tmp_path / ".sightline" / "deployed" / RECIPE


def test_nothing_deployed_then_a_champion(start, deployed, bundles):
    service = start()
    assert httpx.get(f"{service.url}/readyz", timeout=60).status_code == 503
    wait_for(lambda: "no champion was deployed" in service.ready()["error"])  # it has looked
    refused = httpx.post(f"{service.url}/v1/predict", content=encoded(1), headers=PNG, timeout=60)
    assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
    assert httpx.get(f"{service.url}/healthz", timeout=60).status_code == 200
    assert "no model yet" in httpx.get(f"{service.url}/", timeout=60).text
    service.point(publish(deployed, bundles[1], 1))
    wait_for(lambda: service.serves(1))


def test_a_swap_under_load_loses_no_request_and_mixes_no_answer(start, deployed, bundles):
    pointers = {number: publish(deployed, bundles[number], number) for number in (1, 2)}
    content = encoded(4)
    wanted = {number: float(expected(bundles[number], content)[1]) for number in (1, 2)}
    assert abs(wanted[1] - wanted[2]) > 1e-4
    service = start()
    service.point(pointers[1])
    wait_for(lambda: service.serves(1))
    stop, answers, failures = threading.Event(), [], []

    def ask() -> None:
        with httpx.Client(timeout=60) as client:
            while not stop.is_set():
                try:
                    answer = client.post(f"{service.url}/v1/predict", content=content, headers=PNG)
                    answers.append((answer.status_code, answer.headers["x-sightline-model"], answer.json()))
                except Exception as error:
                    failures.append(error)

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    for version in (2, 1, 2):
        service.point(pointers[version])
        wait_for(lambda v=version: service.serves(v))
        before = len(answers)
        wait_for(lambda b=before: len(answers) > b + 8 or failures)
    stop.set()
    for client in clients:
        client.join()
    assert not failures and {status for status, *_ in answers} == {200}
    for _, header, body in answers:
        version = body["model"]["version"]
        assert body["model"]["digest"] == pointers[version].digest
        assert header == f"toy/v{version}@{pointers[version].digest[:12]}"
        assert body["results"][0]["score"] == pytest.approx(wanted[version], abs=1e-5)
    assert {body["model"]["version"] for *_, body in answers} == {1, 2}


def test_a_broken_champion_is_not_served_and_the_old_one_goes_on(start, deployed, bundles):
    first = publish(deployed, bundles[1], 1)
    second = publish(deployed, bundles[2], 2)
    service = start()
    service.point(first)
    wait_for(lambda: service.serves(1))

    def stays(says: str) -> None:
        wait_for(lambda: says in str(service.ready()["problem"]))
        answer = httpx.post(f"{service.url}/v1/predict", content=encoded(1), headers=PNG, timeout=60)
        assert answer.status_code == 200 and answer.json()["model"]["version"] == 1

    graph = deployed / "v2" / "model.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-1])
    service.point(second)
    stays("its bytes are not those the bundle names")

    # Digests that fit one another, but not the pointer: somebody built another bundle in its place.
    write_manifest(deployed / "v2", read_bundle(deployed / "v2", verify=False))
    service.point(Pointer(2, "v2", "0" * 64))
    stays("is not the bundle that the pointer names")

    # A bundle whose graph does not run, with all digests right.
    service.point(Pointer(2, "v2", read_bundle(deployed / "v2").digest))
    stays("cannot be run")

    service.point(Pointer(3, "v3", first.digest))
    stays("v3")
    (deployed / POINTER).write_text("no JSON")
    stays(POINTER)
    (deployed / POINTER).unlink()
    stays("no champion was deployed")

    shutil.copytree(bundles[2], deployed / "v2", dirs_exist_ok=True)
    service.point(second)
    wait_for(lambda: service.serves(2))
    assert service.ready()["problem"] is None


def test_a_broken_bundle_that_is_mended_in_its_place_is_taken_up(start, deployed, bundles):
    """The pointer may be seen a moment before the folder: the same pointer is tried again."""
    pointer = publish(deployed, bundles[1], 1)
    graph = deployed / "v1" / "model.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(b"")
    service = start()
    service.point(pointer)
    wait_for(lambda: "bytes" in service.ready().get("error", ""))
    graph.write_bytes(whole)
    wait_for(lambda: service.serves(1))


def test_asked_to_end_it_finishes_what_is_under_way(start, deployed, bundles):
    service = start()
    service.point(publish(deployed, bundles[1], 1))
    wait_for(lambda: service.serves(1))
    content = encoded(1)
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        head = (
            f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(content)}\r\n"
            "Expect: 100-continue\r\n\r\n"
        )
        connection.sendall(head.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 100"), "the request is under way"
        connection.sendall(content[:100])
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        connection.sendall(content[100:])
        reply = b""
        while block := connection.recv(65536):
            reply += block
    assert reply.startswith(b"HTTP/1.1 200") and json.loads(reply.split(b"\r\n\r\n", 1)[1])["results"]
    assert service.process.wait(20) == 0
    assert service.log.read_text().rstrip().endswith("ended")


def test_a_port_that_is_taken_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "components.serving", "--recipe", RECIPE, "--port", port]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr and "choose another" in done.stderr
    assert "Traceback" not in done.stderr
