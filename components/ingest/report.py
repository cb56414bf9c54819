"""What ingest says of a source: the refused table's rows, and the lines printed at the end."""

from collections.abc import Iterator
from functools import cache

from components.core.files import file_sha256
from components.ingest.annotate import Annotated
from components.ingest.labels import Found, Refusal
from components.ingest.probe import DUPLICATE, OK, QUARANTINED
from components.ingest.sources import Source

SHOWN = 20


def in_order(refused: list[Refusal]) -> list[Refusal]:
    """By file and line; what concerns a file as a whole goes first."""
    return sorted(refused, key=lambda refusal: (refusal.file, refusal.line or 0, refusal.reason))


def refused_rows(source: Source, refused: list[Refusal]) -> list[dict]:
    """Rows of the refused table: files that the source did not take over, then places of labels, as in `refused`."""

    @cache
    def digest(name: str) -> str | None:
        try:
            return file_sha256(source.root / name)
        except OSError:
            return None

    files = [
        {"uri": _shown(source.uri(_shown(name))), "line": None, "sha256": None, "reason": _shown(reason)}
        for name, reason in source.refused
    ]
    return files + [
        {
            "uri": _shown(source.uri(_shown(item.file))),
            "line": item.line,
            "sha256": digest(item.file),
            "reason": _shown(item.reason),
        }
        for item in refused
    ]


def closing_words(
    source: Source, catalog: list[dict], found: Found, result: Annotated, refused: list[Refusal]
) -> Iterator[str]:
    """What is not usable, each with its reason (SHOWN of a kind, then how many more), and one line of counts."""
    noted = [row for row in catalog if row["reason"] and row["status"] != DUPLICATE]
    yield from _some([f"{row['name']}: {row['status']}: {row['reason']}" for row in noted])
    yield from _some([f"{name}: refused: {reason}" for name, reason in source.refused])
    yield from _some([f"{_place(item)}: refused: {item.reason}" for item in refused])
    if found.form:
        yield f"labels read as {found.form}" + (f", files {found.files}" if found.files else "")
    if result.unmapped:
        yield f"not in label_map, so these words say nothing of a frame: {_counts(result.unmapped)}"
    if result.foreign:
        yield f"boxes of classes that the task does not have: {_counts(result.foreign)}"
    count = {status: sum(row["status"] == status for row in catalog) for status in (OK, QUARANTINED, DUPLICATE)}
    parts = ", ".join(f"{sum(row['split'] == name for row in catalog)} {name}" for name in ("train", "val", "test"))
    yield (
        f"assets {count[OK]} ok ({parts}), {count[QUARANTINED]} quarantined, {count[DUPLICATE]} duplicate; "
        f"{source.ignored} other files ignored; labels {result.accepted} accepted, {len(refused)} refused"
    )


def _place(item: Refusal) -> str:
    return item.file if item.line is None else f"{item.file} line {item.line}"


def _counts(words: dict[str, int]) -> str:
    often = sorted(words.items(), key=lambda entry: (-entry[1], entry[0]))
    more = f", and {len(often) - SHOWN} more" if len(often) > SHOWN else ""
    return ", ".join(f"{word} ({count})" for word, count in often[:SHOWN]) + more


def _some(lines: list[str]) -> Iterator[str]:
    yield from lines[:SHOWN]
    if len(lines) > SHOWN:
        yield f"and {len(lines) - SHOWN} more"


def _shown(name: str) -> str:
    """Text that can be written as UTF-8: bytes of a name that are none stand there as \\xff."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")
