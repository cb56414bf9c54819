"""DVC's file locks: what to do about those of processes that are no more."""

import json
import re
from pathlib import Path

from components.core import paths
from components.core.files import atomic_text

BLOCKER = re.compile(r"\(PID (\d+)\): (.*)")


def release_dead(message: str) -> bool:
    """Sets right what DVC's `message` complains of, where no process stands behind it; whether there was anything.

    DVC itself releases the locks of a process whose number is free, but not where another program has got it since: a
    run killed before a restart of the machine would block its files for ever. So would one that was killed while it
    wrote the file of locks.
    """
    dead = {int(pid) for pid, command in BLOCKER.findall(message) if not _is_running(int(pid), command)}
    return _release(dead)


def _is_running(pid: int, command: str) -> bool:
    """Whether the process `pid` is the one that was started with the arguments of `command`."""
    import psutil

    try:
        arguments = command.strip().partition(" ")[2]  # the program's own name has several spellings
        return " ".join(psutil.Process(pid).cmdline()).endswith(arguments)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _release(dead: set[int]) -> bool:
    from dvc.repo import Repo

    repo = Repo(str(paths.workspace()), _wait_for_lock=True)
    path = paths.workspace() / ".dvc" / "tmp" / "rwlock"
    try:
        with repo.lock:  # DVC changes the file only under this lock
            held = _held(path)
            if held is None:
                path.unlink(missing_ok=True)
            elif dead:
                atomic_text(path, json.dumps(_without(dead, held)))
            return held is None or bool(dead)
    finally:
        repo.close()


def _held(path: Path) -> dict | None:
    """Who holds what; None where the file does not say."""
    from dvc.rwlock import SCHEMA
    from voluptuous import Invalid

    try:
        return dict(SCHEMA(json.loads(path.read_text())))
    except FileNotFoundError:
        return {}
    except (ValueError, Invalid):
        return None


def _without(dead: set[int], held: dict) -> dict:
    writers = {name: one for name, one in held.get("write", {}).items() if one["pid"] not in dead}
    readers = {name: [one for one in all_ if one["pid"] not in dead] for name, all_ in held.get("read", {}).items()}
    return {"write": writers, "read": {name: left for name, left in readers.items() if left}}
