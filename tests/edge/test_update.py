"""Updates: signed, tried aside, switched to in one step, taken back when they do not run; downgrades refused."""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from components.core.errors import SightlineError, TransientError
from components.edge.commands import main
from components.edge.device.installed import CURRENT, INCOMING, Installed
from components.edge.device.offer import FILE, opened
from components.edge.device.release import read_release
from components.edge.device.update import update
from components.edge.ledger import fleet
from tests.edge import making

BROKEN_START = "raise ImportError('this release cannot even start')\n"
BROKEN_RUN = '"""A runner that fails."""\n\n\nclass Runner:\n    def __init__(self, *_):\n        raise OSError("no")\n'


def desk(*arguments: object) -> subprocess.CompletedProcess:
    """A command of the workspace's side."""
    command = [sys.executable, "-m", "components.edge", *map(str, arguments)]
    return subprocess.run(command, cwd=making.making_root(), capture_output=True, text=True)


@pytest.fixture(scope="module")
def key(tmp_path_factory) -> Path:
    """A private key; its public one is `key.pub`."""
    file = tmp_path_factory.mktemp("key") / "key"
    done = desk("key", "-o", file)
    assert done.returncode == 0 and file.stat().st_mode & 0o777 == 0o600, done.stderr
    return file


@pytest.fixture(scope="module")
def public(key) -> str:
    return Path(f"{key}.pub").read_text().strip()


@pytest.fixture(scope="module")
def offered(archive, key, tmp_path_factory) -> dict[str, Path]:
    """Folders with a release.json each: numbers 1 and 2 whole, 3 that cannot start, 4 whose runner fails, 5 that gives
    other probabilities, 6 of another recipe, 7 that does so in float32 alone."""
    folder = tmp_path_factory.mktemp("offered")
    expected = json.loads((making.unpack(archive, folder / "plain").folder / "selftest/expected.json").read_text())
    half = expected | {"float32": [[value + 0.5 for value in row] for row in expected["float32"]]}
    off = half | {"int8": half["float32"]}
    archives = {
        "first": archive, "second": archive,
        "dead": making.changed(archive, folder / "3.tar.gz", {"components/edge/device/selftest.py": BROKEN_START}),
        "failing": making.changed(archive, folder / "4.tar.gz", {"components/edge/device/runner.py": BROKEN_RUN}),
        "off": making.changed(archive, folder / "5.tar.gz", {"selftest/expected.json": json.dumps(off)}),
        "other": making.changed(archive, folder / "6.tar.gz", {}, recipe="other"),
        "half": making.changed(archive, folder / "7.tar.gz", {"selftest/expected.json": json.dumps(half)}),
    }  # fmt: skip
    for number, (name, one) in enumerate(archives.items(), 1):
        options = ["--key", key, "--number", number, "-o", folder / name]
        assert main(["release", str(one), *map(str, options)]) == 0
    return {name: folder / name / FILE for name in archives}


@pytest.fixture
def device(unpacked, tmp_path) -> Installed:
    """What was installed by hand."""
    (tmp_path / "state").mkdir()
    return Installed(tmp_path / "state", unpacked.folder)


def test_a_signed_release_runs_and_one_that_runs_is_not_brought_again(device, offered, public):
    assert update(device, str(offered["first"]), public) == 1
    assert device.release == 1 and device.folder == device.state / "releases" / "1" and device.trial.before == 0
    assert update(device, str(offered["first"]), public) is None
    said = making.ended(making.edge(device.folder, "status", "--state", device.state), 1)
    assert "has a runner begun" in said  # by the new release's own code
    assert not (device.state / INCOMING).exists()


def test_downgrade_and_replay_are_refused_unless_forced(device, offered, public):
    assert update(device, str(offered["second"]), public) == 2
    with pytest.raises(SightlineError, match="downgrade or a replay"):
        update(device, str(offered["first"]), public)
    device.take_back()
    with pytest.raises(SightlineError, match="downgrade or a replay"):  # what was taken back does not come by itself
        update(device, str(offered["second"]), public)
    assert device.release == 0
    assert update(device, str(offered["first"]), public, force=True) == 1
    assert device.highest == 2


def test_what_was_itself_on_trial_is_nothing_to_go_back_to(device, offered, public):
    assert update(device, str(offered["first"]), public) == 1
    device.confirm()
    assert update(device, str(offered["second"]), public) == 2
    device.switch(1)  # somebody brings another one while the second is on trial
    device.switch(2)
    assert device.trial.before == 1 and device.take_back() == 1
    assert update(device, str(offered["first"]), public, force=True) is None, "never over the one that runs"


