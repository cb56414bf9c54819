"""A release on a device: the unpacked archive, a folder whose manifest names every file by its digest."""

import hashlib
import json
import platform
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from components.core.bundle import Bundle, read_bundle
from components.core.errors import SightlineError, TransientError
from components.core.files import atomic_directory, file_sha256, read_json

FORMAT = 1
MANIFEST = "manifest.json"
FLOAT32, INT8 = "float32", "int8"
VNNI = "vnni"  # as manifest.model.int8_for: the int8 graph needs products to be added in 32 bits
X86, CPUINFO = ("x86_64", "AMD64", "i686"), Path("/proc/cpuinfo")
ADDING = {"avx512_vnni", "avx_vnni"}  # flags of x86 processors that do so; others than x86 all do
LARGEST = 2 << 30  # bytes that an archive may unpack to
AGAIN = "copy the archive to the device again"


@dataclass(frozen=True)
class Release:
    """`folder`: where it lies; `manifest`: what manifest.json says; `bundle`: how the model is fed."""

    folder: Path
    manifest: dict
    bundle: Bundle

    @property
    def default(self) -> str:
        """The precision that was found to be good enough: float32 or int8."""
        return self.manifest["model"]["default"]

    def precision(self, wanted: str) -> str:
        """float32 or int8, of what is wanted (`auto` too: what was found to be good enough, if this processor works it
        out rightly). Raises SightlineError where there is no such graph."""
        chosen = self.default if wanted == "auto" else wanted
        if wanted == "auto" and self.manifest["model"].get("int8_for") == VNNI and not adds_in_32_bits():
            chosen = FLOAT32
        if chosen not in self.manifest["graphs"]:
            raise SightlineError(f"{self.folder}: has no {chosen} graph: {self.manifest['model']['why']}", "take auto")
        return chosen

    def tag(self, precision: str) -> str:
        """Recipe, version, digest and precision in one line, for records and logs."""
        manifest = self.manifest
        return f"{manifest['recipe']}/v{manifest['version']}@{manifest['digest'][:12]}/{precision}"


def adds_in_32_bits() -> bool:
    """False where this processor may saturate in an int8 graph that was made for VNNI; also where nobody can say."""
    if platform.machine() not in X86:
        return True
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return False
    return any(ADDING & set(line.split()) for line in lines if line.startswith("flags"))


def read_release(folder: Path) -> Release:
    """The release in a folder, the digest of every file checked. Raises SightlineError naming the file."""
    manifest = read_json(folder / MANIFEST, AGAIN)
    if manifest.get("format") != FORMAT:
        raise SightlineError(
            f"{folder}: edge format {manifest.get('format')}, this one knows {FORMAT}", "build it anew"
        )
    for name, digest in manifest["files"].items():
        file = folder / name
        if not file.is_file() or file_sha256(file) != digest:
            raise SightlineError(f"{file}: its bytes are not those the manifest names", AGAIN)
    return Release(folder, manifest, read_bundle(folder, verify=False))


def unpack(archive: Path, folder: Path) -> Release:
    """Unpacks an archive to `folder`, whole or not at all; only files that its manifest names, each digest checked.

    Raises SightlineError where it is damaged, or holds what it does not name; TransientError where the disk is at
    fault.
    """
    try:
        with atomic_directory(folder) as target:
            _extract(archive, target)
            read_release(target)
    except OSError as error:
        if error.errno is not None:  # what is no gzip is an OSError too, without a number
            raise TransientError(f"{folder}: cannot be written: {error}", "make room on the disk") from None
        raise SightlineError(f"{archive}: cannot be unpacked: {error}", AGAIN) from None
    except (tarfile.TarError, zlib.error, EOFError, ValueError, KeyError, TypeError) as error:
        raise SightlineError(f"{archive}: cannot be unpacked: {error!r}", AGAIN) from None
    return read_release(folder)


def _extract(archive: Path, target: Path) -> None:
    """What is written does not hang on what the archive says of itself: names are plain, and nothing but files."""
    room, named, found = LARGEST, None, set()
    with tarfile.open(archive, "r:gz") as content:
        for member in content:
            path = PurePosixPath(member.name)
            plain = not path.is_absolute() and ".." not in path.parts and "\\" not in member.name
            if not (member.isreg() and plain and member.size <= room):
                raise ValueError(f"{member.name!r} is not a plain file")
            room -= member.size
            body = content.extractfile(member).read()
            if named is None:  # the manifest is the first file
                if member.name != MANIFEST:
                    raise ValueError("it does not begin with a manifest")
                named = json.loads(body)["files"]
            elif named.get(member.name) != hashlib.sha256(body).hexdigest():
                raise ValueError(f"{member.name!r} is not what the manifest names")
            found.add(member.name)
            file = target.joinpath(*path.parts)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(body)
    if missing := set(named or {MANIFEST: ""}) - found:
        raise ValueError(f"{sorted(missing)[0]!r} is missing")
