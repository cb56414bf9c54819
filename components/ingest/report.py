"""What ingest says of a source: the refused table's rows, and the lines printed at the end."""

from collections.abc import Iterator

from components.core.files import file_sha256
from components.ingest.labels import Refusal
from components.ingest.probe import DUPLICATE, OK, QUARANTINED
from components.ingest.sources import Source

SHOWN = 20


def refused_rows(source: Source, refused: list[Refusal]) -> list[dict]:
    """Rows of the refused table, in the order of `refused`."""
    if not refused:
        return []
    uri, digest = source.uri(source.labels.relative_to(source.root).as_posix()), file_sha256(source.labels)
    return [{"uri": uri, "line": item.line, "sha256": digest, "reason": item.reason} for item in refused]


def closing_words(source: Source, catalog: list[dict], accepted: int, refused: list[Refusal]) -> Iterator[str]:
    """What is not usable, each with its reason (SHOWN of a kind, then how many more), and one line of counts."""
    noted = [row for row in catalog if row["reason"] and row["status"] != DUPLICATE]
    yield from _some([f"{row['name']}: {row['status']}: {row['reason']}" for row in noted])
    yield from _some([f"{source.labels.name} line {item.line}: refused: {item.reason}" for item in refused])
    count = {status: sum(row["status"] == status for row in catalog) for status in (OK, QUARANTINED, DUPLICATE)}
    parts = ", ".join(f"{sum(row['split'] == name for row in catalog)} {name}" for name in ("train", "val", "test"))
    yield (
        f"assets {count[OK]} ok ({parts}), {count[QUARANTINED]} quarantined, {count[DUPLICATE]} duplicate; "
        f"{source.ignored} other files ignored; labels {accepted} accepted, {len(refused)} refused"
    )


def _some(lines: list[str]) -> Iterator[str]:
    yield from lines[:SHOWN]
    if len(lines) > SHOWN:
        yield f"and {len(lines) - SHOWN} more"