def test_an_older_version_than_was_installed_by_hand_is_refused(device, offered, public, monkeypatch):
    newer = read_release(device.folder)
    monkeypatch.setitem(newer.manifest, "version", 1_000_000)
    monkeypatch.setattr("components.edge.device.update.read_release", lambda folder: newer)
    with pytest.raises(SightlineError, match="older than 1000000"):
        update(device, str(offered["first"]), public)
    assert device.release == 0 and device.trial is None


def test_what_the_key_has_not_signed_is_not_believed(device, offered, public, tmp_path):
    body = json.loads(offered["first"].read_text())
    other = desk("key", "-o", tmp_path / "other", "--json")
    with pytest.raises(SightlineError, match="its signature is not that of the key"):
        update(device, str(offered["first"]), json.loads(other.stdout)["public_key"])
    with pytest.raises(SightlineError, match="no key is known here"):
        update(device, str(offered["first"]), "")
    with pytest.raises(SightlineError, match="public_key is none"):
        update(device, str(offered["first"]), "abc")
    for change in (
        {"signed": body["signed"].replace('"release": 1', '"release": 9')},
        {"signature": body["signature"][:-4] + "AAA="},
        {"signature": "?"},
        {"signed": 1},
    ):
        (tmp_path / FILE).write_text(json.dumps(body | change))
        with pytest.raises(SightlineError, match="signature is not|is no signed release"):
            update(device, str(tmp_path / FILE), public, force=True)
    (tmp_path / FILE).write_text("[]")
    with pytest.raises(SightlineError, match="is no signed release"):
        update(device, str(tmp_path / FILE), public)
    assert device.release == 0 and device.highest == 0


@pytest.mark.parametrize(("name", "says"), [("dead", "cannot even start"), ("off", "off in probability")])
def test_a_release_that_fails_its_own_test_is_never_switched_to(device, offered, public, name, says):
    with pytest.raises(SightlineError, match=says):
        update(device, str(offered[name]), public)
    assert device.release == 0 and device.trial is None and not list((device.state / "releases").glob("[0-9]*"))
    with pytest.raises(SightlineError, match="refused before"):  # nor fetched again with every look
        update(device, str(offered[name]), public)


def test_only_the_graph_that_the_device_runs_is_tried(device, offered, public):
    """The float32 graph of this release gives other probabilities; who runs int8 has nothing to do with it."""
    with pytest.raises(SightlineError, match="the float32 graph is .* off"):
        update(device, str(offered["half"]), public, precision="float32")
    assert update(device, str(offered["half"]), public, force=True, precision="int8") == 7
    device.take_back()
    assert update(device, str(offered["half"]), public, force=True) == 7  # auto: int8 in this archive
    said = making.ended(making.edge(device.folder, "selftest"))
    assert said.startswith("int8: ") and "float32" not in said
    said = making.ended(making.edge(device.folder, "selftest", "--precision", "all"), 1)
    assert "the float32 graph is" in said


def test_what_has_expired_is_not_taken_and_can_be_renewed(device, archive, key, public, tmp_path, monkeypatch):
    """A device that knows no number yet takes any of its key's: not what somebody kept for it, if that ends."""
    command = ["release", archive, "--key", key, "--number", 3, "-o", tmp_path / "out", "--days", 2]
    assert desk(*command).returncode == 0
    where, kept = tmp_path / "out" / FILE, tmp_path / "kept"
    making.shutil.copytree(tmp_path / "out", kept)
    later = time.time() + 3 * 86_400
    monkeypatch.setattr("components.edge.device.update.time.time", lambda: later)
    for force in (False, True):
        with pytest.raises(SightlineError, match="release 3 has expired"):
            update(device, str(where), public, force=force)
    assert device.release == device.highest == 0
    assert desk(*command[:-1], 9).returncode == 0, "of the same archive under the same number"
    assert update(device, str(where), public) == 3
    assert update(device, str(kept / FILE), public) is None, "it runs already"
    refused = desk("release", tmp_path / "out" / FILE, *command[2:])
    assert refused.returncode and desk(*command[:-1], 0).returncode == 2


def test_what_does_not_expire_is_of_the_form_that_older_devices_know(offered):
    assert "expires" not in json.loads(offered["first"].read_text())["signed"]


def test_another_recipes_release_only_when_forced(device, offered, public):
    with pytest.raises(SightlineError, match="is of other, this device runs toy"):
        update(device, str(offered["other"]), public)
    assert update(device, str(offered["other"]), public, force=True) == 6


