"""Lines that say how far a stage is, as components/core/progress.py prints them."""

import pytest

from components.core.progress import Ticker
from flows.progressing import COUNTED


@pytest.mark.parametrize("done", [0, 3, 999])
def test_every_line_of_a_ticker_is_understood(capsys, done):
    ticker = Ticker("the frames of a@b", 1000, "shards")
    ticker._last -= 60
    ticker.update(done)
    found = COUNTED.fullmatch(capsys.readouterr().err.strip())
    assert (found["done"], found["total"]) == (str(done), "1000")


@pytest.mark.parametrize(
    "line", ["", "done in 3/4 of the time", "frames: 12 shards in 3.1 s (4.0 shards/s)", "a: 1/x (y)"]
)
def test_other_lines_are_not(line):
    assert not COUNTED.fullmatch(line)
