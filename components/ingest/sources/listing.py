"""What a server says it holds: manifests with checksums and pages of links, as entries with names that are checked.

path,bytes,sha256           CSV; the columns bytes and sha256 may be missing
SHA-256  path               as `sha256sum` writes it
["path", {"path": ..., "bytes": ..., "sha256": ...}]        JSON
<a href="name">             a page that a web server makes of a folder
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import quote, unquote, urljoin, urlsplit

from components.ingest.sources.source import checked_name, is_media

_SUM = re.compile(r"\\?([0-9a-fA-F]{64}) [ *](.+)")  # a backslash before: the name has some
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """A remote file: its name below the source's root, what to ask the server for, and what is known beforehand.

    `version` is the server's word for the state of its bytes, where a listing has one.
    """

    name: str
    address: str
    bytes: int | None = None
    sha256: str | None = None
    version: str | None = None


@dataclass
class Listing:
    """The files that a source has, those that are refused with the reason, and (pages only) the folders below."""

    entries: list[Entry] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)

    def add(self, name: str, address: str, **facts) -> None:
        """Takes over a file, or refuses its name."""
        try:
            if (checked := checked_name(name)) != name.removeprefix("./"):
                raise ValueError("an empty part in the path")
            self.entries.append(Entry(checked, address, **facts))
        except ValueError as error:
            self.refused.append((name, str(error)))

    def settle(self) -> "Listing":
        """The same, sorted by name, without names that cannot lie beside each other on a disk."""
        folders, kept, names = set(), [], set()
        for entry in self.entries:
            parts = entry.name.split("/")
            folders |= {"/".join(parts[:count]) for count in range(1, len(parts))}
        for entry in sorted(self.entries, key=lambda entry: entry.name):
            if entry.name in folders:
                self.refused.append((entry.name, "there is a file and a folder of this name"))
            elif entry.name in names:
                self.refused.append((entry.name, "listed twice"))
            else:
                kept.append(entry)
            names.add(entry.name)
        return Listing(kept, sorted(self.refused), self.folders)


def read_manifest(text: str, base: str) -> Listing:
    """The files of a manifest; addresses are below the folder `base`, which ends with a slash.

    Raises ValueError, with the reason, where the text is none of the three kinds of manifest.
    """
    found = Listing()
    try:
        for name, size, digest in _rows(text):
            # A hash or a question mark in a name is part of the name.
            _add(found, name, base + quote(name.removeprefix("./"), errors="replace"), size, digest)
    except (csv.Error, RecursionError) as error:
        raise ValueError(str(error)) from None
    return found.settle()


def _add(found: Listing, name: str, address: str, size: object, digest: object) -> None:
    digest = str(digest).lower() if digest else None
    if digest and not _SHA256.fullmatch(digest):
        found.refused.append((name, f"{digest[:80]!r} is no SHA-256"))
    elif size not in (None, "") and not re.fullmatch(r"\d{1,18}", str(size), re.ASCII):
        found.refused.append((name, f"{str(size)[:80]!r} is no number of bytes"))
    elif "://" in name:
        found.refused.append((name, "an address of its own: a manifest names files below its folder"))
    else:
        found.add(name, address, bytes=int(size) if size not in (None, "") else None, sha256=digest)


def _rows(text: str) -> Iterator[tuple[str, object, object]]:
    text = text.removeprefix("\ufeff")
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError("it is empty")
    if lines[0].lstrip()[:1] in "[{":
        yield from _json_rows(text)
    elif all(_SUM.fullmatch(line) for line in lines):
        yield from ((match[2], None, match[1]) for match in map(_SUM.fullmatch, lines))
    else:
        reader = csv.DictReader(io.StringIO(text))
        if "path" not in (reader.fieldnames or ()):
            raise ValueError("neither `SHA-256  path` in each line, nor CSV with a column `path`, nor JSON")
        yield from ((row["path"] or "", row.get("bytes"), row.get("sha256")) for row in reader)


def _json_rows(text: str) -> Iterator[tuple[str, object, object]]:
    body = json.loads(text)
    if not isinstance(body, list):
        raise ValueError("JSON, but no list")
    for item in body:
        item = {"path": item} if isinstance(item, str) else item
        if not isinstance(item, dict) or not isinstance(item.get("path"), str):
            raise ValueError(f"JSON, but {str(item)[:80]!r} is neither a path nor has one")
        yield item["path"], item.get("bytes"), item.get("sha256")


def read_page(html: str, page: str, base: str) -> Listing:
    """The files and folders that a folder's page at `page` links to, below the folder `base` (ends with a slash).

    Links to the folder above, to other servers and with a question mark (a server's own sorting) are not its files.
    """
    parser, found = _Links(), Listing()
    parser.feed(html)
    for link in dict.fromkeys(parser.links):
        parts = urlsplit(link)
        if parts.query or parts.fragment or not parts.path or _is_elsewhere(parts, base):
            continue
        address = urljoin(page, link)
        # Dots and slashes may be written as %2E and %2F: the name is judged as it would be used.
        if not address.startswith(base) or ".." in unquote(link).split("/"):
            if is_media(parts.path):
                found.refused.append((unquote(link), "it lies outside the folder that lists it"))
        elif address.endswith("/"):
            if address.startswith(page) and address != page:
                found.folders.append(address)
        else:
            found.add(unquote(address.removeprefix(base)), address)
    return found


def merged(listings: Iterable[Listing]) -> Listing:
    """The listings of several pages as one."""
    whole = Listing()
    for listing in listings:
        whole.entries += listing.entries
        whole.refused += listing.refused
    return whole.settle()


def _is_elsewhere(parts, base: str) -> bool:
    ours = urlsplit(base)
    return bool((parts.scheme and parts.scheme != ours.scheme) or (parts.netloc and parts.netloc != ours.netloc))


class _Links(HTMLParser):
    """The targets of a page's links, in its order."""

    def __init__(self):
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Keeps the target of a link."""
        if tag == "a":
            self.links += [value.strip() for name, value in attributes if name == "href" and value]
