"""What could not be had so far: asked for again by the next runs, but not for ever.

A host that is gone for good would otherwise be asked, with all its tries, by every `dvc repro` from now on.
"""

import json
from pathlib import Path

from components.core.files import atomic_json

RUNS = 3


class Failures:
    """Failed questions and pictures by name, with the reason and in how many runs, in a file of the search."""

    def __init__(self, path: Path):
        self._path = path
        try:
            self._known = {name: (str(reason), int(runs)) for name, (reason, runs) in _read(path).items()}
        except (OSError, ValueError, TypeError, AttributeError):
            self._known = {}
        self._seen: set[str] = set()

    def settled(self, name: str) -> bool:
        """Whether it failed in RUNS runs, or for good: it is not asked for again."""
        settled = name in self._known and self._known[name][1] >= RUNS
        if settled:
            self._seen.add(name)
        return settled

    def note(self, name: str, reason: str, final: bool = False, asked: bool = True) -> None:
        """Notes one more run in which it failed; `final`: no other can do better; not `asked`: this one did not try."""
        self._known[name] = (reason, RUNS if final else self._known.get(name, ("", 0))[1] + asked)
        self._seen.add(name)

    def reason(self, name: str) -> str:
        """Why it failed, and whether it is still asked for."""
        reason, runs = self._known[name]
        return reason if runs >= RUNS else f"{reason}; it is asked for again by the next run"

    def is_final(self, name: str) -> bool:
        """Whether it is known to have failed for good."""
        return name in self._known and self._known[name][1] >= RUNS

    def save(self) -> None:
        """Writes what failed in this run or is settled; the rest has been had, or is not asked for any more."""
        atomic_json(self._path, {name: self._known[name] for name in sorted(self._seen)})


def _read(path: Path) -> dict:
    return json.loads(path.read_text())