def test_an_archive_that_is_not_what_was_signed(device, offered, public, tmp_path):
    making.shutil.copytree(offered["first"].parent, tmp_path / "copy")
    (archive,) = (tmp_path / "copy").glob("*.tar.gz")
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    with pytest.raises(SightlineError, match="not those that were signed"):
        update(device, str(tmp_path / "copy" / FILE), public)
    archive.unlink()
    with pytest.raises(TransientError, match="cannot be fetched"):
        update(device, str(tmp_path / "copy" / FILE), public)
    assert device.release == 0 and device.highest == 0


@pytest.mark.parametrize("parts", [True, False])
def test_a_download_that_broke_off_is_gone_on_with(device, offered, public, parts):
    folder, asked, archive = offered["first"].parent, [], next(offered["first"].parent.glob("*.tar.gz")).read_bytes()

    class Lossy(http.server.BaseHTTPRequestHandler):
        """Breaks off in the middle of the archive, the first time."""

        def do_GET(self):
            content = (folder / self.path.lstrip("/")).read_bytes()
            begin, end = 0, None
            if self.path.endswith(".tar.gz"):
                asked.append(self.headers.get("range"))
                end = len(content) // 2 if len(asked) == 1 else None
                if parts and asked[-1]:
                    begin = int(asked[-1].removeprefix("bytes=").rstrip("-"))
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(content) - begin))
            self.end_headers()
            self.wfile.write(content[begin:end])

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Lossy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    where = f"http://127.0.0.1:{server.server_port}/{FILE}"
    with pytest.raises(TransientError, match="broke off"):
        update(device, where, public)
    half = opened((folder / FILE).read_bytes(), public, where).bytes // 2
    assert device.release == 0 and device.highest == 0
    assert [file.stat().st_size for file in (device.state / INCOMING).iterdir()] == [half]
    assert update(device, where, public) == 1
    server.shutdown()
    assert asked == [None, f"bytes={half}-"] and len(archive) > half


def test_the_power_goes_between_any_two_steps(device, offered, public):
    """The note is written, the link not yet switched; the link back, the note not yet: either way one of them runs."""
    update(device, str(offered["first"]), public)
    os.unlink(device.state / CURRENT)
    assert device.release == 0 and device.starting(3) and device.release == 1  # forward: it was tried already
    assert device.starting(3) and device.starting(3) and device.trial.starts == 3
    os.unlink(device.state / CURRENT)
    assert not device.starting(3) and device.release == 0 and device.trial is None
    assert device.starting(3) and device.release == 0


def settings(device: Installed, public: str, url: str, **update_) -> None:
    lines = {"url": url, "every_s": 0.2, "trial_s": 600, "public_key": public} | update_
    text = "[update]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
    (device.state / "config.toml").write_text(text + "[uplink]\nheartbeat_s = 0.2\n")


def test_a_device_updates_itself_and_the_fleet_shows_it(device, offered, public, clip, receive):
    """Under a supervisor, from the receiver's own releases, with a camera that does not end."""
    receiver = receive(f"--releases={offered['second'].parent}")
    settings(device, public, f"{receiver.url}/v1/releases/{FILE}", trial_s=0.5)
    run = ["--camera", "http://127.0.0.1:9/none", "--uplink", receiver.url]
    supervisor = making.edge(device.base, "supervise", "--state", device.state, "--", *run)
    making.wait_for(lambda: (receiver.store / "receiver.sqlite").exists())
    making.wait_for(lambda: [row["release"] for row in fleet(receiver.store)] == [2])
    making.wait_for(lambda: device.trial is None)
    supervisor.send_signal(signal.SIGTERM)
    said = making.ended(supervisor)
    assert "release 2 takes over from 0" in said and "release 2 runs and stays" in said
    assert device.release == 2


def test_a_release_that_does_not_run_gives_way_to_the_one_before(device, offered, public, clip):
    update(device, str(offered["failing"]), public)
    settings(device, public, "", trial_starts=2)
    arguments = ["supervise", "--state", device.state, "--", "--camera", clip]
    said = making.ended(making.edge(device.base, *arguments))
    assert said.count("OSError: no") == 2 and "release 4 does not run: back to 0" in said
    assert "60 frames recorded" in said and device.release == 0 and device.highest == 4


def test_a_key_is_never_written_over_another(key, archive, tmp_path):
    before = key.read_bytes()
    done = desk("key", "-o", key)
    assert done.returncode == 1 and "remedy" in done.stderr and key.read_bytes() == before
    assert desk("release", archive, "--key", key, "--number", 2, "-o", tmp_path / "out").returncode == 0
    other = making.changed(archive, tmp_path / "other.tar.gz", {}, version=4)
    done = desk("release", other, "--key", key, "--number", 2, "-o", tmp_path / "out")
    assert done.returncode == 2 and "offers 2 already" in done.stderr
