"""The folder of gathered pictures: CLASS/SHA16/NAME, and gathered.csv with what each is and whose."""

import csv
import io
import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from components.core import paths
from components.core.files import atomic_text, link_or_copy
from components.core.media import IMAGE_SUFFIXES
from components.core.tables import asset_id
from components.ingest.search import kept
from components.ingest.search.choose import Found

TABLE = "gathered.csv"
COLUMNS = ("image", "label", "query", "provider", "url", "page", "licence", "author", "title", "width", "height")
NAME_BYTES = 150
SUFFIXES = {"jpeg": ".jpg", "mpo": ".jpg", "png": ".png", "gif": ".gif", "tiff": ".tif", "webp": ".webp", "bmp": ".bmp"}

_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\]")


def publish(root: Path, taken: list[Found], provider: str) -> tuple[str, ...]:
    """Makes `root` hold exactly these pictures, links or copies, and their table; returns their names, sorted.

    Files appear whole, and the table after them; what is there already is left as it is.
    """
    named = {_name(one): one for one in taken}
    for name, one in named.items():
        own = one.facts.get("path")
        source = paths.workspace() / own if own else kept.picture_path(one.facts["sha256"])
        target = root / name
        if not target.is_file() or target.stat().st_size != one.facts["bytes"]:
            link_or_copy(source, target)
    text = _table(named, provider)
    if not (root / TABLE).is_file() or (root / TABLE).read_text() != text:
        atomic_text(root / TABLE, text)
    _remove_others(root, set(named))
    return tuple(sorted(named))


def safe_name(url: str, codec: str) -> str:
    """The last part of an address as the name of a picture's file, so that its own labels find it by that name."""
    name = unquote(urlsplit(url).path if "://" in url else url).rstrip("/").rpartition("/")[2]
    name = _UNSAFE.sub("_", name.encode(errors="replace").decode()).strip().lstrip(".") or "picture"
    suffix = Path(name).suffix
    if suffix.lower() not in IMAGE_SUFFIXES:
        name, suffix = name + SUFFIXES[codec], SUFFIXES[codec]
    stem = name.removesuffix(suffix).encode()[: NAME_BYTES - len(suffix.encode())].decode(errors="ignore")
    return stem.strip() + suffix


def _name(one: Found) -> str:
    label = _UNSAFE.sub("_", one.query.label).lstrip(".").strip() or "_"
    return f"{label}/{asset_id(one.facts['sha256'])}/{safe_name(one.hit.url, one.facts['codec'])}"


def _table(named: dict[str, Found], provider: str) -> str:
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, one in sorted(named.items()):
        hit, facts = one.hit, one.facts
        writer.writerow((
            name, one.query.label, one.query.text, provider, hit.url, hit.page, hit.licence, hit.author, hit.title,
            facts["width"], facts["height"],
        ))  # fmt: skip
    return content.getvalue()


def _remove_others(root: Path, names: set[str]) -> None:
    """Removes pictures that are not of `names`, and folders that are left empty. Files of `root` itself stay."""
    for folder, _, files in os.walk(root, topdown=False):
        here = Path(folder)
        if here == root:
            continue
        for name in files:
            if (here / name).relative_to(root).as_posix() not in names:
                (here / name).unlink()
        if not any(here.iterdir()):
            here.rmdir()
