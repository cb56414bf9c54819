"""A back-up's archive: one tar, whole or not there, in which every file's digest is told and checked.

workspace/...        files of the workspace's root
state/...            files of `.sightline/`, databases as their own tools copy them
manifest.json        what was kept, from where and when; name, size, mode and SHA-256 of every file; second to last
manifest.sha256      of manifest.json; last, so that a tar that was cut off has none
"""

import fcntl
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from components.core.errors import SightlineError
from components.core.files import CHUNK, sync_directory

FORMAT = 1
MANIFEST, SEAL = "manifest.json", "manifest.sha256"
PART = ".part"  # what is being written: locked by who writes it, so that what a killed one left is known
ANOTHER = "take another archive; this one is not whole"


class Archive:
    """An archive that is being written."""

    def __init__(self, tar: tarfile.TarFile, tell: Callable[[int], None]):
        self._tar, self._tell = tar, tell
        self.files: dict[str, dict[str, Any]] = {}

    def add(self, name: str, path: Path) -> None:
        """Takes the file `path` up as `name`. Raises FileNotFoundError where it is gone, SightlineError where it
        became shorter while it was read."""
        with open(path, "rb") as handle:
            status = os.fstat(handle.fileno())
            self._put(name, handle, status.st_size, status.st_mode & 0o777)

    def add_bytes(self, name: str, content: bytes) -> None:
        """Takes `content` up as the file `name`."""
        self._put(name, io.BytesIO(content), len(content), 0o644)

    def close(self, facts: dict[str, Any]) -> None:
        """Writes the manifest: `facts`, and every file that was taken up."""
        whole = facts | {"format": FORMAT, "files": self.files}
        content = json.dumps(whole, indent=2, sort_keys=True).encode()  # ASCII: names need not be UTF-8
        self.add_bytes(MANIFEST, content)
        self.add_bytes(SEAL, hashlib.sha256(content).hexdigest().encode())

    def _put(self, name: str, handle: BinaryIO, size: int, mode: int) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = size, mode
        reader = _Hashing(handle, self._tell)
        try:
            self._tar.addfile(entry, reader)
        except OSError as error:
            if reader.size == size:
                raise
            raise SightlineError(
                f"{name}: cannot be read: {error}", "see that nothing shortens it, then again"
            ) from error
        if name not in (MANIFEST, SEAL):
            self.files[name] = {"bytes": size, "mode": mode, "sha256": reader.digest.hexdigest()}


class _Hashing:
    """A file that is read once, and what was read."""

    def __init__(self, handle: BinaryIO, tell: Callable[[int], None]):
        self._handle, self._tell = handle, tell
        self.digest, self.size = hashlib.sha256(), 0

    def read(self, count: int) -> bytes:
        block = self._handle.read(count)
        self.digest.update(block)
        self.size += len(block)
        self._tell(len(block))
        return block


@contextmanager
def writing(path: Path, tell: Callable[[int], None] = lambda count: None) -> Iterator[Archive]:
    """Yields the archive to be at `path`, which appears, readable by its owner alone, when the context is left well.

    `tell(bytes)` hears how far it is. What a killed writer left beside it is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".*.tar{PART}"):
        _remove_if_abandoned(left)
    part = path.with_name(f".{path.name}{PART}")
    with open(os.open(part, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as handle:
        if not locks(handle):
            raise SightlineError(f"{part}: another back-up is being written there", "wait for it, or name another file")
        handle.truncate(0)
        try:
            with tarfile.open(fileobj=handle, mode="w", format=tarfile.PAX_FORMAT) as tar:
                yield Archive(tar, tell)
            handle.flush()
            os.fsync(handle.fileno())
            os.replace(part, path)
            sync_directory(path.parent)
        finally:
            part.unlink(missing_ok=True)


def manifest(path: Path) -> dict[str, Any]:
    """What an archive says of itself. Raises SightlineError where it is not whole, or none that this reader knows."""
    with _opened(path) as tar:
        found = {}
        for entry in tar:
            if entry.name in (MANIFEST, SEAL) and entry.isreg():  # a link would lead elsewhere
                found[entry.name] = tar.extractfile(entry).read()
    if set(found) != {MANIFEST, SEAL} or hashlib.sha256(found[MANIFEST]).hexdigest().encode() != found[SEAL]:
        raise SightlineError(f"{path}: has no manifest that is whole: cut off, or damaged", ANOTHER)
    body = json.loads(found[MANIFEST])
    if body.get("format") != FORMAT:
        raise SightlineError(f"{path}: archive format {body.get('format')}, this reader knows {FORMAT}", "upgrade")
    return body


def unpack(path: Path, folder: Path, tell: Callable[[int], None] = lambda count: None) -> dict[str, Any]:
    """Writes the files of an archive below the new folder `folder` and on the disk; returns its manifest.

    Raises SightlineError, naming the file, unless every file has the bytes that the manifest tells, and no other is
    there.
    """
    body = manifest(path)
    missing = dict(body["files"])
    with _opened(path) as tar:
        for entry in tar:
            if entry.name in (MANIFEST, SEAL):
                continue
            facts = missing.pop(entry.name, None)
            if facts is None or not entry.isreg() or not _is_inside(entry.name):
                raise SightlineError(f"{path}: holds {entry.name!r}, which its manifest does not name", ANOTHER)
            if entry.size != facts["bytes"]:  # before they take room on the disk
                raise SightlineError(f"{path}: {entry.name} has not the bytes that its manifest tells", ANOTHER)
            _unpack_one(path, tar.extractfile(entry), folder / entry.name, facts, tell)
    if missing:
        raise SightlineError(f"{path}: lacks {sorted(missing)[0]} and {len(missing) - 1} more", ANOTHER)
    for written in [folder, *(one for one in folder.rglob("*") if one.is_dir())]:
        sync_directory(written)
    return body


def _unpack_one(path: Path, source: BinaryIO, target: Path, facts: dict, tell: Callable[[int], None]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    reader, mode = _Hashing(source, tell), facts["mode"] & 0o777  # no other bits are taken up, and none given
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as handle:
        while block := reader.read(CHUNK):
            handle.write(block)
        handle.flush()
        os.fsync(handle.fileno())
    target.chmod(mode)  # whatever the umask is
    if reader.digest.hexdigest() != facts["sha256"]:
        raise SightlineError(f"{path}: {target.name} has not the bytes that its manifest tells: damaged", ANOTHER)


def _is_inside(name: str) -> bool:
    parts = PurePosixPath(name)
    return not parts.is_absolute() and ".." not in parts.parts


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path, "r:") as tar:
            yield tar
    except (tarfile.TarError, EOFError) as error:
        raise SightlineError(f"{path}: is no archive, or a damaged one: {error}", ANOTHER) from None
    except FileNotFoundError:
        raise SightlineError(f"{path}: is not there", "name the archive that `sightline backup` wrote") from None


def locks(handle: BinaryIO | int) -> bool:
    """Locks an open file for as long as it is open; False where another holds it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False


def _remove_if_abandoned(part: Path) -> None:
    with suppress(FileNotFoundError), open(part, "rb") as handle:
        if locks(handle):
            part.unlink(missing_ok=True)
