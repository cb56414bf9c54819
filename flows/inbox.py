"""The inbox: the local folder that a recipe's footage comes from. What arrives there is an event that has it scored."""

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from prefect.logging import get_logger

from components.core import paths
from components.core.files import atomic_json
from components.core.recipe import load_recipe
from flows.events import ARRIVED, send

LOOK_S = 10.0  # between two looks, unless SIGHTLINE_INBOX_S says otherwise; 0: never
REST_S = 60.0  # after an event, so that a folder that is filled for hours does not start a run every few seconds
WILD = "*?["


class Inbox:
    """What lies in one recipe's folder. What was announced is kept in `.sightline/monitoring/RECIPE-inbox.json`."""

    def __init__(self, recipe: str):
        self.recipe = recipe
        self._noted = paths.state("monitoring", f"{recipe}-inbox.json")
        self._last: dict[str, list[int]] = {}
        self._announced_at = -REST_S

    def look(self, folder: Path, now: float, announce: Callable[[str], None]) -> bool:
        """Announces the recipe where files have arrived that were not announced as they are now; whether it did.

        A file that still grows is waited for: two looks must find the same. `now`: seconds of a clock that only goes
        on. What `announce` raises is raised, and the files are announced at a later look.
        """
        present, last = listing(folder), self._last
        self._last = present
        still = {name: status for name, status in present.items() if last.get(name) == status}
        known = json.loads(self._noted.read_text()) if self._noted.is_file() else {}
        if now - self._announced_at < REST_S or still.items() <= known.items():
            return False
        announce(self.recipe)
        self._announced_at = now
        self._noted.parent.mkdir(parents=True, exist_ok=True)
        atomic_json(self._noted, {name: status for name, status in (known | still).items() if name in present})
        return True


def local_folder(source: str) -> Path | None:
    """The folder that a source names, of a glob the part before its wildcards; None where it is no local folder."""
    if "://" in source:
        return None
    parts = source.split("/")
    plain = next((at for at, part in enumerate(parts) if set(part) & set(WILD)), len(parts))
    folder = paths.workspace() / Path("/".join(parts[:plain]) or "/").expanduser()
    return folder if plain and folder.is_dir() else None


def listing(folder: Path) -> dict[str, list[int]]:
    """Size and time (ns) of every file below a folder by its name there, hidden ones left out."""
    found = {}
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = os.path.join(place, name)
            if not name.startswith(".") and os.path.isfile(path):
                status = os.stat(path)
                found[os.path.relpath(path, folder)] = [status.st_size, status.st_mtime_ns]
    return found


def watch(recipes: list[str], every_s: float) -> None:
    """Looks into the inboxes for as long as this process lives; with 0 seconds between two looks not at all."""
    if every_s > 0:
        threading.Thread(target=_watch, args=(recipes, every_s), daemon=True, name="inbox").start()


def _watch(recipes: list[str], every_s: float) -> None:
    log, inboxes = get_logger("inbox"), [Inbox(recipe) for recipe in recipes]
    while True:
        for inbox in inboxes:
            try:
                folder = local_folder(load_recipe(inbox.recipe).source)
                if folder and inbox.look(folder, time.monotonic(), announce):
                    log.info(f"{inbox.recipe}: footage arrived in {folder}")
            except Exception as error:  # a server that is away, a file that went meanwhile: the next look is another
                log.warning(f"{inbox.recipe}: {type(error).__name__}: {error}")
        time.sleep(every_s)


def announce(recipe: str) -> None:
    """Sends the event that footage has arrived."""
    send(ARRIVED, recipe, {"recipe": recipe})
