"""Which release a device runs: a link that is switched in one step, and what is known of the one on trial.

    STATE/releases/N    unpacked releases, by number
    STATE/current       a link to the one that runs; not there: what was installed by hand
    STATE/update.json   highest: the largest number ever accepted; trial: the release that has not proven itself yet

A release is on trial from the switch until it has run for a while. What fails before, or is started too often, gives
way to the one before. A power cut between any two steps leaves one that runs.
"""

import os
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from components.core.errors import SightlineError
from components.core.files import atomic_json, read_json, sync_directory

STATE_FILE, CURRENT, RELEASES, INCOMING = "update.json", "current", "releases", "incoming"


@dataclass(frozen=True)
class Trial:
    """A release on trial: its number, the number before (0: installed by hand), and how often it was started."""

    release: int
    before: int
    starts: int = 0


class Installed:
    """The releases below a state folder; `base` is the folder that was installed by hand."""

    def __init__(self, state: Path, base: Path):
        self.state, self.base = state, base

    @property
    def release(self) -> int:
        """The number of the release that runs; 0: what was installed by hand."""
        link = self.state / CURRENT
        if not link.is_symlink():
            return 0
        name = os.readlink(link)
        return int(Path(name).name) if (self.state / name).is_dir() else 0

    @property
    def folder(self) -> Path:
        """Where the release that runs lies."""
        return self.place(self.release)

    def place(self, release: int) -> Path:
        """Where a release lies, or will."""
        return self.state / RELEASES / str(release) if release else self.base

    @property
    def highest(self) -> int:
        """The largest number that was ever accepted, or refused for good."""
        return self._read()[0]

    @property
    def trial(self) -> Trial | None:
        """The release on trial; None: there is none."""
        return self._read()[1]

    def refuse(self, release: int) -> None:
        """Notes that a release will not do: only a larger number is looked at again."""
        highest, trial = self._read()
        self._write(max(highest, release), trial)

    def switch(self, release: int) -> None:
        """Makes an unpacked release the one that runs, on trial."""
        highest, trial = self._read()
        # What is itself on trial is nothing to go back to.
        before = trial.before if trial and trial.release == self.release else self.release
        self._write(max(highest, release), Trial(release, before))
        self._link(release)

    def starting(self, most: int) -> bool:
        """To be called before each start of the runner: counts it if it is on trial, and takes back a release that was
        started `most` times already. False where that was done now."""
        highest, trial = self._read()
        if trial is None:
            return True
        if self.release != trial.release:  # the power went between the note and the link
            self._link(trial.release)
        if trial.starts >= most:
            self.take_back()
            return False
        self._write(highest, replace(trial, starts=trial.starts + 1))
        return True

    def take_back(self) -> int:
        """Ends the trial with the release before, which runs from now on; returns its number."""
        highest, trial = self._read()
        if trial is not None:
            self._link(trial.before)
            self._write(highest, None)
        return self.release

    def confirm(self) -> None:
        """Ends the trial: the release stays. Older ones are removed, but for the one before."""
        highest, trial = self._read()
        if trial is None:
            return
        self._write(highest, None)
        kept = {str(trial.release), str(trial.before)}
        for folder in (self.state / RELEASES).iterdir():
            if folder.name not in kept and folder.name.isdecimal():
                shutil.rmtree(folder, ignore_errors=True)

    def _link(self, release: int) -> None:
        link = self.state / CURRENT
        if release:
            temporary = link.with_name(f".{CURRENT}.{os.getpid()}")
            temporary.unlink(missing_ok=True)
            os.symlink(Path(RELEASES, str(release)), temporary)
            os.replace(temporary, link)
        else:
            link.unlink(missing_ok=True)
        sync_directory(self.state)

    def _read(self) -> tuple[int, Trial | None]:
        file = self.state / STATE_FILE
        if not file.exists():
            return 0, None
        remedy = f"remove {file}: the device then takes any release that is signed"
        body = read_json(file, remedy)
        try:
            return int(body["highest"]), Trial(**body["trial"]) if body["trial"] else None
        except (KeyError, TypeError, ValueError) as error:
            raise SightlineError(f"{file}: is damaged ({error!r})", remedy) from None

    def _write(self, highest: int, trial: Trial | None) -> None:
        atomic_json(self.state / STATE_FILE, {"highest": highest, "trial": asdict(trial) if trial else None})
