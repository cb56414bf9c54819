"""SQL over a recipe's tables, by DuckDB in memory: it reads these tables, and no other file; it writes none.

Tables that stages have written so far: catalog, annotations, refused, frames, features, predictions; and `quarantine`,
which lists all that was refused: files (line is null) and lines of labels files.
"""

import math
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from components.core import paths
from components.core.errors import SightlineError, UsageError
from components.core.tables import shards

_FOLDERS = {
    "catalog": ("catalog",),
    "annotations": ("annotations",),
    "refused": ("refused",),
    "frames": ("frames",),
    "features": ("features",),
    "predictions": ("evaluation", "predictions"),
}
_QUARANTINE = """
create view quarantine as
    select uri, null::bigint as line, sha256, reason from catalog where status = 'quarantined'
    union all select uri, line, sha256, reason from refused"""

# What `summary` asks, by title.
_SUMMARY = {
    "files": "select status, kind, count(*) as files, sum(bytes) as bytes from catalog group by all order by all",
    "splits": "select split, kind, count(*) as assets from catalog where status = 'ok' group by all order by all",
    "sites": "select site, count(*) as assets, min(captured_at) as first, max(captured_at) as last from catalog"
    " where status = 'ok' group by all having site is not null order by all",
    "cameras": "select camera_make, camera_model, count(*) as pictures from catalog where status = 'ok'"
    " group by all having camera_make is not null or camera_model is not null order by all",
    "resolutions": "select width, height, kind, count(*) as assets from catalog where status = 'ok'"
    " group by all order by assets desc, width, height, kind limit 10",
    "near-duplicates": "select count(distinct near_group) as groups, count(*) as pictures from catalog"
    " where near_group is not null having count(*) > 0",
    "reasons": "select reason, count(*) as files from catalog where status = 'quarantined'"
    " group by all order by files desc, reason limit 10",
}


@dataclass(frozen=True)
class Answer:
    """A result: the columns' names, and the rows in order, of Python values."""

    columns: tuple[str, ...]
    rows: list[tuple]

    def records(self) -> list[dict[str, Any]]:
        """The rows as JSON-able mappings: bytes in base64, times in ISO 8601, what is no number as null."""
        return [dict(zip(self.columns, map(_plain, row), strict=True)) for row in self.rows]


def query(recipe: str, sql: str) -> Answer:
    """The answer of the recipe's tables to `sql`. Raises UsageError with DuckDB's message where it cannot be answered.

    Columns that are not asked for are not read.
    """
    with _opened(recipe) as (ask, _):
        return ask(sql)


def summary(recipe: str) -> dict[str, Answer]:
    """What the catalog holds, by title: files, splits, sites, cameras, resolutions, near-duplicates, reasons.

    Titles with nothing to say are left out.
    """
    with _opened(recipe) as (ask, _):
        answers = {title: ask(sql) for title, sql in _SUMMARY.items()}
    return {title: answer for title, answer in answers.items() if answer.rows}


@contextmanager
def _opened(recipe: str) -> Iterator[tuple[Any, list[str]]]:
    """Yields (ask(sql) -> Answer, the names of the tables there). Raises SightlineError where there is no catalog."""
    import duckdb
    import pyarrow.dataset

    with duckdb.connect(":memory:") as store:
        there = []
        for name, parts in _FOLDERS.items():
            if files := _shards(paths.data(recipe).joinpath(*parts)):
                store.register(name, pyarrow.dataset.dataset(files, format="parquet"))
                there.append(name)
        if "catalog" not in there:
            remedy = f"run `sightline run {recipe}`, or `python -m components.ingest --recipe {recipe}`"
            raise SightlineError(f"{paths.data(recipe, 'catalog')}: the catalog is not there", remedy)
        if "refused" in there:
            store.execute(_QUARANTINE)
            there.append("quarantine")
        for setting in ("python_enable_replacements=false", "enable_external_access=false", "lock_configuration=true"):
            store.execute(f"set {setting}")

        def ask(sql: str) -> Answer:
            try:
                found = store.execute(sql)
                rows = found.fetchall() if found is not None and found.description else []
                return Answer(tuple(column[0] for column in found.description or ()) if found is not None else (), rows)
            except duckdb.Error as error:
                remedy = f"tables: {', '.join(there)}; their columns: --sql 'describe catalog'"
                raise UsageError(f"--sql: {error}", remedy) from None

        yield ask, there


def _shards(folder: Path) -> list[str]:
    return [str(path) for path in shards(folder)] if folder.is_dir() else []


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, (timedelta, UUID)):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value
