"""A device at work: the archive's own code as a process, real footage, a real receiver."""

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from components.core.media import encode_jpeg, read_frames
from components.edge.build import build
from components.edge.device.cameras import source
from components.edge.device.release import unpack
from components.edge.ledger import fleet, records
from tests.edge import making
from tests.flows import toy
from tests.footage import picture, write_clip

LARGEST_MB = 200


def frames(store: Path) -> list[int]:
    return [row["frame"] for row in records(store)]


def test_a_clip_arrives_once_and_as_the_service_scores_it(root, unpacked, clip, receive, tmp_path):
    receiver = receive()
    arguments = ["run", "--camera", clip, "--state", tmp_path / "state", "--uplink", receiver.url]
    said = making.ended(making.edge(unpacked.folder, *arguments, "--precision", "float32"))
    assert "60 frames recorded, 0 records wait" in said
    rows = list(records(receiver.store))
    assert [row["frame"] for row in rows] == list(range(60))
    service = making.served(root / ".sightline" / "deployed" / making.RECIPE / "v3")
    pictures = [service.prepare(frame.rgb) for frame in read_frames(clip)]
    wanted = service.sequence(pictures)[:, 1]
    # Two builds of FFmpeg convert colours differently, in the last digits.
    assert np.abs(np.array([row["probabilities"]["suspicious"] for row in rows]) - wanted).max() < 0.01
    (device,) = fleet(receiver.store)
    assert (device["waiting"], device["missing"], device["model"]) == (0, 0, rows[0]["model"])
    assert rows[0]["model"] == unpacked.tag("float32")

    said = making.ended(making.edge(unpacked.folder, *arguments))  # the same file is known
    assert "0 frames recorded" in said and len(frames(receiver.store)) == 60


def test_a_link_that_comes_late(unpacked, clip, receive, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["run", "--camera", clip, "--state", tmp_path / "state", "--uplink", f"http://127.0.0.1:{port}"]
    said = making.ended(making.edge(unpacked.folder, *arguments, "--once"))  # does not wait for the link
    assert "60 frames recorded, 60 records wait" in said and "not reached" in said
    device = making.edge(unpacked.folder, *arguments)  # this one waits
    receiver = receive(port=port)
    making.ended(device)
    assert frames(receiver.store) == list(range(60))


def test_a_receiver_that_answers_nonsense_gets_nothing_deleted(unpacked, clip, tmp_path):
    class Portal(http.server.BaseHTTPRequestHandler):
        """What many a network answers in the receiver's place."""

        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>please log in</html>")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Portal)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    arguments = ["--camera", clip, "--state", tmp_path / "state", "--uplink", url, "--once"]
    said = making.ended(making.edge(unpacked.folder, "run", *arguments))
    server.shutdown()
    assert "without an acknowledgement" in said and "60 records wait" in said
    told = json.loads(making.ended(making.edge(unpacked.folder, "status", "--state", tmp_path / "state")))
    assert told["waiting"] == 60 and told["release"] == 0


def test_a_full_queue_waits_and_then_goes_on(unpacked, clip, receive, tmp_path):
    receiver = receive(token="word")
    (tmp_path / "state").mkdir()
    token = tmp_path / "token"
    token.write_text("wrong\n")
    settings = f'[queue]\nlimit_mb = 0.01\nevery_s = 0\n[uplink]\ntoken_file = "{token}"\nretry_max_s = 0.5\n'
    (tmp_path / "state" / "config.toml").write_text(settings)
    arguments = ["run", "--camera", clip, "--state", tmp_path / "state", "--uplink", receiver.url]
    said = making.ended(making.edge(unpacked.folder, *arguments, "--once"), 1)
    assert "answers 401" in said and "the queue is full" in said and "remedy" in said
    token.write_text("word\n")
    making.ended(making.edge(unpacked.folder, *arguments))
    assert frames(receiver.store) == list(range(60))


def test_what_was_stopped_in_the_middle_goes_on_as_if_it_had_not_been(unpacked, receive, tmp_path):
    clip, receiver = write_clip(tmp_path / "long.mp4", frames=1000), receive()
    for name in ("stopped", "whole"):
        arguments = ["run", "--camera", clip, "--state", tmp_path / name]
        if name == "stopped":
            device = making.edge(unpacked.folder, *arguments)
            device.stdout.readline()  # it looks at the clip
            device.send_signal(signal.SIGTERM)
            assert "frames recorded" in making.ended(device)
        making.ended(making.edge(unpacked.folder, *arguments, "--uplink", receiver.url))
    one, other = (
        [(row["frame"], row["score"]) for row in records(receiver.store, device["device"])]
        for device in fleet(receiver.store)
    )
    assert len(one) == 1000 and one == other


class Camera(http.server.BaseHTTPRequestHandler):
    """A camera that speaks Motion JPEG over HTTP and loses every viewer after 30 pictures."""

    viewers = 0

    def do_GET(self):
        type(self).viewers += 1
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for number in range(30):
            content = encode_jpeg(picture(number), 80)
            self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(content))
            self.wfile.write(content + b"\r\n")
            time.sleep(0.02)

    def log_message(self, *_):
        pass


