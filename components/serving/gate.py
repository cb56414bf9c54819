"""How much work may wait for the service's few threads."""

from collections.abc import Iterator
from contextlib import contextmanager

from components.serving.pictures import Refusal


class Gate:
    """Lets so many requests in at a time. Of one event loop."""

    def __init__(self, most: int):
        self._most, self._within = most, 0

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Holds a place. Raises Refusal (503) where there is none."""
        if self._within >= self._most:
            raise Refusal(503, "too many requests are waiting", "ask again in a second")
        self._within += 1
        try:
            yield
        finally:
            self._within -= 1
