"""A URI as a source: listed each time, and every file that is new or changed is fetched into `.sightline/fetched`.

http(s): a manifest, a folder's page of links, one file or an archive. s3 and its like: a folder, one object or an
archive. What is gone from the server is gone from the source; copies stay for the catalogs that still name them.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from components.core import paths
from components.core.errors import SightlineError, UsageError
from components.core.progress import progress
from components.core.recipe import Recipe
from components.ingest.sources import archive, folder, web
from components.ingest.sources.copies import Copy, Refused, Stopped, check_room
from components.ingest.sources.listing import Entry, Listing, merged, read_manifest, read_page
from components.ingest.sources.objects import Store
from components.ingest.sources.source import Source, find_labels, is_hidden, is_label, is_media, locked

PARALLEL = 8
PAGES = 10_000
MANIFESTS = (".csv", ".json", ".txt", ".sha256")
MB = 1e6

Fetch = Callable[[Entry, Copy, Callable[[int], None]], None]


def locate(recipe: Recipe) -> Source:
    """The files below the URI `recipe.source`, fetched as far as they are not there.

    Raises UsageError for a URI that no source can be, SightlineError where the server cannot be asked or breaks off.
    """
    uri = checked_uri(recipe.source)
    if uri.startswith("file://"):
        return folder.from_uri(recipe)
    scheme, host = urlsplit(uri)[:2]
    with locked(paths.state("fetched", scheme, f"{host}.lock")):
        base, listing, fetch = (_of_web if scheme in ("http", "https") else _of_store)(uri)
        root = paths.fetched(base)
        if archive.is_archive(uri):
            refused = synchronise(root, listing.entries, fetch, uri)
            if refused:
                raise SightlineError(f"{uri}: {refused[0][1]}", "correct the address")
            return archive.from_file(recipe, root / listing.entries[0].name, uri)
        wanted = [entry for entry in listing.entries if _is_wanted(entry.name)]
        refused = [*listing.refused, *synchronise(root, wanted, fetch, uri)]
        bad = {name for name, _ in refused}
        names = [entry.name for entry in wanted if entry.name not in bad]
        if not is_media(uri):
            _drop_labels(root, set(names))
    files = tuple(name for name in names if is_media(name))
    others = sum(not is_hidden(entry.name) for entry in listing.entries) - sum(is_media(e.name) for e in wanted)
    labels, form = find_labels(recipe, root, present=names)
    return Source(
        root, Path(base.rstrip("/")).name, base.rstrip("/"), files, others, labels, dict(recipe.ingest.label_map),
        label_format=form, refused=tuple(sorted(refused)),
    )  # fmt: skip


def checked_uri(uri: str) -> str:
    """`uri` as it is. Raises UsageError where a table could not name it, or it names several things."""
    try:
        parts = urlsplit(uri)
        host = parts.hostname
    except ValueError as error:
        raise UsageError(f"source {uri!r}: {error}", "correct the address") from None
    if parts.password or (parts.username and parts.scheme in ("http", "https")):
        raise UsageError(
            f"source {uri.replace(parts.netloc, '...')!r} has a password in it, which tables would show",
            "put it into ~/.netrc (http) or the environment",
        )
    if "::" in uri or (parts.scheme != "file" and not host):
        raise UsageError(f"source {uri!r} is no plain address", "write SCHEME://HOST/PATH")
    if parts.scheme in ("http", "https") and (parts.query or parts.fragment):
        raise UsageError(f"source {uri!r}: an address with ? or # has no folder", "name a folder, a manifest or a file")
    if ".." in unquote(parts.path).split("/"):
        raise UsageError(f"source {uri!r}: `..` in the path", "name the folder itself")
    return uri


def synchronise(root: Path, entries: list[Entry], fetch: Fetch, what: str) -> list[tuple[str, str]]:
    """Fetches those `entries` whose copy below `root` is not current, PARALLEL at a time, and returns the refused.

    Raises the first SightlineError of any of them, after the others have stopped.
    """
    todo = [(entry, Copy(root / entry.name)) for entry in entries]
    todo = [(entry, copy) for entry, copy in todo if not copy.is_current(entry)]
    if not todo:
        return []
    sizes = [entry.bytes for entry, _ in todo]
    check_room(root, sum(size or 0 for size in sizes), what)
    counts_bytes = None not in sizes
    total = max(round(sum(sizes) / MB), 1) if counts_bytes else len(todo)
    stop, lock, come, refused = threading.Event(), threading.Lock(), [0], []
    with progress("fetch", total, "MB" if counts_bytes else "files") as ticker:

        def tell(size: int) -> None:
            if stop.is_set():
                raise Stopped
            if counts_bytes:
                with lock:
                    come[0] += size
                    ticker.update(min(round(come[0] / MB), total))

        def one(entry: Entry, copy: Copy) -> None:
            if stop.is_set():
                return
            try:
                fetch(entry, copy, tell)
            except Refused as error:
                refused.append((entry.name, str(error)))
            except Stopped:
                return
            except BaseException:
                stop.set()
                raise
            if not counts_bytes:
                with lock:
                    ticker.advance()

        with ThreadPoolExecutor(PARALLEL) as pool:
            futures = [pool.submit(one, entry, copy) for entry, copy in todo]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                stop.set()
                raise
    return sorted(refused)


def _of_web(uri: str) -> tuple[str, Listing, Fetch]:
    session = web.new_session()

    def fetch(entry: Entry, copy: Copy, tell: Callable[[int], None]) -> None:
        web.fetch(session, entry, copy, tell)

    above, _, last = uri.rpartition("/")
    if archive.is_archive(uri) or is_media(uri):
        listing = Listing()
        listing.add(unquote(last), _quoted(uri))
        return above, listing, fetch
    page = web.get_page(session, _quoted(uri))
    if page.kind not in ("text/html", "application/xhtml+xml"):
        try:
            return above, read_manifest(page.text, page.url.rpartition("/")[0] + "/"), fetch
        except ValueError as error:
            known = f"a manifest ({', '.join(MANIFESTS)}), a folder's page of links, a video, a picture or an archive"
            raise SightlineError(f"{uri}: no manifest: {error}", f"name {known}") from None
    return uri, _pages(session, page), fetch


def _pages(session, first: web.Page) -> Listing:
    """The files of a folder's page and of those below it."""
    base = first.url if first.url.endswith("/") else first.url + "/"
    found, todo, seen = [], [first], {base}
    while todo:
        page = todo.pop()
        at = page.url if page.url.endswith("/") else page.url + "/"
        listing = read_page(page.text, at, base)
        found.append(listing)
        for address in listing.folders:
            if address not in seen:
                seen.add(address)
                todo.append(web.get_page(session, address))
        if len(seen) > PAGES:
            raise SightlineError(f"{base}: more than {PAGES} folders", "name a folder below it, or write a manifest")
    return merged(found)


def _of_store(uri: str) -> tuple[str, Listing, Fetch]:
    store = Store(uri)
    listing = store.listing()
    single = len(listing.entries) == 1 and listing.entries[0].address == store.path
    return uri.rpartition("/")[0] if single else uri, listing, store.fetch


def _quoted(uri: str) -> str:
    return quote(uri, safe=":/%@!$&'()*+,;=~[]")


def _is_wanted(name: str) -> bool:
    return not is_hidden(name) and (is_media(name) or is_label(name))


def _drop_labels(root: Path, names: set[str]) -> None:
    """Removes copies of label files that the server no longer has: a reader may be given the whole folder."""
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if is_label(name) and not is_hidden(name) and name not in names and path.is_file():
            os.unlink(path)
