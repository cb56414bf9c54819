"""Who may ask: those who send one of the tokens that a file names."""

import hashlib
import hmac
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path

from components.core.errors import SightlineError
from components.core.tokenfile import read_private, state
from components.serving.pictures import Refusal
from components.serving.refusing import refuse

# Probes of orchestrators, which have no token.
OPEN = frozenset({"/healthz", "/readyz", "/ping", "/v2/health/live", "/v2/health/ready"})
SCOPE = "sightline.token"  # where a request's scope has the digest of its token
LOOK_S = 1.0  # between two looks at the file
MOST_BYTES = 65_536  # of the file
TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750

log = logging.getLogger("sightline.serving")


class Tokens:
    """The tokens of a file, kept as digests alone; read again when the file changes.

    What is wrong with a changed file is logged, and the tokens of before stay.
    """

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic):
        """Raises SightlineError where the file cannot be read, is open to others, or holds no tokens."""
        self._file, self._clock = file, clock
        self._seen = state(file)  # before it is read: a change meanwhile is seen at the next look
        self._digests = read_tokens(file)
        self._looked = clock()

    def known(self, token: str) -> bytes | None:
        """The token's digest if it is one of those that may ask, else None. Takes as long for one as for another."""
        self._look()
        given = _digest(token)
        found = [hmac.compare_digest(given, one) for one in self._digests]
        return given if any(found) else None

    def _look(self) -> None:
        if self._clock() - self._looked < LOOK_S:
            return
        self._looked = self._clock()
        seen = state(self._file)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._digests = read_tokens(self._file)
            log.info("%s: read again, tokens: %d", self._file, len(self._digests))
        except SightlineError as error:
            log.error("%s; the tokens of before stay", error)


def read_tokens(file: Path) -> list[bytes]:
    """The digests of a file's tokens: one a line, without empty lines and comments (`#`).

    Raises SightlineError where it cannot be read, others may read or change it, it holds none, or a line is no token.
    No error repeats what the file says.
    """
    text = read_private(file, MOST_BYTES, "name a text file with a token a line")
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    tokens = [(number, line) for number, line in lines if line and not line.startswith("#")]
    for number, token in tokens:
        if not TOKEN.fullmatch(token):
            raise SightlineError(
                f"{file}, line {number}: is no token", "one a line, of letters, digits and -._~+/, for example of: "
                "openssl rand -hex 32",
            )  # fmt: skip
    if not tokens:
        raise SightlineError(f"{file}: holds no token", f"openssl rand -hex 32 >> {file}")
    return [_digest(token) for _, token in tokens]


class Guard:
    """ASGI middleware: who sends no known token is refused (401), before a body is read; a WebSocket too."""

    def __init__(self, app, tokens: Tokens):
        self.app, self.tokens = app, tokens

    async def __call__(self, scope, receive, send):
        if scope["type"] not in ("http", "websocket") or scope["path"] in OPEN:
            await self.app(scope, receive, send)
            return
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, token = given[0].decode("latin-1").partition(" ") if len(given) == 1 else ("", "", "")
        sent = token.strip() if scheme.lower() == "bearer" else ""
        digest = self.tokens.known(sent) if sent else None
        if digest is None:
            wrong = ("the token is not known", ', error="invalid_token"') if sent else ("there is no token", "")
            refusal = Refusal(401, wrong[0], "send the header Authorization: Bearer TOKEN", sent and "wrong_token")
            await refuse(scope, receive, send, refusal, {"WWW-Authenticate": f'Bearer realm="sightline"{wrong[1]}'})
            return
        scope[SCOPE] = digest
        await self.app(scope, receive, send)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
