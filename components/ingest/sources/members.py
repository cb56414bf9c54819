"""The members of a zip or tar archive, one by one, with limits on what unpacking may cost.

Limits are held while bytes are unpacked, because what an archive's headers say of itself may be false.
"""

import bz2
import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from components.core import paths

FREE_BYTES = 1 << 30  # of the disk are left alone
HEADER_BYTES = 16 << 20  # of one tar header: nothing sensible is larger
LINK_BYTES = 4096
CHUNK = 1 << 20
CUT_SHORT = "it may be cut short: copy it again"
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, UnicodeDecodeError)
_OPENERS = {
    ".gz": gzip.open,
    ".tgz": gzip.open,
    ".xz": lzma.open,
    ".txz": lzma.open,
    ".bz2": bz2.open,
    ".tbz2": bz2.open,
}


class Evil(Exception):
    """An archive that is refused whole. The text says which member and why."""

    remedy = "make the archive anew with plain files and relative paths, or leave it out"

    def __init__(self, problem: str, remedy: str = remedy):
        super().__init__(problem)
        self.remedy = remedy


@dataclass
class Limits:
    """What unpacking may cost: so many times the archive's size beyond an allowance, bytes in all, members."""

    packed: int
    total: int
    ratio: int = 100
    allowance: int = 100 << 20
    members: int = 500_000
    unpacked: int = 0
    seen: int = 0

    @classmethod
    def of(cls, path: Path) -> "Limits":
        """The limits for the archive at `path`: all of the disk but FREE_BYTES may be filled."""
        return cls(path.stat().st_size, max(shutil.disk_usage(paths.workspace()).free - FREE_BYTES, 0))

    def count(self, size: int, name: str) -> None:
        """Adds unpacked bytes. Raises Evil where there are too many."""
        self.unpacked += size
        if self.unpacked > self.allowance + self.ratio * self.packed:
            raise Evil(f"a decompression bomb: more than {self.ratio} times its size ({self.packed} bytes) at {name!r}")
        if self.unpacked > self.total:
            raise Evil(f"its members are too large for the disk, at {name!r}", "make room on the disk")

    def count_member(self) -> None:
        """Adds a member. Raises Evil where there are too many."""
        self.seen += 1
        if self.seen > self.members:
            raise Evil(f"more than {self.members} members")


@dataclass(frozen=True)
class Member:
    """A member as the archive names it. `kind`: file, folder, link, or other (devices, pipes).

    `target`: of a link, relative to the member's folder, or to the archive where it is `hard`. `read()` yields a file's
    bytes in blocks; it raises ValueError, with the reason, where they are damaged.
    """

    name: str
    kind: str
    read: Callable[[], Iterator[bytes]]
    target: str | None = None
    hard: bool = False


def open_members(path: Path, limits: Limits) -> Iterator[Member]:
    """The members, in the archive's order: each must be read before the next is asked for.

    Raises Evil where the archive cannot be read, is encrypted, or breaks a limit.
    """
    try:
        yield from (_zip if path.suffix.lower() == ".zip" else _tar)(path, limits)
    except _DAMAGED as error:
        raise Evil(f"it cannot be read as an archive ({error})", CUT_SHORT) from None


def _zip(path: Path, limits: Limits) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:

        def counted(info: zipfile.ZipInfo) -> Iterator[bytes]:
            with archive.open(info) as file:
                while block := file.read(CHUNK):
                    limits.count(len(block), info.filename)
                    yield block

        for info in archive.infolist():
            limits.count_member()
            if info.flag_bits & 1:
                raise Evil(f"member {info.filename!r} is encrypted", "make the archive anew without a password")
            mode = info.external_attr >> 16
            kind = "folder" if info.is_dir() else _kind(mode)
            target = None
            if kind == "link":
                with archive.open(info) as file:
                    target = file.read(LINK_BYTES).decode(errors="surrogateescape")
            yield Member(info.orig_filename, kind, _checked(partial(counted, info)), target)


def _kind(mode: int) -> str:
    kind = stat.S_IFMT(mode)
    return {0: "file", stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}.get(kind, "other")


def _checked(blocks: Callable[[], Iterator[bytes]]) -> Callable[[], Iterator[bytes]]:
    def read() -> Iterator[bytes]:
        try:
            yield from blocks()
        except (*_DAMAGED, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"damaged in the archive ({error})") from None

    return read


def _tar(path: Path, limits: Limits) -> Iterator[Member]:
    with _OPENERS.get(path.suffix.lower(), open)(path, "rb") as raw:
        stream = _Forwards(raw, limits)
        with tarfile.open(fileobj=stream, mode="r:") as archive:

            def blocks(info: tarfile.TarInfo) -> Iterator[bytes]:
                with archive.extractfile(info) as file:
                    while block := file.read(CHUNK):
                        yield block

            for info in archive:
                limits.count_member()
                stream.name = info.name
                if info.issparse():
                    raise Evil(f"member {info.name!r} is a sparse file")
                target = info.linkname if info.issym() or info.islnk() else None
                yield Member(info.name, _tar_kind(info), _checked(partial(blocks, info)), target, info.islnk())
                archive.members.clear()  # it would keep every header
            # The reader takes a damaged header for the end, and does not look at the checksum of what is compressed.
            if any(stream.last):
                raise Evil(f"a damaged header after member {stream.name!r}", CUT_SHORT)
            while stream.read(CHUNK):
                pass


def _tar_kind(info: tarfile.TarInfo) -> str:
    kinds = {"folder": info.isdir(), "link": info.issym() or info.islnk(), "file": info.isreg(), "other": True}
    return next(kind for kind, is_it in kinds.items() if is_it)


class _Forwards:
    """A file that is read once, forwards, and counts what is unpacked from it, headers and what is skipped too."""

    def __init__(self, raw, limits: Limits):
        self.raw, self.limits, self.at, self.name, self.last = raw, limits, 0, "", b""

    def read(self, size: int) -> bytes:
        """At most `size` bytes. Raises Evil where a header asks for more than a header can be."""
        if size > HEADER_BYTES:
            raise Evil(f"a header of {size} bytes after member {self.name!r}")
        self.last = self.raw.read(size)
        self.at += len(self.last)
        self.limits.count(len(self.last), self.name)
        return self.last

    def tell(self) -> int:
        """How far it was read."""
        return self.at

    def seek(self, position: int) -> int:
        """Reads on to `position`."""
        if position < self.at:
            raise tarfile.ReadError("its members are not in order")
        while self.at < position and self.read(min(position - self.at, CHUNK)):
            pass
        return self.at
