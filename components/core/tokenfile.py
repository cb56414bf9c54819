"""Files of tokens, which nobody but their owner may read or change."""

import os
import stat
from pathlib import Path

from components.core.errors import SightlineError

FOR_OTHERS = stat.S_IRWXO | stat.S_IWGRP


def read_private(file: Path, most: int, remedy: str) -> str:
    """The text of a file of at most so many bytes.

    Raises SightlineError, with this remedy, where it cannot be read, is no text or larger, or others may read or change
    it. No error repeats what the file says.
    """
    try:
        with open(file, "rb") as opened:
            if stat.S_IMODE(os.fstat(opened.fileno()).st_mode) & FOR_OTHERS:
                raise SightlineError(f"{file}: other users may read or change these tokens", f"chmod 600 {file}")
            text = opened.read(most + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise SightlineError(f"{file}: cannot be read as tokens: {reason}", remedy) from None
    if len(text) > most:
        raise SightlineError(f"{file}: is larger than {most} bytes", remedy)
    return text


def state(file: Path) -> tuple | None:
    """What changes when the file does; None where it is not there."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
