"""Files appear whole or not at all, also when the writer is killed; digests see every change."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from components.core import files

ROOT = Path(__file__).resolve().parents[2]
STUCK = """
import sys, time
from components.core.files import {writer}
with {writer}(sys.argv[1]) as temporary:
    ({inside}).write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("writer", "inside"), [("atomic_path", "temporary"), ("atomic_directory", "temporary / 'file'")]
)
def test_a_killed_writer_leaves_what_was_there(tmp_path, writer, inside):
    target = tmp_path / "target"
    if writer == "atomic_path":
        target.write_bytes(b"old")
    else:
        target.mkdir()
        (target / "file").write_bytes(b"old")
    before = files.tree_sha256(target)
    command = [sys.executable, "-c", STUCK.format(writer=writer, inside=inside), str(target)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"writing\n"
        os.kill(process.pid, signal.SIGKILL)
    assert files.tree_sha256(target) == before
    visible = [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")]
    assert visible == ["target"]


def test_what_a_killed_writer_left_is_removed_and_a_living_one_is_left_alone(tmp_path):
    target = tmp_path / "target"
    command = [sys.executable, "-c", STUCK.format(writer="atomic_directory", inside="temporary / 'file'"), str(target)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"writing\n"
        with files.atomic_directory(target):
            assert len(list(tmp_path.iterdir())) == 4, "the other process still writes: two folders, two locks"
        os.kill(process.pid, signal.SIGKILL)
    assert len(list(tmp_path.iterdir())) == 3
    with files.atomic_directory(target):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_an_error_leaves_nothing(tmp_path):
    for writer in (files.atomic_path, files.atomic_directory):
        with pytest.raises(ZeroDivisionError), writer(tmp_path / "new") as temporary:
            if writer is files.atomic_path:
                temporary.write_bytes(b"half")
            raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_writers_write(tmp_path):
    files.atomic_text(tmp_path / "deep" / "a.txt", "grün")
    files.atomic_json(tmp_path / "a.json", {"b": 1, "a": [1.5, None]})
    with files.atomic_directory(tmp_path / "folder") as temporary:
        (temporary / "inside").write_text("new")
    with files.atomic_directory(tmp_path / "folder") as temporary:
        (temporary / "other").write_text("newer")
    assert (tmp_path / "deep" / "a.txt").read_bytes() == "grün".encode()
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1.5, None], "b": 1}
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["other"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "deep", "folder"]


def test_json_has_one_form():
    assert files.json_text({"b": 1, "a": 2}) == files.json_text({"a": 2, "b": 1}) == '{\n  "a": 2,\n  "b": 1\n}\n'
    with pytest.raises(ValueError):
        files.json_text({"a": float("nan")})


def test_link_or_copy_replaces_and_may_be_repeated(tmp_path):
    source, target = tmp_path / "source", tmp_path / "deep" / "target"
    source.write_bytes(b"new")
    target.parent.mkdir()
    target.write_bytes(b"old")
    for _ in range(2):
        files.link_or_copy(source, target)
        assert target.read_bytes() == b"new"
    assert [path.name for path in target.parent.iterdir()] == ["target"]


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="no second file system at /dev/shm")
def test_link_or_copy_crosses_file_systems(tmp_path):
    other = Path("/dev/shm") / f"sightline-test-{os.getpid()}"
    try:
        other.write_bytes(b"from afar")
        files.link_or_copy(other, tmp_path / "here")
        assert (tmp_path / "here").read_bytes() == b"from afar"
    finally:
        other.unlink(missing_ok=True)


def test_a_tree_digest_sees_names_and_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    digests = {files.tree_sha256(tmp_path)}
    (tmp_path / "b").write_bytes(b"3")
    digests.add(files.tree_sha256(tmp_path))
    (tmp_path / "b").rename(tmp_path / "c")
    digests.add(files.tree_sha256(tmp_path))
    assert len(digests) == 3
    assert files.tree_sha256(tmp_path / "a") == files.file_sha256(tmp_path / "a")
