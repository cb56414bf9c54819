"""Every error is JSON, {error, remedy}, whoever refuses: a route, a middleware, or a defect."""

import logging

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from components.serving.exchange import KEY
from components.serving.pictures import Refusal

UNREAD = frozenset({401, 408, 413, 415, 429, 503, 504})  # answers that do not wait for the end of the body
LATER = frozenset({429, 503})  # answers that say when to come back
REASONS = {
    400: "malformed", 401: "no_token", 404: "not_found", 405: "method", 408: "slow", 409: "out_of_order",
    413: "too_large", 415: "type", 422: "malformed", 429: "busy", 500: "defect", 503: "no_model", 504: "timeout",
}  # fmt: skip

log = logging.getLogger("sightline.serving")


def answer(scope, refusal: Refusal, headers: dict[str, str] | None = None, more: dict | None = None) -> JSONResponse:
    """The answer that says so, and `more` beside it, noted in the request's exchange."""
    given = dict(headers or {})
    if refusal.status in LATER:
        given["Retry-After"] = str(refusal.retry_s)
    if refusal.status in UNREAD:  # else the server would read the rest of the body, however long, to throw it away
        given["Connection"] = "close"
    if exchange := scope.get(KEY):
        exchange.reason = reason_of(refusal)
    return JSONResponse({"error": refusal.error, "remedy": refusal.remedy} | (more or {}), refusal.status, given)


def reason_of(refusal: Refusal) -> str:
    """One of few words for why something was refused."""
    return refusal.reason or REASONS.get(refusal.status, "other")


async def refuse(scope, receive, send, refusal: Refusal, headers: dict[str, str] | None = None) -> None:
    """Answers a request, or one for a WebSocket, in place of the app."""
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.error})
        return
    await answer(scope, refusal, headers)(scope, receive, send)


def add_errors(app: FastAPI) -> None:
    """Answers of the routes' refusals, of unknown paths and methods, and of a client that went away."""

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> JSONResponse:
        return answer(request.scope, refusal)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        says = f"{request.method} {request.url.path}: {error.detail}"
        return answer(request.scope, Refusal(error.status_code, says, "see /docs"), error.headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> JSONResponse:
        return answer(request.scope, Refusal(400, "the client went away", "send the whole body", "gone"))


class Defects:
    """ASGI middleware: what nobody expected is a plain answer without its traceback, which the server logs.

    It stands within those that name the request and the model, so that this answer has their headers too.
    """

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        started = False

        async def watched(message):
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception:
            exchange = scope.get(KEY)
            log.error("request %s failed", exchange.request_id if exchange else "without an id")
            if scope["type"] == "http" and not started:
                refusal = Refusal(500, "the service failed on this request", "see the service's log")
                await refuse(scope, receive, send, refusal)
            raise
