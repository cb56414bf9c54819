"""Keeps a device's runner running, brings updates, and takes back one that does not run.

It is started from the folder that was installed by hand and never changes with an update, so that no release can break
what takes it back. The runner and the look for updates are processes of the release that runs now.
"""

import ctypes
import logging
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from components.core.errors import MAY_PASS, WRONG_REQUEST
from components.edge.device.config import Update
from components.edge.device.installed import Installed
from components.edge.device.update import environment

LOOK_S = 0.2
GRACE_S = 40  # for a runner that is asked to end
LOOKING_S = 3600  # for one look for updates, its download included
PR_SET_PDEATHSIG = 1  # prctl(2), Linux
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0

log = logging.getLogger("sightline.edge")


class Supervisor:
    """`options`: those of `edge run`, given to every runner; `common`: those of all commands."""

    def __init__(self, installed: Installed, settings: Update, options: list[str], common: list[str]):
        self._installed, self._settings, self._options, self._common = installed, settings, options, common
        self._stop = threading.Event()
        self._updater: subprocess.Popen | None = None
        self._own = True  # whether the running release looks for the next one
        # The first look comes soon: many a device is never on for long. Not in the same second on all of them.
        self._looked = time.monotonic() - random.uniform(0.9, 1.0) * settings.every_s

    def stop(self, *_) -> None:
        """Ends the runner and then `run`; a signal handler."""
        self._stop.set()

    def run(self) -> int:
        """Runs until stopped, or until a runner has ended by itself; returns the exit code."""
        pause = FIRST_PAUSE_S
        while not self._stop.is_set():
            release = self._installed.release
            if not self._installed.starting(self._settings.trial_starts):
                log.error("release %d does not run: back to %d", release, self._installed.release)
            began = time.monotonic()
            code = self._one()
            if code == 0 or self._stop.is_set():
                return 0
            if code is None:  # it was ended for another release
                pause = FIRST_PAUSE_S
                continue
            if code == WRONG_REQUEST and self._installed.trial is None:
                return code
            pause = FIRST_PAUSE_S if time.monotonic() - began > LONGEST_PAUSE_S else min(2 * pause, LONGEST_PAUSE_S)
            log.error("the runner ended with %d; started again in %.0f s", code, pause)
            self._stop.wait(pause)
        return 0

    def _one(self) -> int | None:
        """One runner, to its end: the exit code; None where it was ended for another release."""
        release, began = self._installed.release, time.monotonic()
        runner = self._start("run", *self._options)
        try:
            while runner.poll() is None and not self._stop.wait(LOOK_S):
                if self._installed.release != release:
                    log.info("release %d takes over from %d", self._installed.release, release)
                    return None
                if time.monotonic() - began >= self._settings.trial_s and self._on_trial(release):
                    self._installed.confirm()
                    log.info("release %d runs and stays", release)
                self._look_for_updates()
            return runner.poll()
        finally:
            _end(runner)
            if self._stop.is_set() and self._updater:
                _end(self._updater)

    def _on_trial(self, release: int) -> bool:
        """True for the release on trial: an update may have come since this runner began, and is another one."""
        trial = self._installed.trial
        return trial is not None and trial.release == release

    def _look_for_updates(self) -> None:
        now = time.monotonic()
        if self._updater is not None:
            if self._updater.poll() is not None:
                # A release that cannot look for the next one must not be the last: then what was installed looks.
                self._own = self._updater.returncode in (0, MAY_PASS)
                self._updater = None
            elif now - self._looked > LOOKING_S:
                self._updater.kill()
        elif self._settings.url and now - self._looked >= self._settings.every_s and self._installed.trial is None:
            self._looked = now
            self._updater = self._start("update")

    def _start(self, command: str, *options: str) -> subprocess.Popen:
        own = command != "update" or self._own
        folder: Path = self._installed.folder if own else self._installed.base
        # Where the supervisor was started, as paths in the options go by that, and yet by the release's code (-P).
        whole = [sys.executable, "-P", "-m", "edge", command, "--state", str(self._installed.state)]
        return subprocess.Popen([*whole, *self._common, *options], env=environment(folder), preexec_fn=_die_with_parent)


def _die_with_parent() -> None:
    """In a child, before it begins: it ends when the supervisor does, or its successor would find the queue taken."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
