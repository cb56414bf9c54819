"""Archives that no back-up of ours wrote, and what a back-up must not miss, show or take up."""

import hashlib
import io
import json
import os
import tarfile
import threading
from pathlib import Path

import pytest

from components.core import paths
from components.core.errors import SightlineError, UsageError
from flows import archive, backup, kept, restore
from tests.deployment import making
from tests.flows.test_backup import digests, enter


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with a registry, the current one."""
    root = tmp_path / "cameras"
    making.write_params(root)
    enter(root, monkeypatch)
    making.give_store(root)
    return root


def made(path: Path, files: dict[str, bytes], mode: int = 0o644) -> str:
    """An archive with a seal that is right, of whatever files."""
    told = {name: {"bytes": len(c), "mode": mode, "sha256": hashlib.sha256(c).hexdigest()} for name, c in files.items()}
    facts = {"made": "", "commit": None, "champions": {}, "left_out": [], "registry": "workspace", "state": "/nowhere"}
    content = json.dumps(facts | {"format": archive.FORMAT, "files": told}).encode()
    whole = files | {archive.MANIFEST: content, archive.SEAL: hashlib.sha256(content).hexdigest().encode()}
    with tarfile.open(path, "w") as tar:
        for name, content in whole.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return str(path)


@pytest.mark.parametrize(
    "name",
    [
        "workspace/prefect.yaml", "workspace/params.yaml/x", "workspace/.git/config", "state/restored/unfinished.json",
        "other", "state/../../x", "/state/x",
    ],
)  # fmt: skip
def test_a_file_that_no_backup_holds_is_refused_before_anything_is_changed(here, tmp_path, name):
    before = digests(here, set())
    with pytest.raises(SightlineError, match="which no back-up does|which its manifest does not name"):
        restore.restore(made(tmp_path / "a.tar", {"state/scores/x": b"1", name: b"2"}), None, True, print)
    assert digests(here, set()) == before and not list(here.glob(".sightline.*"))
    assert not (here / "prefect.yaml").exists() and not (tmp_path / "x").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_a_manifest_that_is_no_file_is_none(tmp_path, kind):
    entry = tarfile.TarInfo(archive.MANIFEST)
    entry.type, entry.linkname = kind, "/etc/hostname"
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(entry)
    with pytest.raises(SightlineError, match="no manifest that is whole"):
        archive.manifest(tmp_path / "a.tar")


def test_no_file_gets_more_than_the_rights_of_users(here, tmp_path):
    restore.restore(made(tmp_path / "a.tar", {"state/scores/x": b"1"}, 0o6755), None, True, print)
    assert paths.state("scores", "x").stat().st_mode & 0o7777 == 0o755


def test_what_is_unpacked_is_nobody_elses(here):
    """Copies of databases and archives that were fetched lie there for a while."""
    with kept.scratch() as folder:
        assert folder.stat().st_mode & 0o077 == 0


def test_an_archive_in_what_is_backed_up_is_refused(here, tmp_path):
    (tmp_path / "link").symlink_to(here / ".sightline")
    for to in (here / ".sightline" / "backups", here / ".sightline" / "a.tar", tmp_path / "link"):
        with pytest.raises(UsageError, match="each archive would hold those before"):
            backup.back_up(str(to), None, False, print)
    assert not list((here / ".sightline").rglob("*.tar*"))


def test_files_that_come_and_go_meanwhile_stop_no_backup(here, tmp_path):
    folder, stop = paths.state("scores", "live"), threading.Event()
    folder.mkdir(parents=True)

    def write() -> None:
        number = 0
        while not stop.is_set():
            (folder / f"{number % 50}.json").write_text("x")
            (folder / f"{(number + 25) % 50}.json").unlink(missing_ok=True)
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(30):
            backup.back_up(str(tmp_path / f"{number}.tar"), None, False, lambda text: None)
    finally:
        stop.set()
        writer.join(60)


def test_artifacts_are_kept_whatever_they_are_called(here, tmp_path):
    lock = paths.state("mlflow", "artifacts", "0", "run", "artifacts", "uv.lock")
    lock.parent.mkdir(parents=True)
    lock.write_text("pins")
    paths.state("note.txt").write_text("x")
    os.mkfifo(paths.state("pipe"))
    odd = os.fsdecode(b"caf\xe9.json")  # not UTF-8
    paths.state(odd).write_text("odd")
    taken = backup.back_up(str(tmp_path / "a.tar"), None, False, print)
    names = archive.manifest(Path(taken.archive))["files"]
    assert {"state/mlflow/artifacts/0/run/artifacts/uv.lock", "state/note.txt"} <= set(names)
    assert "state/pipe" not in names
    restore.restore(taken.archive, None, True, print)
    assert paths.state(odd).read_text() == "odd"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder that this user may not read")
def test_a_folder_that_may_not_be_read_is_not_left_out_unsaid(here, monkeypatch):
    """As one that a container of root's made is for the workspace's owner."""
    closed = paths.state("scores")
    closed.mkdir(exist_ok=True)
    closed.chmod(0o700)
    monkeypatch.chdir(paths.state())  # the folders above are root's as well
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            list(kept.below(Path(), "state"))
            os._exit(1)
        except PermissionError as error:
            os._exit(0 if Path(error.filename).name == closed.name else 2)
        finally:
            os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
