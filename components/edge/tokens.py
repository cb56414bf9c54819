"""Who may send, and as whom: the fleet's token, which is any device's, and a file with one for each device."""

import hashlib
import hmac
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path

from components.core.errors import SightlineError
from components.core.tokenfile import read_private, state

EVERY = "*"  # whose token the fleet's is: no device is called so
LOOK_S = 1.0  # between two looks at the file
MOST_BYTES = 1 << 20  # of the file
HOW = 'add to it: echo "DEVICE:$(openssl rand -hex 32)"'
_LINE = re.compile(r"([A-Za-z0-9_.-]{1,100}):([A-Za-z0-9._~+/-]+=*)")
_CHANCE = re.compile(r"-[0-9a-f]{12}")  # what an id has behind the name of its device, see device/store.py

log = logging.getLogger("sightline.edge")


class Tokens:
    """`fleet`: the fleet's token, empty: there is none; `file`: lines of DEVICE:TOKEN, read again when it changes.

    Of the tokens digests alone are kept. What is wrong with a changed file is logged, and the tokens of before stay.
    """

    def __init__(self, fleet: str = "", file: Path | None = None, clock: Callable[[], float] = time.monotonic):
        """Raises SightlineError where the file cannot be read, is open to others, or holds no tokens."""
        self._fleet = {_digest(fleet.encode()): EVERY} if fleet else {}
        self._file, self._clock, self._looked = file, clock, clock()
        self._seen = state(file) if file else None  # before it is read: a change meanwhile is seen at the next look
        self._devices = read_tokens(file) if file else {}

    @property
    def asked_for(self) -> bool:
        """False where anybody may do anything."""
        return bool(self._fleet or self._file)

    def holder(self, authorization: bytes) -> str | None:
        """Whose token an Authorization header has: a device's name, EVERY, or None: nobody's. Takes as long for one as
        for another."""
        if not self.asked_for:
            return EVERY
        self._look()
        scheme, _, token = authorization.partition(b" ")
        given, found = _digest(token.strip()), None
        for digest, name in (self._fleet | self._devices).items():
            found = name if hmac.compare_digest(given, digest) else found
        return found if scheme.lower() == b"bearer" else None

    def _look(self) -> None:
        if self._file is None or self._clock() - self._looked < LOOK_S:
            return
        self._looked, seen = self._clock(), state(self._file)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._devices = read_tokens(self._file)
            log.info("%s: read again, devices: %d", self._file, len(set(self._devices.values())))
        except SightlineError as error:
            log.error("%s; the tokens of before stay", error)


def may_send(holder: str, device: str) -> bool:
    """Whether a token's holder may send records of this id: the device that is called so, whole or without the digits
    of chance at the end of an id; so that what is known of a device holds on when its queue was lost."""
    chance = device.removeprefix(holder)
    return holder in (EVERY, device) or chance != device and _CHANCE.fullmatch(chance) is not None


def read_tokens(file: Path) -> dict[bytes, str]:
    """The device of each token, by the token's digest. A device may have several: the next one, and that of before.

    Raises SightlineError where the file cannot be read, others may read or change it, it holds none, a line is not
    DEVICE:TOKEN, or two devices have one token. No error repeats a token.
    """
    text = read_private(file, MOST_BYTES, HOW)
    found: dict[bytes, str] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise SightlineError(f"{file}, line {number}: is not DEVICE:TOKEN", HOW)
        digest = _digest(match[2].encode())
        if found.setdefault(digest, match[1]) != match[1]:
            raise SightlineError(f"{file}, line {number}: {found[digest]} has that token too", HOW)
    if not found:
        raise SightlineError(f"{file}: holds no token", HOW)
    return found


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
