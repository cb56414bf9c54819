"""What is known of files already: which bytes lie under a name, and what probing those bytes said.

One SQLite file per workspace, `.sightline/work/ingest/known.sqlite`, written by the stage's own process alone: a new
file costs a row, whatever the size of the archive. The workers leave their records in files beside it (`leave`), which
are taken over at the end, or by the next run where this one was killed.
"""

import json
import os
import sqlite3
import sys
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from pathlib import Path

from components.core import paths
from components.core.errors import SightlineError
from components.core.files import atomic_text

WAITS_S = 60.0  # for another recipe's run that is writing
_TABLES = """
create table if not exists files (
    root text, name text, size integer, mtime integer, ctime integer, inode integer, kind text, sha256 text,
    primary key (root, name)) without rowid;
create table if not exists records (
    code text, kind text, sha256 text, record text, primary key (code, kind, sha256)) without rowid;
"""


class Known:
    """Context: the store, open for writing by this process. Raises SightlineError where it cannot be written."""

    def __enter__(self):
        self.path = _path()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._open()
        except sqlite3.OperationalError as error:
            raise self._failed(error) from None
        except sqlite3.DatabaseError as error:
            print(f"ingest: {self.path}: {error}; every file is read again", file=sys.stderr)
            self.path.unlink()
            self._open()
        return self

    def __exit__(self, kind, error, trace):
        self._store.close()
        if isinstance(error, sqlite3.DatabaseError):
            raise self._failed(error) from None
        return False

    def _open(self) -> None:
        self._store = sqlite3.connect(self.path, timeout=WAITS_S)
        self._store.executescript(_TABLES)
        self._store.execute("select count(*) from files where root = ''").fetchone()

    def _failed(self, error: Exception) -> SightlineError:
        return SightlineError(f"{self.path}: {error}", "see that the disk has room and is writable, or remove the file")

    def files(self, root: str, code: str) -> dict[str, tuple[list[int], str, str | None]]:
        """Of the files below `root`: name -> (fingerprint, digest, record as JSON where `code` made one)."""
        rows = self._store.execute(
            "select name, size, mtime, ctime, inode, files.sha256, record from files left join records"
            " on records.code = ? and records.kind = files.kind and records.sha256 = files.sha256 where root = ?",
            (code, root),
        )
        return {name: ([size, *rest], digest, record) for name, size, *rest, digest, record in rows}

    def update(self, root: str, fresh: dict[str, dict], gone: Iterable[str]) -> None:
        """Notes whole records by name for files that are new or changed, and forgets names that are gone."""
        rows = [
            (root, name, *record["fingerprint"], record["kind"], record["sha256"]) for name, record in fresh.items()
        ]
        with self._store:
            self._store.executemany("delete from files where root = ? and name = ?", [(root, name) for name in gone])
            self._store.executemany("insert or replace into files values (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def keep(self, code: str, records: Iterable[dict]) -> None:
        """Keeps the records that are those of their bytes for good (they have a fingerprint)."""
        rows = [
            (code, record["kind"], record["sha256"], json.dumps(record | {"fingerprint": None}, sort_keys=True))
            for record in records
            if record["fingerprint"]
        ]
        with self._store:
            self._store.executemany("insert or replace into records values (?, ?, ?, ?)", rows)

    def take_over(self) -> None:
        """Keeps what workers left, this run's or that of one that was killed, and removes their files."""
        for path in sorted(_left().glob("*.json")):
            try:
                found = json.loads(path.read_text())
                self.keep(found["code"], found["records"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                print(f"ingest: {path}: {error}; its files are read again", file=sys.stderr)
            path.unlink(missing_ok=True)


def leave(code: str, records: list[dict]) -> None:
    """A worker's records, written whole into a file for `take_over`."""
    content = json.dumps({"code": code, "records": records}, sort_keys=True)
    atomic_text(_left() / f"{sha256(content.encode()).hexdigest()[:32]}.json", content)


def record(digest: str, kind: str, code: str) -> dict | None:
    """The record kept for these bytes, or None. For workers: reads only, and a store it cannot read is none."""
    try:
        store = _reader(os.environ.get("SIGHTLINE_WORKSPACE"), os.getcwd())
        row = store.execute(
            "select record from records where code = ? and kind = ? and sha256 = ?", (code, kind, digest)
        ).fetchone()
        return json.loads(row[0]) if row else None
    except (sqlite3.Error, ValueError):
        return None


@cache
def _reader(workspace: str | None, folder: str) -> sqlite3.Connection:
    """The store of the workspace that these two decide on: to find it costs more than to ask it."""
    return sqlite3.connect(f"{_path().absolute().as_uri()}?mode=ro", uri=True, timeout=WAITS_S)


def _path() -> Path:
    return paths.state("work", "ingest", "known.sqlite")


def _left() -> Path:
    return paths.state("work", "ingest", "left")
