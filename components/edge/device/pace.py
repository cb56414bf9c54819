"""How far apart frames are, in units of how far apart they usually are. Pure."""

from collections import deque
from statistics import median_low

REMEMBERED = 100  # steps


class Pace:
    """Of the frames of one sequence, one after the other. `step`: their usual distance; None: nobody knows it before,
    and the median of the last ones is taken for it, which gaps do not change."""

    def __init__(self, step: float | None = None):
        self._step, self._before, self._steps = step, None, deque(maxlen=REMEMBERED)

    def __call__(self, milliseconds: float) -> float:
        """Frame intervals from the frame before to this one, at a later time; 1 for the first."""
        before, self._before = self._before, milliseconds
        if before is None:
            return 1.0
        self._steps.append(milliseconds - before)
        return (milliseconds - before) / (self._step or median_low(self._steps))
