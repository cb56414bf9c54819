"""One request and its answer: who asks, under which id, and what came of it."""

import ipaddress
import re
import time
import uuid
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from starlette.datastructures import MutableHeaders
from starlette.routing import Match

from components.serving.model import HEADER

ID = "X-Request-Id"
KEY = "sightline.exchange"  # where the scope of a request has its Exchange
UNKNOWN = "unknown"
UNMATCHED = "unmatched"  # the route of all paths that the service does not have
STREAM = "STREAM"  # the method of a WebSocket
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
STARTS = ("http.response.start", "websocket.http.response.start", "websocket.accept")  # messages with headers
VALID_ID = re.compile(rb"[A-Za-z0-9._:=+/@-]{1,128}")

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)  # for what is logged while it is answered


@dataclass(slots=True)
class Exchange:
    """`route`: the template that was matched; `status`: of the answer, 0 where there was none, 101 of a stream;
    `received`, `sent`: bytes of bodies and messages; `reason`: why it was refused; `model`: the tag of the one that
    answered. Nothing in it is longer or more various than the service itself made it."""

    request_id: str
    method: str
    client: str
    began: float
    route: str = UNMATCHED
    status: int = 0
    received: int = 0
    sent: int = 0
    seconds: float = 0.0
    reason: str | None = None
    model: str | None = None


class Observer(Protocol):
    """Is told of every exchange."""

    def began(self, exchange: Exchange) -> None:
        """A request has come; nothing is known yet of its route and answer."""

    def ended(self, exchange: Exchange) -> None:
        """It was answered, or broke off."""


class Exchanges:
    """ASGI middleware: every request has an id, which its answer names, and observers are told what came of it.

    The id is the client's `X-Request-Id` if that is one (up to 128 letters, digits and `._:=+/@-`), else a new one.
    """

    def __init__(self, app, observers: Sequence[Observer]):
        self.app, self.observers = app, observers

    async def __call__(self, scope, receive, send):
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        method = scope.get("method", STREAM)
        made = Exchange(
            id_of(scope), method if method in METHODS or method == STREAM else "OTHER", client_of(scope),
            time.perf_counter(),
        )  # fmt: skip
        scope[KEY] = made
        request_id.set(made.request_id)

        async def received():
            message = await receive()
            made.received += _length(message, "body", "bytes", "text")
            return message

        async def noted(message):
            kind = message["type"]
            if kind in STARTS:
                made.status = message.get("status", 101)
                message.setdefault("headers", [])
                headers = MutableHeaders(scope=message)
                headers[ID] = made.request_id
                made.model = headers.get(HEADER)
            elif kind == "websocket.close" and not made.status:
                made.status = 403  # as servers answer one that is closed before it was accepted
            made.sent += _length(message, "body", "bytes", "text")
            await send(message)

        for observer in self.observers:
            observer.began(made)
        try:
            await self.app(scope, received, noted)
        finally:
            made.seconds = time.perf_counter() - made.began
            made.route = _template(scope)
            for observer in self.observers:
                observer.ended(made)


def id_of(scope) -> str:
    """The id that a request brings, or a new one where it brings none that can be."""
    given = [value for name, value in scope["headers"] if name == b"x-request-id"]
    return given[0].decode() if len(given) == 1 and VALID_ID.fullmatch(given[0]) else uuid.uuid4().hex


def client_of(scope) -> str:
    """The address that a request comes from; of IPv6 the network of 64 bits, which one client has whole.

    A proxy's header may have said it, so what is no address is UNKNOWN: it must not become a key or a line of a log.
    """
    try:
        address = ipaddress.ip_address((scope.get("client") or ("",))[0])
    except ValueError:
        return UNKNOWN
    if address.version == 4 or address.is_loopback:
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))


def _length(message: dict, *names: str) -> int:
    return sum(len(message.get(name) or "") for name in names)


def _template(scope) -> str:
    """The route's template; found again where the request was answered before it was looked for."""
    route = scope.get("route")
    if route is None:
        routes = scope["app"].routes if "app" in scope else ()
        route = next((one for one in routes if one.matches(scope)[0] is not Match.NONE), None)
    return getattr(route, "path", UNMATCHED)
