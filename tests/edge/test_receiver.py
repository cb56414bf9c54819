"""The receiver's contract: each record once by (device, sequence), and what is refused."""

import json
import sqlite3

import httpx
import pytest

from components.core.errors import SightlineError
from components.edge.device.uplink import ABOUT, KEY, PATH
from components.edge.ledger import Ledger, fleet, records
from components.edge.tokens import Tokens
from tests.edge import making


@pytest.fixture(scope="module")
def receiver(tmp_path_factory):
    folder = tmp_path_factory.mktemp("receiver")
    (folder / "releases").mkdir()
    (folder / "releases" / "release.json").write_text("{}")
    (folder / "secret").write_text("secret")
    running = making.Receiver(folder, f"--releases={folder / 'releases'}", token="word")
    yield running
    running.end()


def lines(first: int, last: int, score: float = 0.5) -> bytes:
    rows = ({"sequence": number, "record": {"frame": number, "score": score}} for number in range(first, last + 1))
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def post(receiver, key: str, body: bytes, about: dict | None = None, token: str = "word") -> httpx.Response:
    headers = {KEY: key, ABOUT: json.dumps(about or {}), "Authorization": f"Bearer {token}"}
    return httpx.post(receiver.url + PATH, content=body, headers=headers, timeout=60)


def kept(receiver, device: str) -> list[int]:
    return [row["sequence"] for row in records(receiver.store, device)]


def test_a_batch_is_kept_once_however_often_it_comes(receiver):
    for new in (3, 0, 0):
        answer = post(receiver, "one/1-3", lines(1, 3))
        assert answer.status_code == 200 and answer.json() == {"acknowledged": [1, 3], "new": new}
    assert post(receiver, "one/2-5", lines(2, 5)).json() == {"acknowledged": [2, 5], "new": 2}
    assert kept(receiver, "one") == [1, 2, 3, 4, 5]


def test_devices_have_numbers_of_their_own(receiver):
    assert post(receiver, "two/1-2", lines(1, 2)).json()["new"] == 2
    assert post(receiver, "three/1-2", lines(1, 2, 0.7)).json()["new"] == 2
    assert [row["score"] for row in records(receiver.store, "three")] == [0.7, 0.7]


def test_two_devices_with_one_id_are_a_conflict_and_nothing_is_kept_of_the_batch(receiver):
    post(receiver, "copied/1-2", lines(1, 2))
    answer = post(receiver, "copied/2-4", lines(2, 4, 0.9))
    assert answer.status_code == 409 and "--state" in answer.json()["remedy"]
    assert kept(receiver, "copied") == [1, 2]


def test_the_fleet_knows_what_a_device_said_last(receiver):
    told = {"device": "four", "model": "toy/v3@0/int8", "release": 7, "waiting": 12, "dropped": 1}
    told["camera"] = "gate\u202fPM"  # a space as some systems have it in the names of recordings
    post(receiver, "four/3-4", lines(3, 4), told)
    answer = post(receiver, "four/0-0", b"", told | {"waiting": 0, "release": 8})
    assert answer.json() == {"acknowledged": [0, 0], "new": 0}
    (row,) = [row for row in fleet(receiver.store) if row["device"] == "four"]
    assert (row["model"], row["release"], row["waiting"], row["camera"]) == ("toy/v3@0/int8", 8, 0, "gate\u202fPM")
    assert row["records"] == 2 and row["missing"] == 1  # of 1 and 2 one was dropped
    assert row["first_seen"] < row["last_seen"]
    over = httpx.get(f"{receiver.url}/v1/fleet", headers={"Authorization": "Bearer word"}, timeout=60).json()
    assert [one["device"] for one in over] == [one["device"] for one in fleet(receiver.store)]


