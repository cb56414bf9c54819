"""Progress of long work: a bar with rate and ETA on a terminal, a line every few seconds in a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LOG_EVERY_S = 5.0


class Ticker:
    """Counts `done` of `total`; `advance` and `update` may be called from any thread."""

    def __init__(self, label: str, total: int, unit: str):
        self.label, self.total, self.unit, self.done = label, total, unit, 0
        self._start = self._last = time.monotonic()
        self._bar: Progress | None = None

    def advance(self, count: int = 1) -> None:
        """Adds `count` to what is done."""
        self.update(self.done + count)

    def update(self, done: int) -> None:
        """Sets what is done."""
        self.done = done
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, rate=self._rate())
        elif time.monotonic() - self._last >= LOG_EVERY_S and done < self.total:
            self._last = time.monotonic()
            rate = self.rate
            eta = f", {(self.total - done) / rate:.0f} s left" if rate else ""
            print(f"{self.label}: {done}/{self.total} {self.unit} ({self._rate()}{eta})", file=sys.stderr, flush=True)

    @property
    def rate(self) -> float:
        """Units per second since the start."""
        return self.done / max(time.monotonic() - self._start, 1e-9)

    def _rate(self) -> str:
        return f"{self.rate:.1f} {self.unit}/s"


@contextmanager
def progress(label: str, total: int, unit: str) -> Iterator[Ticker]:
    """Yields a Ticker for `total` `unit`s of work; prints one closing line with the count, time and rate."""
    ticker = Ticker(label, total, unit)
    if sys.stderr.isatty():
        columns = [
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
        ]
        with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
            bar.add_task(label, total=total, rate="")
            ticker._bar = bar
            yield ticker
        ticker._bar = None
    else:
        yield ticker
    seconds = time.monotonic() - ticker._start
    print(f"{label}: {ticker.done} {unit} in {seconds:.1f} s ({ticker._rate()})", file=sys.stderr, flush=True)
