"""What waits to be written of what was asked and answered: bounded, and never in the way of a request."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from components.serving.model import ServedModel

MOST_ROWS = 1_000  # pictures that wait
MOST_BYTES = 64 << 20  # of them as they were sent
ROW_BYTES = 1_000  # of what is known of a picture, beside itself
FULL, UNWRITTEN, DEFECT = "full", "unwritten", "defect"  # why one is dropped


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: when it was drawn (microseconds since 1970, UTC), its id, its route's template, who sent it."""

    time_us: int
    request_id: str
    route: str
    client: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it was sent, encoded or (H, W, 3) uint8 RGB, and what was answered.

    `place`: in the request, from 0 on; `session`: that it is a frame of, or ""; `model`: the tag; `boxes`: how many the
    answer had, None where the model finds none.
    """

    asked: Asked
    place: int
    session: str
    recipe: str
    version: int
    model: str
    content: bytes | np.ndarray
    prediction: str
    score: float
    probabilities: dict[str, float]
    boxes: int | None

    @property
    def size(self) -> int:
        """The bytes of memory that it takes."""
        return ROW_BYTES + (len(self.content) if isinstance(self.content, bytes) else self.content.nbytes)


class Backlog:
    """Requests whose pictures wait to be written, oldest first. From any thread.

    A request that has no room is dropped as a whole, and counted: `dropped(pictures, reason)`.
    """

    def __init__(
        self, dropped: Callable[[int, str], None], most_rows: int = MOST_ROWS, most_bytes: int = MOST_BYTES
    ):  # fmt: skip
        self._dropped, self._most_rows, self._most_bytes = dropped, most_rows, most_bytes
        self._waiting: deque[list[Picture]] = deque()
        self._rows = self._bytes = 0
        self._changed = threading.Condition()
        self.closed = False

    def __len__(self) -> int:
        return self._rows

    def put(self, pictures: list[Picture]) -> None:
        """Adds those of a request, or drops them. Never waits: the lock is held for no longer than this takes."""
        size = sum(one.size for one in pictures)
        with self._changed:
            full = self._rows + len(pictures) > self._most_rows or self._bytes + size > self._most_bytes
            if not (full or self.closed):
                self._waiting.append(pictures)
                self._rows, self._bytes = self._rows + len(pictures), self._bytes + size
                self._changed.notify_all()
                return
        self._dropped(len(pictures), UNWRITTEN if self.closed else FULL)

    def take(self, seconds: float | None) -> list[Picture]:
        """Those of the request that has waited longest; waits for one, so many seconds or (None) as long as it takes.

        Empty where none came, or the end did.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self.closed, seconds)
            if not self._waiting:
                return []
            taken = self._waiting.popleft()
            self._rows, self._bytes = self._rows - len(taken), self._bytes - sum(one.size for one in taken)
            return taken

    def await_end(self, seconds: float) -> None:
        """Returns when it was closed, or after so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed, seconds)

    def close(self) -> None:
        """Lets nothing more in. What waits can still be taken."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()


@dataclass(frozen=True)
class Kept:
    """A request that was drawn: its pictures are captured as soon as they are answered."""

    asked: Asked
    backlog: Backlog

    def answered(
        self, model: ServedModel, contents: Sequence[bytes | np.ndarray], results: Sequence[dict],
        boxes: Sequence[int] | None = None, places: Sequence[int] | None = None, session: str = "",
    ) -> None:  # fmt: skip
        """Notes pictures as they were sent, with `results` as `ServedModel.called` gives them.

        `boxes`: how many each answer had; `places`: in the request (None: in order). Keeps references alone, so it
        costs the request nothing to speak of.
        """
        about = (session, model.bundle.recipe, model.version, model.tag)
        self.backlog.put(
            [
                Picture(
                    self.asked, places[row] if places else row, *about, content, result["prediction"], result["score"],
                    result["probabilities"], boxes[row] if boxes is not None else None,
                )
                for row, (content, result) in enumerate(zip(contents, results, strict=True))
            ]
        )  # fmt: skip
