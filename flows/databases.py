"""Databases that are copied while they are written to, and put back beside what is there: SQLite and PostgreSQL."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from components.core.errors import SightlineError, UsageError

SQLITE = "sqlite:///"
SQLITE_HEAD = b"SQLite format 3\0"
COMPANIONS = ("-wal", "-shm", "-journal")  # of a SQLite file: their content is in its copy
WAIT_S = 60.0  # for a writer to end
RESTORING = "_restoring"  # what a PostgreSQL database is called until it takes its place
LONGEST = 31  # bytes of its name: PostgreSQL cuts names off at 63, and the one before gets `_replaced_TIME` of 32


def is_sqlite(path: Path) -> bool:
    """Whether the file is a SQLite database; False where it is gone."""
    try:
        with open(path, "rb") as handle:
            return handle.read(len(SQLITE_HEAD)) == SQLITE_HEAD
    except FileNotFoundError:
        return False


def copy_sqlite(source: Path, target: Path) -> None:
    """Writes the database as it is at one instant to the new file `target`, whoever writes to it meanwhile.

    Raises SightlineError where it is damaged, or locked for longer than a minute.
    """
    try:
        with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=WAIT_S)) as database:
            with closing(sqlite3.connect(target)) as copy:
                database.backup(copy)
                copy.execute("pragma journal_mode=delete")  # one file, whatever mode it is used in
                (said,) = copy.execute("pragma quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise SightlineError(
            f"{source}: cannot be copied: {error}", "see what holds it; sqlite3 FILE .recover"
        ) from None
    if said != "ok":
        raise SightlineError(f"{source}: is damaged: {said}", "sqlite3 FILE .recover, or restore an older archive")
    target.chmod(source.stat().st_mode & 0o777)


def move_sqlite(path: Path, moved: dict[str, str]) -> int:
    """Lets every text that begins with a key of `moved` begin with its value instead; returns how many were changed."""
    changed = 0
    with closing(sqlite3.connect(path)) as database, database:
        for (table,) in database.execute("select name from sqlite_master where type = 'table'").fetchall():
            columns = [
                row[1] for row in database.execute(f"pragma table_info({_quoted(table)})") if _is_text(str(row[2]))
            ]
            for before, after in moved.items():
                for column in columns:
                    changed += database.execute(*_move(table, column, before, after)).rowcount
    return changed


def _is_text(kind: str) -> bool:
    return kind.upper().partition("(")[0] in ("TEXT", "VARCHAR", "CLOB", "CHARACTER VARYING")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _move(table: str, column: str, before: str, after: str) -> tuple[str, tuple]:
    name = _quoted(column)
    statement = f"update {_quoted(table)} set {name} = ? || substr({name}, ?) where substr({name}, 1, ?) = ?"
    return statement, (after, len(before) + 1, len(before), before)


@dataclass(frozen=True)
class PostgreSQL:
    """A database of a PostgreSQL server, by its tools (pg_dump, pg_restore, psql).

    `url` as libpq takes it, without the password: that goes by the environment, which no list of processes shows.
    """

    url: str
    password: str | None = None

    @classmethod
    def of(cls, url: str) -> "PostgreSQL":
        """From a URL as SQLAlchemy takes it (postgresql+psycopg2://user:password@host/name). Raises UsageError."""
        parts = urlsplit(url)
        if parts.scheme.partition("+")[0] not in ("postgresql", "postgres") or not parts.path.strip("/"):
            raise UsageError(f"{parts.scheme}://...: not a PostgreSQL database", "postgresql://USER@HOST:PORT/NAME")
        _, _, host = parts.netloc.rpartition("@")
        user = parts.netloc.rpartition("@")[0].partition(":")[0]
        plain = urlunsplit(("postgresql", f"{user}@{host}" if user else host, parts.path, parts.query, ""))
        return cls(plain, unquote(parts.password) if parts.password else None)

    @property
    def name(self) -> str:
        """The database's name."""
        return unquote(urlsplit(self.url).path.strip("/"))

    def dump(self, target: Path) -> None:
        """Writes the database as it is at one instant to `target`, in pg_dump's custom format."""
        self._run("pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={target}", self.url)

    def answers(self, statement: str) -> list[str]:
        """A line per row of what the database answers."""
        return self._ask(self.url, statement)

    def is_empty(self) -> bool:
        """Whether the database is not there or has no table."""
        return not self._exists(self.name) or not self._ask(
            self.url, "select 1 from pg_tables where schemaname='public'"
        )

    def stage(self, dump: Path, moved: dict[str, str]) -> None:
        """Puts a dump into a new database beside this one, as `move_sqlite` changes it; `switch` puts it in place.

        Raises UsageError where the name is too long for that, SightlineError.
        """
        if len(self.name.encode()) > LONGEST:
            raise UsageError(f"{self.name}: longer than {LONGEST} bytes", "name a database with a shorter name")
        self._ask(self._on("postgres"), 'drop database if exists :"staged"')
        self._ask(self._on("postgres"), 'create database :"staged"')
        staged = self._on(self.name + RESTORING)
        self._run("pg_restore", "--exit-on-error", "--no-owner", "--no-privileges", f"--dbname={staged}", str(dump))
        for before, after in moved.items():
            columns = self._ask(
                staged,
                "select format('%I %I', table_name, column_name) from information_schema.columns"
                " where table_schema = 'public' and data_type in ('text', 'character varying')",
            )
            for table, column in (line.split(" ", 1) for line in columns):
                self._ask(
                    staged,
                    f"update {table} set {column} = :'after' || substr({column}, length(:'before') + 1)"
                    f" where starts_with({column}, :'before')",
                    before=before,
                    after=after,
                )

    def switch(self, aside: str) -> None:
        """Lets the staged database take this one's name, which is called `aside` from then on; in one transaction.

        Does nothing where that was done. Raises SightlineError while others are connected.
        """
        if not self._exists(self.name + RESTORING):
            return
        steps = ["begin"]
        if self._exists(self.name):
            steps.append('alter database :"name" rename to :"aside"')
        steps += ['alter database :"staged" rename to :"name"', "commit"]
        self._ask(self._on("postgres"), ";\n".join(steps), aside=aside)

    def _on(self, name: str) -> str:
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def _exists(self, name: str) -> bool:
        return bool(self._ask(self._on("postgres"), "select 1 from pg_database where datname = :'wanted'", wanted=name))

    def _ask(self, url: str, statement: str, **values: str) -> list[str]:
        values |= {"name": self.name, "staged": self.name + RESTORING}
        given = [f"--set={key}={value}" for key, value in values.items()]
        return self._run("psql", "-XAtq", "--set=ON_ERROR_STOP=1", *given, url, stdin=statement + ";\n").splitlines()

    def _run(self, tool: str, *arguments: str, stdin: str = "") -> str:
        if shutil.which(tool) is None:
            raise SightlineError(
                f"{tool}: not on this machine", "install PostgreSQL's client tools (postgresql-client)"
            )
        environment = os.environ | ({"PGPASSWORD": self.password} if self.password else {})
        done = subprocess.run([tool, *arguments], input=stdin, capture_output=True, text=True, env=environment)
        if done.returncode:
            said = " ".join(done.stderr.split())
            raise SightlineError(f"{tool} on {self.url}: {said}", _remedy(said))
        return done.stdout


def _remedy(said: str) -> str:
    for words, remedy in {
        "being accessed by other users": "stop what uses it (the MLflow server), then again",
        "server version mismatch": "install client tools that are no older than the server",
        "permission denied to create database": "give the user CREATEDB, or take one that has it",
        "password": "give the password in the URL, in PGPASSWORD or in ~/.pgpass",
    }.items():
        if words in said:
            return remedy
    return "see that the server answers and that the URL is right"


def texts(path: Path, statement: str) -> Iterator[str]:
    """The first column of what a SQLite database answers."""
    with closing(sqlite3.connect(path)) as database:
        yield from (str(row[0]) for row in database.execute(statement))
