"""The folder of captured pictures: shards that appear whole, of one model each, and never too many of them."""

import os
import re
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from components.core import tables
from components.serving.backlog import ROW_BYTES

MOST = 10_000  # shards, whatever their size: a week of one a minute
FOOTER_BYTES = 32_768  # of a shard that has hardly any rows, at most
ABANDONED_S = 3600.0  # after which a temporary file is taken for that of a process that was killed
OWN = re.compile(r"captured-\d{8}T\d{12}Z-[0-9a-f]{8}\.parquet")
TEMPORARY = re.compile(r"\.captured-\d{8}T\d{12}Z-[0-9a-f]{8}\.\d+\.[0-9a-f]{8}\.parquet")


class Shards:
    """Writes shards of `tables.CAPTURED` into a folder, which several processes may share.

    Their names begin with the time at which they were written, so their order is that of time. Together they take at
    most `most_bytes`: the oldest make room, before a new one is written. Files of other names are left alone.
    """

    def __init__(self, folder: Path, most_bytes: int):
        self.folder, self.most_bytes = folder, most_bytes

    def prepare(self) -> None:
        """Makes the folder, and room in it. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._make_room(0)

    def write(self, rows: list[dict], model: str) -> Path:
        """The new shard of these rows, of one model. Raises OSError; SightlineError where the rows do not fit."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._make_room(room_of(rows) + FOOTER_BYTES)
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        path = self.folder / f"captured-{now}-{os.urandom(4).hex()}.parquet"
        tables.write_shard(path, rows, tables.CAPTURED.with_metadata({tables.MODEL: model}))
        return path

    def _make_room(self, room: int) -> None:
        """Removes what processes that were killed left here, and the oldest shards until `room` bytes fit."""
        sizes: dict[str, int] = {}
        taken = 0  # by shards that are being written
        with os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # another process was faster
                    if OWN.fullmatch(entry.name):
                        sizes[entry.name] = entry.stat().st_size
                    elif TEMPORARY.fullmatch(entry.name):
                        found = entry.stat()
                        if time.time() - found.st_mtime > ABANDONED_S:
                            os.unlink(entry.path)
                        else:
                            taken += found.st_size
        total, count = taken + room + sum(sizes.values()), len(sizes) + bool(room)
        for name in sorted(sizes):
            if total <= self.most_bytes and count <= MOST:
                return
            (self.folder / name).unlink(missing_ok=True)
            total, count = total - sizes[name], count - 1


def room_of(rows: list[dict]) -> int:
    """The bytes that rows take in a shard, at most."""
    return sum(ROW_BYTES + len(row["jpeg"] or b"") for row in rows)