@pytest.mark.parametrize(
    ("key", "body", "about", "status"),
    [
        ("", lines(1, 1), {}, 400),
        ("no key", lines(1, 1), {}, 400),
        ("../x/1-1", lines(1, 1), {}, 400),
        ("bad/1-2", lines(1, 1), {}, 400),
        ("bad/1-1", lines(1, 2), {}, 400),
        ("bad/2-1", b"", {}, 400),
        ("bad/0-0", lines(0, 0), {}, 400),
        ("bad/1-3", lines(1, 1) + lines(3, 3) + lines(2, 2), {}, 400),
        ("bad/1-1", b"{", {}, 400),
        ("bad/1-1", b"[" * 100_000, {}, 400),
        ("bad/1-1", b'{"sequence": true, "record": {}}', {}, 400),
        ("bad/1-1", b'{"sequence": 1, "record": "x"}', {}, 400),
        ("bad/1-1", b'{"sequence": 1}', {}, 400),
        ("bad/1-1", b"\xff\xfe", {}, 400),
        ("bad/1-1", lines(1, 1), {"device": "good"}, 400),
        ("bad/1-1", lines(1, 1), {"release": [1]}, 400),
        ("bad/1-1", lines(1, 1), {"release": 1 << 70}, 400),
        ("bad/1-1", lines(1, 1), {"model": "\ud800"}, 400),
        ("bad/1-1", b" " * (17 << 20), {}, 413),
    ],
)
def test_what_is_no_batch_is_refused_whole(receiver, key, body, about, status):
    answer = post(receiver, key, body, about)
    assert answer.status_code == status and set(answer.json()) == {"error", "remedy"}
    assert kept(receiver, "bad") == []


def test_a_token_is_asked_for(receiver):
    assert post(receiver, "five/1-1", lines(1, 1), token="other").status_code == 401
    assert httpx.get(f"{receiver.url}/v1/fleet", timeout=60).status_code == 401
    assert kept(receiver, "five") == []


def test_a_device_sends_as_itself_alone(tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("# the gates\nnorth:first\nsouth-0123456789ab:second\n")
    tokens.chmod(0o600)
    running = making.Receiver(tmp_path, f"--tokens={tokens}", token="word")
    born = "north-0123456789ab"  # as ids are: the host's name, and digits of chance
    try:
        for device, token, status in (
            (born, "first", 200), ("north", "first", 200), ("north-2", "first", 403), ("northern", "first", 403),
            (f"{born}-0123456789ab", "first", 403), ("south", "second", 403), ("south-0123456789ab", "second", 200),
            (born, "second", 403), (born, "third", 401), (born, "word", 200),
        ):  # fmt: skip
            assert post(running, f"{device}/1-1", lines(1, 1), token=token).status_code == status, (device, token)
        answer = post(running, f"{born}/2-2", lines(2, 2), token="second")
        assert (
            "south-0123456789ab's, not north-0123456789ab's" in answer.json()["error"] and "second" not in answer.text
        )
        assert kept(running, born) == [1] and kept(running, "north-2") == kept(running, "northern") == []

        def fleet_status(token: str) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            return httpx.get(f"{running.url}/v1/fleet", headers=headers, timeout=60).status_code

        assert (fleet_status("word"), fleet_status("first"), fleet_status("third")) == (200, 403, 401)
        tokens.write_text("north:first\nnorth:next\nnobody\n")  # damaged: those of before stay
        making.wait_for(
            lambda: post(running, f"{born}/0-0", b"", token="next").status_code == 401 and "stay" in running.said()
        )
        assert "line 3" in running.said() and "nobody" not in running.said()
        assert post(running, f"{born}/0-0", b"", token="first").status_code == 200
        tokens.write_text("north:next\n")
        making.wait_for(lambda: post(running, f"{born}/0-0", b"", token="next").status_code == 200)
        assert post(running, f"{born}/0-0", b"", token="first").status_code == 401
    finally:
        running.end()


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        ("", 0o600, "holds no token"), ("north:a\n", 0o644, "other users may read"),
        ("north\n", 0o600, "line 1: is not"),
        ("a:x\n*:b\n", 0o600, "line 2: is not"), ("a:x\nb:x\n", 0o600, "line 2: a has that token too"),
        (None, 0o600, "cannot be read"), ("\n" * (1 << 21), 0o600, "is larger"),
    ],
)  # fmt: skip
def test_a_file_of_tokens_that_cannot_be_is_refused(tmp_path, content, mode, says):
    file = tmp_path / "tokens"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    with pytest.raises(SightlineError, match=says):
        Tokens("", file)


@pytest.mark.parametrize("name", ["..%2Fsecret", "%2e%2e%2fsecret", "nothing", ".hidden", "a%2Fb"])
def test_only_releases_are_given_out(receiver, name):
    assert httpx.get(f"{receiver.url}/v1/releases/release.json", timeout=60).text == "{}"
    assert httpx.get(f"{receiver.url}/v1/releases/{name}", timeout=60).status_code == 404


def test_a_failure_in_the_middle_leaves_nothing_of_a_batch(tmp_path):
    ledger = Ledger(tmp_path)
    with pytest.raises(sqlite3.Error):
        ledger.take("one", {}, [(1, "{}"), (2, None)])
    assert ledger.take("one", {}, [(1, "{}")]) == 1
    assert [row["records"] for row in fleet(tmp_path)] == [1]
