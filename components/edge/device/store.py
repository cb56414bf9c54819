"""The queue of records that wait for the link: stored durably, numbered for ever, deleted when acknowledged.

SQLite in WAL mode with synchronous=FULL: what `add` has returned for is on the disk, whatever happens to the power.
Numbers (`sequence`) begin at 1 and are never given twice, not even after everything was deleted.
"""

import fcntl
import os
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from components.core.errors import SightlineError
from components.core.files import sync_directory

FILE = "queue.sqlite"
ROW = 32  # bytes that a record costs beside its body
NONE: Mapping[str, int] = MappingProxyType({})
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
SCHEMA = """
create table if not exists records (sequence integer primary key autoincrement, body blob not null);
create table if not exists facts (name text primary key, value) without rowid;
create table if not exists positions (source text primary key, number integer not null) without rowid;
"""


class Full(Exception):
    """There is no room for more records: the bound, or the disk."""


class Store:
    """A device's queue. `device`: the id it was born with. Any number of threads may use it; one process at a time.

    `limit`: of bytes that wait. `drop`: with no room left the oldest make place, counted in `dropped`; else `add`
    raises Full.
    """

    def __init__(self, folder: Path, limit: int, drop: bool = False):
        """Raises SightlineError where another process has it, or it cannot be opened."""
        folder.mkdir(parents=True, exist_ok=True)
        self._limit, self._drop, self._mutex = limit, drop, threading.Lock()
        self._lock = _locked(folder / "queue.lock")
        self._file = folder / FILE
        try:
            self._base = self._opened()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF not in DAMAGED:
                raise SightlineError(f"{self._file}: cannot be opened: {error}", "see the disk") from None
            self._set_aside()
            self._base = self._opened()
        sync_directory(folder)
        self.device = self._born()
        self._bytes = self._one(f"select coalesce(sum(length(body) + {ROW}), 0) from records")

    def _opened(self) -> sqlite3.Connection:
        base = sqlite3.connect(self._file, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode = wal", "synchronous = full", "journal_size_limit = 4194304"):
            base.execute(f"pragma {pragma}")
        base.executescript(SCHEMA)
        if base.execute("pragma quick_check(1)").fetchone()[0] != "ok":
            base.close()
            raise _corrupt()
        return base

    def _set_aside(self) -> None:
        """A damaged file is kept for whoever can read it. The new one is another device's: its numbers begin anew."""
        suffix = f".damaged-{time.time_ns()}"
        for ending in ("", "-wal", "-shm"):
            file = self._file.with_name(self._file.name + ending)
            if file.exists():
                os.replace(file, file.with_name(file.name + suffix))

    def _born(self) -> str:
        """The id, made by chance with the file and part of it: whoever loses the numbers loses the id with them."""
        known = self._fact("device", None)
        if known is None:
            host = re.sub(r"[^A-Za-z0-9_-]+", "-", socket.gethostname())[:40].strip("-") or "device"
            known = f"{host}-{os.urandom(6).hex()}"
            self._base.execute("insert into facts values ('device', ?)", (known,))
        return known

    def add(self, bodies: list[bytes], positions: Mapping[str, int] = NONE) -> None:
        """Stores records, and with them how far files were looked at (by key, the number of the last frame): all or
        nothing. They are on the disk when it returns. Raises Full."""
        size = sum(len(body) + ROW for body in bodies)
        with self._mutex:
            # What is larger than the bound alone is taken by an empty queue: else it would wait for ever.
            if self._bytes and self._bytes + size > self._limit and not self._drop:
                raise Full(f"{self._bytes} bytes wait")
            try:
                self._base.execute("begin immediate")
                freed = self._make_room(size)
                self._base.executemany("insert into records (body) values (?)", ((body,) for body in bodies))
                self._base.executemany("insert or replace into positions values (?, ?)", positions.items())
                self._base.execute("commit")
            except sqlite3.OperationalError as error:
                if self._base.in_transaction:
                    self._base.execute("rollback")
                if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                    raise Full(str(error)) from None
                raise
            self._bytes += size - freed

    def _make_room(self, size: int) -> int:
        freed, last, gone = 0, 0, 0
        if self._bytes + size > self._limit:
            rows = self._base.execute("select sequence, length(body) from records order by sequence")
            for sequence, length in rows:
                if self._bytes - freed + size <= self._limit:
                    break
                freed, last, gone = freed + length + ROW, sequence, gone + 1
            rows.close()
            self._base.execute("delete from records where sequence <= ?", (last,))
            self._base.execute("insert or replace into facts values ('dropped', ?)", (self._fact("dropped", 0) + gone,))
        return freed

    def batch(self, records: int, size: int) -> list[tuple[int, bytes]]:
        """The oldest records, (sequence, body): up to so many, and of up to `size` bytes unless one alone is larger.
        Without a gap in their numbers."""
        taken: list[tuple[int, bytes]] = []
        with self._mutex:
            rows = self._base.execute("select sequence, body from records order by sequence limit ?", (records,))
            for sequence, body in rows:
                size -= len(body)
                if taken and (size < 0 or sequence != taken[-1][0] + 1):
                    break
                taken.append((sequence, body))
            rows.close()
        return taken

    def acknowledge(self, first: int, last: int) -> None:
        """Deletes the records from `first` to `last`: the receiver has them on its disk."""
        with self._mutex:
            where = "from records where sequence between ? and ?"
            total = f"select coalesce(sum(length(body) + {ROW}), 0) {where}"
            freed = self._base.execute(total, (first, last)).fetchone()[0]
            self._base.execute(f"delete {where}", (first, last))
            self._bytes -= freed

    def position(self, source: str) -> int:
        """The number of the last frame of a source whose record was stored; -1 for none."""
        with self._mutex:
            row = self._base.execute("select number from positions where source = ?", (source,)).fetchone()
        return -1 if row is None else row[0]

    @property
    def waiting(self) -> int:
        """How many records wait."""
        with self._mutex:
            return self._one("select count(*) from records")

    @property
    def dropped(self) -> int:
        """How many records made place for newer ones, ever."""
        with self._mutex:
            return self._fact("dropped", 0)

    def close(self) -> None:
        """Closes the file; the store must not be used afterwards."""
        with self._mutex:
            self._base.close()
            os.close(self._lock)

    def _fact(self, name: str, default):
        row = self._base.execute("select value from facts where name = ?", (name,)).fetchone()
        return default if row is None else row[0]

    def _one(self, query: str) -> int:
        return self._base.execute(query).fetchone()[0]


def counted(folder: Path) -> dict:
    """What a device's queue holds, also while a runner uses it: device, waiting, bytes, dropped. Raises
    SightlineError."""
    file = folder / FILE
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file.resolve()))}?mode=ro", uri=True)) as base:
            waiting, size = base.execute(
                f"select count(*), coalesce(sum(length(body) + {ROW}), 0) from records"
            ).fetchone()
            facts = dict(base.execute("select name, value from facts"))
    except sqlite3.Error as error:
        raise SightlineError(f"{file}: cannot be read: {error}", "has a runner begun with this state?") from None
    return {"device": facts.get("device"), "waiting": waiting, "bytes": size, "dropped": facts.get("dropped", 0)}


def _corrupt() -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _locked(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise SightlineError(f"{path.parent}: another process runs with this state", "end it first") from None
    return handle
