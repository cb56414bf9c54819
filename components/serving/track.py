"""Following over HTTP: the routes below /v1/track."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from components.serving import describe_track as describe
from components.serving.following import Following
from components.serving.model import HEADER
from components.serving.payload import HOW, check_name
from components.serving.pictures import Refusal, content_type, read_body

SESSION = "x-sightline-session"  # the header that names one


def add_track(app: FastAPI, base: str, following: Following) -> None:
    """Adds POST /track and DELETE /track/SESSION below `base`."""

    @app.post(
        f"{base}/track", summary="Follow what is in frames", responses=describe.TRACK, openapi_extra=describe.REQUEST,
        description=describe.TEXT,
    )  # fmt: skip
    async def track(request: Request) -> JSONResponse:
        following.check()  # before a body is read that could not be followed
        kind = content_type(request)
        if kind != "application/json":
            raise Refusal(415, f"content type {kind or 'missing'} is not served", "send application/json")
        named = request.headers.get(SESSION)
        session = None if named is None else check_name(named)
        body = await read_body(request, following.limits, HOW)
        model, answer = await following.payload(body, session, kept=following.drawn(request.scope))
        return JSONResponse(answer, headers={HEADER: model.tag})

    @app.delete(f"{base}/track/{{session}}", summary="End a session", responses=describe.END)
    async def end(session: str) -> JSONResponse:
        following.check()
        return JSONResponse(await following.end(check_name(session)))
