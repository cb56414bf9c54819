"""Object stores and file servers that fsspec knows: s3, gs, az, sftp and others. Tries again as their libraries do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import fsspec

from components.core.errors import SightlineError, TransientError, UsageError
from components.core.recipe import nearest
from components.ingest.sources.copies import Copy, Refused, State, append
from components.ingest.sources.listing import Entry, Listing

SCHEMES = ("s3", "gs", "gcs", "az", "abfs", "oss", "oci", "sftp", "ftp", "smb", "hdfs", "webhdfs")
BLOCK = 8 << 20
# What says that bytes are others than before, by the library; the first that an entry has counts.
_VERSION = ("ETag", "etag", "md5Hash", "content_md5", "LastModified", "last_modified", "updated", "mtime", "modify")
_RIGHTS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE), and AWS_ENDPOINT_URL for a server of "
    "one's own; without any, public buckets can be read",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or `gcloud auth application-default login`",
}


class Store:
    """The server that `uri` names. Credentials are the environment's own, as the server's tools read them."""

    def __init__(self, uri: str):
        self.uri, self.scheme = uri, uri.partition("://")[0]
        if self.scheme not in SCHEMES:
            known = [*SCHEMES, "http", "https", "file"]
            raise UsageError(f"source {uri!r}: the scheme {self.scheme!r} is not known", nearest(self.scheme, known))
        with self._said():
            self.system, self.path = fsspec.core.url_to_fs(uri, **_options(self.scheme))

    def listing(self) -> Listing:
        """Every file below the uri's folder, by its name there; or the one file, by its own name.

        Raises SightlineError where there is neither.
        """
        try:
            with self._said():
                below = self.system.find(self.path, detail=True)
        except FileNotFoundError:
            raise SightlineError(f"{self.uri}: no such bucket or folder", "correct the name") from None
        found, folder = Listing(), self.path.rstrip("/") + "/"
        for key, info in below.items():
            if info.get("type") != "file" or key.endswith("/"):
                continue
            name = key.removeprefix(folder) if key != self.path else key.rpartition("/")[2]
            if info.get("size") is None:
                found.refused.append((name, "the server does not say its size"))
            else:
                found.add(name, key, bytes=info["size"], version=_version(info))
        if not found.entries and not found.refused:
            raise SightlineError(f"{self.uri}: nothing of this name, and nothing below it", "correct the name")
        return found.settle()

    def fetch(self, entry: Entry, copy: Copy, tell: Callable[[int], None]) -> None:
        """Makes `copy` the entry's file, going on where an earlier run of the same version ended.

        `tell(bytes)` is called as they come. Raises Refused where the file is gone or changes meanwhile, SightlineError
        where it could not be had; what came is kept for the next run.
        """
        size, begun = copy.begun()
        if not size or entry.version is None or begun.version != entry.version or size > entry.bytes:
            size, begun = 0, State(version=entry.version)
            copy.begin(begun)
        try:
            while size < entry.bytes:
                with self._said():
                    block = self.system.cat_file(entry.address, start=size, end=min(size + BLOCK, entry.bytes))
                if not block:
                    copy.drop()
                    raise Refused(f"it ends after {size} bytes, its listing says {entry.bytes}")
                append(copy, block, entry.bytes)
                size += len(block)
                tell(len(block))
            with self._said():
                now = _version(self.system.info(entry.address))
        except FileNotFoundError:
            copy.drop()
            raise Refused("it is gone since it was listed") from None
        if now != entry.version:  # the blocks may be of two versions
            copy.drop()
            raise Refused("it changed while it was fetched: run again")
        copy.finish(entry, begun)

    @contextmanager
    def _said(self) -> Iterator[None]:
        """Errors of the server and its library as problem and remedy; what is not there stays FileNotFoundError."""
        try:
            yield
        except FileNotFoundError:
            raise
        except ImportError as error:
            raise SightlineError(f"{self.uri}: {error}", "install the package it names") from None
        except PermissionError as error:
            problem = f"{self.uri}: access is refused: {error}"
            raise SightlineError(problem, _RIGHTS.get(self.scheme, "see to the access rights")) from None
        except Exception as error:  # each library has its own classes of them
            problem = f"{self.uri}: {type(error).__name__}: {error}"
            remedy = "see whether the server is there and run again: what was fetched is kept"
            raise TransientError(problem, remedy) from None


def _options(scheme: str) -> dict[str, Any]:
    """What the file system is made with: never a remembered listing, and no signature where there is no key."""
    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if scheme == "s3":
        import botocore.session

        options["anon"] = botocore.session.get_session().get_credentials() is None
    return options


def _version(info: dict) -> str | None:
    return next((f"{key} {info[key]}" for key in _VERSION if info.get(key)), None)
