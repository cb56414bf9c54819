"""Local copies of remote files: what is known of each, and the half-fetched part that a later run goes on with."""

import json
import os
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from components.core.errors import SightlineError
from components.core.files import CHUNK, atomic_json, file_sha256
from components.ingest.sources.listing import Entry
from components.ingest.sources.members import FREE_BYTES


class Refused(Exception):
    """A remote file that is not taken over: it is not there, or not what its listing says. A retry cannot help."""


class Stopped(Exception):
    """Another file failed, so this one is not gone on with."""


@dataclass(frozen=True)
class State:
    """Of which version a copy (or a part of one) is. `bytes` and `mtime_ns` are the copy's own, to see it changed."""

    sha256: str | None = None
    version: str | None = None
    etag: str | None = None
    modified: str | None = None
    bytes: int | None = None
    mtime_ns: int | None = None


class Copy:
    """The local copy of one remote file at `target`, its state beside it and the part that is being fetched."""

    def __init__(self, target: Path):
        self.target = target
        self.part = target.with_name(f".{target.name}.part")
        self._state = target.with_name(f".{target.name}.fetched.json")
        self._part_state = target.with_name(f".{target.name}.part.json")

    def state(self) -> State | None:
        """The state of the copy; None where there is no copy, or somebody changed it."""
        try:
            state, status = _read(self._state), os.stat(self.target)
        except OSError:
            return None
        mine = state is not None and (state.bytes, state.mtime_ns) == (status.st_size, status.st_mtime_ns)
        return state if mine else None

    def is_current(self, entry: Entry) -> bool:
        """Whether a listing alone says that the copy is the entry's: by its checksum or the server's version."""
        state = self.state()
        if state is None or (entry.bytes is not None and entry.bytes != state.bytes):
            return False
        if entry.sha256:
            return entry.sha256 == state.sha256
        return entry.version is not None and entry.version == state.version

    def begun(self) -> tuple[int, State]:
        """(bytes of the part, the state they belong to); 0 where there is nothing to go on with."""
        state = _read(self._part_state)
        if state is None or not self.part.is_file():
            return 0, State()
        return self.part.stat().st_size, state

    def begin(self, state: State) -> None:
        """Starts the part anew, for bytes of this state."""
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.part.unlink(missing_ok=True)
        atomic_json(self._part_state, asdict(state))
        self.part.touch()

    def drop(self) -> None:
        """Forgets the part."""
        self.part.unlink(missing_ok=True)
        self._part_state.unlink(missing_ok=True)

    def finish(self, entry: Entry, state: State) -> None:
        """Puts the part in the copy's place, if it is what the entry says. Raises Refused, and drops it, if not."""
        size, digest = self.part.stat().st_size, file_sha256(self.part)
        if entry.bytes is not None and size != entry.bytes:
            self.drop()
            raise Refused(f"{size} bytes were sent, its listing says {entry.bytes}")
        if entry.sha256 and digest != entry.sha256:
            self.drop()
            raise Refused(f"its SHA-256 is {digest}, its listing says {entry.sha256}")
        with open(self.part, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(self.part, self.target)
        mtime = self.target.stat().st_mtime_ns
        # After the copy itself: a kill between the two costs one more download, never a wrong belief.
        atomic_json(self._state, asdict(replace(state, sha256=digest, bytes=size, mtime_ns=mtime)))
        self._part_state.unlink(missing_ok=True)


def _read(path: Path) -> State | None:
    try:
        return State(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None  # half written or of another version: the file is fetched again


def check_room(folder: Path, size: int, what: str) -> None:
    """Raises SightlineError where `size` bytes more do not fit the disk of `folder`, FREE_BYTES left alone."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if size > free - FREE_BYTES:
        raise SightlineError(
            f"{what}: {size / 1e9:.1f} GB to fetch, {free / 1e9:.1f} GB free on the disk of {folder}",
            "make room, or name a part of it as the source",
        )


def append(copy: Copy, block: bytes, limit: int | None) -> None:
    """Adds a block to the part. Raises Refused, and drops it, where it grows beyond `limit` bytes."""
    with open(copy.part, "ab") as file:
        file.write(block)
        size = file.tell()
    if limit is not None and size > limit:
        copy.drop()
        raise Refused(f"more bytes are sent than the {limit} announced")
    if size // (64 * CHUNK) != (size - len(block)) // (64 * CHUNK):
        check_room(copy.part.parent, 0, copy.target.name)
