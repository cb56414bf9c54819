"""Archives that lie elsewhere: sent and fetched by fsspec (s3://... and the like), and compared afterwards."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.core.errors import SightlineError, TransientError
from components.core.files import CHUNK

RIGHTS = "see that it can be reached and written (of s3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL)"
SPARE = 64_000_000  # bytes that a disk must keep free


def is_remote(url: str) -> bool:
    """Whether `url` is not a path of this machine."""
    return "://" in url


def send(file: Path, url: str, digest: str) -> None:
    """Puts the file at `url`, whole or not at all where the store writes so (s3), and reads it back.

    Raises SightlineError where something is there already, TransientError where the store fails or gives other bytes.
    """
    with _store(url) as (system, path):
        if system.exists(path):
            raise SightlineError(f"{url}: is there already", "name another file or a folder")
        system.put_file(str(file), path)
        found = hashlib.sha256()
        with system.open(path, "rb") as handle:
            while block := handle.read(CHUNK):
                found.update(block)
    if found.hexdigest() != digest:
        raise TransientError(f"{url}: has not the bytes that were sent", "remove it, and back up again")


def fetch(url: str, file: Path) -> None:
    """Writes what is at `url` to `file`. Raises TransientError where it cannot be had."""
    with _store(url) as (system, path):
        check_room(file, system.size(path) or 0)
        system.get_file(path, str(file))


def check_room(target: Path, size: int) -> None:
    """Raises SightlineError where so many bytes have no room on the disk of `target`."""
    place = next(folder for folder in target.parents if folder.exists())
    free = shutil.disk_usage(place).free
    if free < size + SPARE:
        raise SightlineError(
            f"{place}: {size / 1e9:.1f} GB are needed, and {free / 1e9:.1f} GB free", "make room, or take another disk"
        )


@contextmanager
def _store(url: str) -> Iterator[tuple]:
    """Yields (fsspec's file system, path there)."""
    import fsspec

    try:
        yield fsspec.core.url_to_fs(url)
    except SightlineError:
        raise
    except (ImportError, ValueError) as error:
        raise SightlineError(f"{url}: {error}", "install what it names, or take a folder") from None
    except Exception as error:  # of each store's own library
        said = f"{type(error).__name__}: {error}"
        raise TransientError(f"{url}: {' '.join(said.split())}", RIGHTS) from error
