"""What a receiver keeps, in one SQLite file: every device's records, each once, and what is known of the devices.

The key is (device, sequence): a record that comes again is known. One that comes with another content is a conflict:
two devices with one id, say of a copied memory card. It is refused, so that neither loses anything unseen.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from components.core.errors import SightlineError

FILE = "receiver.sqlite"
SCHEMA = """
create table if not exists records (
    device text not null, sequence integer not null, received real not null, body text not null,
    primary key (device, sequence)) without rowid;
create table if not exists devices (
    device text primary key, model text, release integer, waiting integer, dropped integer, skipped integer,
    camera text, records integer not null default 0, first_seen real not null, last_seen real not null) without rowid;
"""
TOLD = ("model", "release", "waiting", "dropped", "skipped", "camera")  # what a device says of itself


class Conflict(Exception):
    """A record under a number that this device's id has used for another one."""


class Ledger:
    """The file, open for writing. Any number of threads may use it, and other processes may read beside."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._mutex = threading.Lock()
        try:
            self._base = sqlite3.connect(folder / FILE, isolation_level=None, check_same_thread=False, timeout=30)
            for pragma in ("journal_mode = wal", "synchronous = full"):
                self._base.execute(f"pragma {pragma}")
            self._base.executescript(SCHEMA)
        except sqlite3.Error as error:
            raise SightlineError(f"{folder / FILE}: cannot be opened: {error}", "see the disk, or --store") from None

    def take(self, device: str, about: dict, records: list[tuple[int, str]]) -> int:
        """Keeps a batch, all or nothing; returns how many of its records were new. They are on the disk then.

        Raises Conflict where one is another than the one that is kept under its number.
        """
        now = time.time()
        with self._mutex:
            base = self._base
            base.execute("begin immediate")
            try:
                new = 0
                for sequence, body in records:
                    row = (device, sequence, now, body)
                    if base.execute("insert into records values (?, ?, ?, ?) on conflict do nothing", row).rowcount:
                        new += 1
                        continue
                    query = "select body from records where device = ? and sequence = ?"
                    if base.execute(query, (device, sequence)).fetchone()[0] != body:
                        raise Conflict(f"device {device} has sent another record {sequence} before")
                base.execute(
                    "insert into devices (device, first_seen, last_seen) values (?, ?, ?) on conflict do nothing",
                    (device, now, now),
                )
                told = [about.get(name) for name in TOLD]
                columns = ", ".join(f"{one} = ?" for one in TOLD)
                query = f"update devices set last_seen = ?, records = records + ?, {columns} where device = ?"
                base.execute(query, (now, new, *told, device))
                base.execute("commit")
            except BaseException:
                base.execute("rollback")
                raise
            return new

    def close(self) -> None:
        """Closes the file."""
        with self._mutex:
            self._base.close()


def fleet(folder: Path) -> list[dict]:
    """A row per device, by its id: what it said last, seen first and last (seconds since 1970), `records` that are
    kept, and `missing`, numbers up to its last that neither came nor were dropped by it. Raises SightlineError."""
    with _reading(folder) as base:
        rows = [dict(row) for row in base.execute("select * from devices order by device")]
        for row in rows:
            query = "select coalesce(max(sequence), 0) from records where device = ?"
            last = base.execute(query, (row["device"],)).fetchone()[0]
            row["missing"] = max(0, last - row["records"] - (row["dropped"] or 0))
    return rows


def records(folder: Path, device: str | None = None) -> Iterator[dict]:
    """The records that are kept, by device and number, with both in each. Raises SightlineError."""
    with _reading(folder) as base:
        where, values = ("where device = ?", (device,)) if device else ("", ())
        query = f"select device, sequence, body from records {where} order by device, sequence"
        for row in base.execute(query, values):
            yield json.loads(row["body"]) | {"device": row["device"], "sequence": row["sequence"]}


@contextmanager
def _reading(folder: Path) -> Iterator[sqlite3.Connection]:
    file = folder / FILE
    if not file.is_file():
        raise SightlineError(f"{file}: not there", "sightline edge receive makes it; or name another --store")
    try:
        with closing(sqlite3.connect(file, timeout=30)) as base:
            base.row_factory = sqlite3.Row
            base.execute("pragma query_only = on")
            yield base
    except sqlite3.Error as error:
        raise SightlineError(f"{file}: cannot be read: {error}", "see the disk") from None
