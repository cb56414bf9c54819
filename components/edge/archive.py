"""The archive: a .tar.gz, the manifest first and then files by name; the same files give the same bytes."""

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

from components.core.files import atomic_path
from components.edge.device.release import MANIFEST


def write_archive(folder: Path, target: Path) -> None:
    """Writes the files of `folder` as an archive, whole or not at all: no owners or machine's names in it, and of times
    what the contents say."""
    files = sorted(one for one in folder.rglob("*") if one.is_file())
    names = {file.relative_to(folder).as_posix(): file for file in files}
    with (
        atomic_path(target) as temporary,
        open(temporary, "wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=9, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name in sorted(names, key=lambda one: (one != MANIFEST, one)):
            content = names[name].read_bytes()
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(content), 0o644, _moment(content)
            archive.addfile(member, io.BytesIO(content))


def _moment(content: bytes) -> int:
    """A time in the year 2000 that the content decides. Who builds images compares files by size and time: with one for
    all, another model of the same size, unpacked over the one before, would not get into the image."""
    return 946_684_800 + int.from_bytes(hashlib.sha256(content).digest()[:3])
