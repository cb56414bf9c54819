"""The one thread that looks at captured pictures again and writes what is known of them."""

import logging
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from hashlib import blake2b

from components.core.media import decode_picture, encode_jpeg, fit, saturation, statistics
from components.serving.backlog import DEFECT, UNWRITTEN, Backlog, Picture
from components.serving.metrics import Metrics
from components.serving.shards import Shards, room_of

ROWS = 512  # of a shard: a row group
SECONDS = 60.0  # after which a shard is written, however few rows it has
RETRY_S = 5.0  # after a write that failed
SHARD_BYTES = 16 << 20  # of pictures in a shard, and of the memory that they take
SHARE = 8  # of what the folder may hold, a shard takes this part of it at most
STOP_S = 15.0  # for what waits when the service ends
SIDE, QUALITY = 640, 85  # of the pictures that are kept
SOURCE_BYTES = 6

log = logging.getLogger("sightline.serving")


class Recorder:
    """Takes pictures from a backlog and writes them as shards: after `rows` of them or `seconds`, whichever is first.

    A disk that refuses costs nobody but the capture: what was taken is kept, and written as soon as it can be, tried
    every `retry_s` seconds; meanwhile the backlog fills up and drops what comes. `metrics` hears of it all.
    """

    def __init__(
        self, backlog: Backlog, shards: Shards, metrics: Metrics, pictures: bool = False, rows: int = ROWS,
        seconds: float = SECONDS, retry_s: float = RETRY_S,
    ):  # fmt: skip
        self._backlog, self._shards, self._metrics, self._pictures = backlog, shards, metrics, pictures
        self._most_rows, self._seconds, self._retry_s = rows, seconds, retry_s
        self._most_bytes = min(SHARD_BYTES, shards.most_bytes // SHARE)
        self._rows: list[dict] = []
        self._bytes = 0
        self._next = 0.0  # when the rows are to be written
        self._problem: tuple | None = None
        self._key = os.urandom(16)  # never written: who sent a picture cannot be found out from a shard
        self._thread = threading.Thread(target=self._work, name="capture", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self, seconds: float = STOP_S) -> None:
        """Has all that waits written and ends the thread; gives up on a disk that takes too long."""
        self._backlog.close()
        if self._thread.is_alive():
            self._thread.join(seconds)
        if self._thread.is_alive():
            log.error("%s: takes too long; captured pictures were lost", self._shards.folder)

    def _work(self) -> None:
        self._attempted(self._shards.prepare)
        while not self._backlog.closed:
            now = time.monotonic()
            if self._full() and self._problem:
                self._backlog.await_end(self._next - now)
            else:
                self._add(self._backlog.take(max(0.0, self._next - now) if self._rows else None))
            late = time.monotonic() >= self._next
            if late or not self._problem:
                self._flush(everything=late)
        while self._flush(everything=False) and (taken := self._backlog.take(0)):
            self._add(taken)
        self._flush()
        left = len(self._rows) + len(self._backlog)
        if left:
            self._metrics.capture_dropped(left, UNWRITTEN)
            log.error("%s: could not be written to; captured pictures that were lost: %d", self._shards.folder, left)

    def _full(self) -> bool:
        return len(self._rows) >= self._most_rows or self._bytes >= self._most_bytes

    def _add(self, pictures: list[Picture]) -> None:
        for picture in pictures:
            try:
                row = self._described(picture)
            except Exception:  # what a stranger sent may surprise; it is one row, and the thread must go on
                log.exception("a captured picture of request %s could not be described", picture.asked.request_id)
                self._metrics.capture_dropped(1, DEFECT)
                continue
            if not self._rows:
                self._next = time.monotonic() + (self._retry_s if self._problem else self._seconds)
            self._rows.append(row)
            self._bytes += room_of([row])

    def _described(self, picture: Picture) -> dict:
        """The row of `tables.CAPTURED`. Decoded anew, which takes less memory than to keep the pixels that long."""
        content, asked = picture.content, picture.asked
        rgb = decode_picture(content) if isinstance(content, bytes) else content
        brightness, contrast, sharpness = statistics(rgb)  # of all its pixels, as in the catalog
        who = f"{asked.client} {picture.session}".encode()
        return {
            "time": asked.time_us, "request_id": asked.request_id, "route": asked.route, "place": picture.place,
            "source": blake2b(who, digest_size=SOURCE_BYTES, key=self._key).hexdigest(),
            "recipe": picture.recipe, "version": picture.version, "model": picture.model,
            "width": rgb.shape[1], "height": rgb.shape[0], "brightness": brightness, "contrast": contrast,
            "sharpness": sharpness, "saturation": saturation(rgb), "prediction": picture.prediction,
            "score": picture.score, "probabilities": list(picture.probabilities.items()), "boxes": picture.boxes,
            "jpeg": encode_jpeg(fit(rgb, SIDE), QUALITY) if self._pictures else None,
        }  # fmt: skip

    def _flush(self, everything: bool = True) -> bool:
        """Writes the rows, or only whole shards of them; whether the disk took them."""
        while self._rows and (everything or self._full()):
            model, mine, size = self._rows[0]["model"], [], 0
            for row in self._rows:
                if row["model"] == model and len(mine) < self._most_rows and size < self._most_bytes:
                    mine.append(row)
                    size += room_of([row])
            if not self._attempted(partial(self._shards.write, mine, model), len(mine)):
                self._next = time.monotonic() + self._retry_s
                return False
            written = set(map(id, mine))
            self._rows = [row for row in self._rows if id(row) not in written]
            self._bytes = room_of(self._rows)
        return True

    def _attempted(self, act: Callable[[], object], rows: int = 0) -> bool:
        """Whether `act` is over and done with. Its failure is logged once, and so is the end of it."""
        folder = self._shards.folder
        try:
            act()
        except OSError as error:
            problem = (type(error), error.errno)
            if problem != self._problem:
                log.error("%s: nothing is captured, tried again every %g s: %s", folder, self._retry_s, error)
            self._problem = problem
            self._metrics.capture_problem(True)
            return False
        except Exception:  # would fail again: the rows are given up, so that others can be written
            log.exception("%s: captured rows could not be written", folder)
            self._metrics.capture_dropped(rows, DEFECT)
            return True
        if self._problem:
            log.info("%s: is captured to again", folder)
        self._problem = None
        self._metrics.capture_problem(False)
        self._metrics.captured(rows)
        return True
