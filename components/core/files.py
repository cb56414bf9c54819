"""Files that appear whole or not at all, and digests of files and folders."""

import fcntl
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.core.errors import SightlineError

CHUNK = 1 << 20
LOCK = ".lock"


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path beside `path` to write to; on leaving, syncs it and renames it to `path`.

    On an exception the temporary file is removed and `path` is left as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays, because writers such as FFmpeg's choose a format by it; the dot hides it from globs.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.{os.urandom(4).hex()}{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
        sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary folder beside `path`; on leaving, syncs its files and renames it to `path`.

    A folder already at `path` is moved aside first and removed afterwards. What processes that were killed left here is
    removed: a locked file beside the folder shows that a process lives, in another container too.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.????????{LOCK}"):  # as mkstemp makes them
        _remove_if_abandoned(left)
    lock, handle = _locked_file(path)
    temporary, aside = lock.with_suffix(""), lock.with_suffix(".old")
    temporary.mkdir(mode=0o755)
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with open(file, "rb+") as content:
                    os.fsync(content.fileno())
        if path.exists():
            os.replace(path, aside)
        os.replace(temporary, path)
        sync_directory(path.parent)
    finally:
        _remove(lock)
        os.close(handle)


def _locked_file(path: Path) -> tuple[Path, int]:
    """(a new hidden file beside `path`, open and locked)."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=LOCK, dir=path.parent)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.path.exists(name):  # else another process took it for abandoned before it was locked
            return Path(name), handle
        os.close(handle)


def _remove(lock: Path) -> None:
    """Removes the folders that belong to a lock, and then the lock."""
    for ending in ("", ".old"):
        shutil.rmtree(lock.with_suffix(ending), ignore_errors=True)
    lock.unlink(missing_ok=True)


def _remove_if_abandoned(lock: Path) -> None:
    try:
        handle = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(lock)
    except OSError:  # it is held, or this file system cannot tell
        pass
    finally:
        os.close(handle)


def sync_directory(path: Path) -> None:
    """Puts a folder's entries on the disk: a file's name must survive what its content does."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def atomic_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Writes `content` to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def atomic_text(path: str | os.PathLike, content: str) -> None:
    """Writes `content` to `path` as UTF-8, whole or not at all."""
    atomic_bytes(path, content.encode())


def json_text(value: Any) -> str:
    """The project's one JSON form: sorted keys, two spaces, a final newline; the same value gives the same bytes."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def atomic_json(path: str | os.PathLike, value: Any) -> None:
    """Writes `value` as JSON in the form of `json_text`."""
    atomic_text(path, json_text(value))


def read_json(path: str | os.PathLike, remedy: str) -> dict:
    """The mapping in a JSON file. Raises SightlineError with this remedy where there is none."""
    try:
        body = json.loads(Path(path).read_text())
        if not isinstance(body, dict):
            raise ValueError("not a mapping")
    except (OSError, ValueError) as error:
        raise SightlineError(f"{path}: cannot be read: {error}", remedy) from None
    return body


def link_or_copy(source: Path, target: Path) -> None:
    """Puts the file `source` at `target` at once: a hard link where the disk allows it, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
        os.replace(temporary, target)
    except OSError:
        with atomic_path(target) as copy:
            shutil.copyfile(source, copy)
    finally:
        temporary.unlink(missing_ok=True)


def file_sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def tree_sha256(path: str | os.PathLike) -> str:
    """SHA-256 over the relative names and digests of a folder's files (or of the one file), in hex."""
    path = Path(path)
    if path.is_file():
        return file_sha256(path)
    lines = [
        f"{file.relative_to(path).as_posix()}\0{file_sha256(file)}\n"
        for file in sorted(path.rglob("*"))
        if file.is_file() and not file.name.startswith(".")
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def value_sha256(value: Any) -> str:
    """SHA-256 of a JSON-able value in the form of `json_text`, in hex."""
    return hashlib.sha256(json_text(value).encode()).hexdigest()