def test_a_live_camera_is_opened_again_when_lost(unpacked, receive, tmp_path):
    receiver = receive()
    Camera.viewers = 0
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://user:secret@127.0.0.1:{server.server_port}/stream"
    arguments = ["run", "--camera", address, "--state", tmp_path / "state", "--uplink", receiver.url]
    device = making.edge(unpacked.folder, *arguments)
    making.wait_for(
        lambda: Camera.viewers > 1 and (receiver.store / "receiver.sqlite").exists() and fleet(receiver.store)
    )
    making.wait_for(lambda: len(frames(receiver.store)) > 10)
    device.send_signal(signal.SIGTERM)
    said = making.ended(device)
    server.shutdown()
    rows = list(records(receiver.store))
    assert "opened again" in said and "secret" not in said and "secret" not in json.dumps(rows)
    numbers = [row["frame"] for row in rows]
    assert numbers == sorted(set(numbers)) and rows[0]["camera"] == f"http://127.0.0.1:{server.server_port}/stream"


class Gone(Camera):
    """One that no viewer gets a second time."""

    def do_GET(self):
        super().do_GET() if self.viewers == 0 else self.send_error(503)


def gone() -> tuple[http.server.ThreadingHTTPServer, str]:
    """Such a camera, and its address."""
    kind = type("Once", (Gone,), {"viewers": 0})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}/stream"


def test_what_waits_for_a_lost_camera_does_not_wait_for_its_return(unpacked, receive, tmp_path):
    """Neither the last frames, which neighbours that never come would be looked at with, nor records to be stored."""
    receiver = receive()
    server, address = gone()
    capture, last = cv2.VideoCapture(address, cv2.CAP_FFMPEG), -1
    while capture.grab():
        last += 1
    capture.release()
    server.shutdown()
    assert last > 20
    server, address = gone()
    (tmp_path / "config.toml").write_text('[camera]\nfps = "1000"\n[queue]\nevery_s = 0.5\n')  # every frame
    arguments = ["--camera", address, "--state", tmp_path / "state", "--config", tmp_path / "config.toml"]
    device = making.edge(unpacked.folder, "run", *arguments, "--uplink", receiver.url)
    making.wait_for(lambda: (receiver.store / "receiver.sqlite").exists())
    making.wait_for(lambda: last in frames(receiver.store))
    device.send_signal(signal.SIGTERM)
    said = making.ended(device)
    server.shutdown()
    assert f"{len(frames(receiver.store))} frames recorded" in said


def test_a_file_is_known_by_what_is_in_it_not_by_its_time(tmp_path):
    """FAT keeps two seconds, in local time: another file may have the same time, and the same file another."""
    card = tmp_path / "card"
    card.mkdir()
    one, other = card / "one.jpg", card / "other.jpg"
    content = [encode_jpeg(picture(seed), 90) for seed in range(2)]
    content = [body.ljust(1 << 20, b"\0") for body in content]  # of one size, as cameras make room for files
    content.append(content[0][:-1] + b"\1")

    def key(file: Path, body: bytes, second: int) -> str:
        file.write_bytes(body)
        os.utime(file, (second, second))
        (look,) = source(str(file), None).looks(threading.Event())
        return look.key

    first = key(one, content[0], 1000)
    assert key(one, content[1], 1000) != first, "another picture of the same size and time"
    assert key(one, content[2], 1000) != first, "another end"
    assert key(one, content[0], 4600) == first, "the same picture, an hour off"
    assert key(other, content[0], 1000) != first


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--camera", "nowhere.mp4"], "not there"),
        ([], "name a camera"),
        (["--camera", "{clip}", "--uplink", "ftp://x"], "is no http address"),
        (["--camera", "{clip}", "--config", "nowhere.toml"], "not there"),
        (["--camera", "{clip}", "--config", "{config}"], "did you mean 'threads'?"),
    ],
)
def test_a_wrong_request_ends_with_2(unpacked, clip, tmp_path, options, says):
    (tmp_path / "config.toml").write_text("[model]\nthread = 1\n")
    named = [one.format(clip=clip, config=tmp_path / "config.toml") for one in options]
    said = making.ended(making.edge(unpacked.folder, "run", "--state", tmp_path / "state", *named), 2)
    assert says in said and "Traceback" not in said


def test_the_sightline_command_runs_an_archive(archive, clip, receive, tmp_path):
    receiver = receive()
    environ = os.environ | {"SIGHTLINE_WORKSPACE": str(tmp_path)}
    state, run = tmp_path / "state", [sys.executable, "-m", "flows.cli", "edge"]
    command = [*run, "run", archive, "--camera", os.path.relpath(clip, toy.PROJECT), "--state", state]
    command += ["--uplink", receiver.url, "--once"]
    done = subprocess.run(list(map(str, command)), cwd=toy.PROJECT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert frames(receiver.store) == list(range(60))
    command = [*run, "fleet", "--store", str(receiver.store), "--json"]
    done = subprocess.run(command, cwd=toy.PROJECT, env=environ, capture_output=True, text=True)
    assert [row["records"] for row in json.loads(done.stdout)] == [60]


def test_the_default_backbone_fits_a_small_device(tmp_path_factory, monkeypatch):
    """As the recipe `sensor` has it, pictures of 640x480; the peak of the runner's memory, as the system tells it."""
    folder = tmp_path_factory.mktemp("default")
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(folder))
    recipe = making.champion(folder, {"size": [160, 208], "parts": ["mean", "max"], "weights": "shipped"})
    build(recipe, folder / "default.tar.gz", 0.5)
    release = unpack(folder / "default.tar.gz", folder / "release")
    clip = write_clip(folder / "clip.mp4", frames=90, size=(640, 480))
    arguments = ["run", "--camera", clip, "--state", folder / "state", "--precision", "float32"]  # the larger one
    device = making.edge(release.folder, *arguments, stdout=subprocess.DEVNULL)
    peak = making.peak_mb(device)
    assert device.returncode == 0 and 30 < peak < LARGEST_MB, f"{peak:.0f} MB"
