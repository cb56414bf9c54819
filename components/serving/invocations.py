"""The service as MLflow's and SageMaker's clients know one: POST /invocations, GET /ping."""

from functools import partial

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from components.serving import describe_invocations as describe
from components.serving.backlog import Kept
from components.serving.microbatch import Work
from components.serving.model import HEADER, ServedModel
from components.serving.pictures import HOW as HOW_PICTURES
from components.serving.pictures import Refusal, content_type, least_score, read_body, read_pictures
from components.serving.refusing import answer
from components.serving.score import Desk, score
from components.serving.scoring import HOW, parse, record
from components.serving.served import TARGET, Roster, Served, of_archive

JSON, X_IMAGE = "application/json", "application/x-image"  # the latter is SageMaker's word for a picture of any format
ERROR_TYPE, VARIANT = "x-amzn-errortype", "x-amzn-invoked-production-variant"


def add_invocations(app: FastAPI, roster: Roster, desks: dict[Served, Desk]) -> None:
    """Adds /ping, /invocations and /endpoints/RECIPE/invocations.

    Which of several recipes is asked the header TARGET says, as of SageMaker's multi-model endpoints, or the endpoint.
    """
    request_says = describe.request(roster.several)

    @app.get("/ping", summary="A model is loaded", responses=describe.NOT_READY)
    async def ping() -> dict:
        roster.check()
        models = {one.name: one.serving().identity for one in roster.all}
        return {"status": "ready"} | ({"models": models} if roster.several else {"model": models.popitem()[1]})

    @app.post(
        "/invocations", summary="Score pictures, as MLflow and SageMaker ask", responses=describe.INVOCATIONS,
        openapi_extra=request_says, description=describe.TEXT,
    )  # fmt: skip
    async def invocations(request: Request) -> JSONResponse:
        return await _invoked(request, desks[_target(request, roster) or _only(roster)])

    @app.post(
        "/endpoints/{endpoint}/invocations", summary="The same where SageMaker's own clients look for it",
        responses=describe.INVOCATIONS, openapi_extra=request_says,
    )  # fmt: skip
    async def invoke_endpoint(request: Request, endpoint: str) -> JSONResponse:
        try:
            asked = _target(request, roster)
            if asked is None or not roster.several:  # else the endpoint may be called as it likes
                asked = roster.named(endpoint, "endpoint")
            reply = await _invoked(request, desks[asked])
        except Refusal as refusal:
            return _told(request, refusal)
        reply.headers[VARIANT] = reply.headers[HEADER]
        return reply


def _target(request: Request, roster: Roster) -> Served | None:
    """The recipe that the header TARGET names; None without it. Raises Refusal (404)."""
    named = request.headers.get(TARGET)
    return None if named is None else roster.named(of_archive(named), "model")


def _only(roster: Roster) -> Served:
    """The one recipe that is served. Raises Refusal (400) where there are several."""
    if roster.several:
        raise Refusal(400, "several recipes are served, and none is named", f"send {TARGET}, one of {roster.names}")
    return roster.all[0]


async def _invoked(request: Request, desk: Desk) -> JSONResponse:
    """The answer to pictures as a body or a form, or to MLflow's JSON. Raises Refusal."""
    least = least_score(request, desk.serving().bundle)  # before a body is read that could not be scored
    kind = content_type(request)
    if kind == JSON:
        act = partial(_asked, body=await read_body(request, desk.limits, HOW), least=least, desk=desk)
    else:
        raw = kind == X_IMAGE
        contents = [await read_body(request, desk.limits, HOW_PICTURES)] if raw else None
        contents = contents or await read_pictures(request, desk.limits)
        act = partial(score, contents=contents, limits=desk.limits, least=least)
    model, results = await desk.answered(request, act)
    return JSONResponse({"predictions": [record(result) for result in results]}, headers={HEADER: model.tag})


def _asked(model: ServedModel, body: bytes, least: float | None, desk: Desk, kept: Kept | None) -> Work:
    """The work that answers for the pictures of MLflow's JSON. What it says of a score counts before the query."""
    asked = parse(body, model.bundle, desk.limits)
    least = least if asked.least is None else asked.least
    return (yield from score(model, asked.pictures, desk.limits, least, kept))


def _told(request: Request, refusal: Refusal) -> JSONResponse:
    """A refusal in the words in which AWS's clients look for errors: the kind in a header, `Message` in the body."""
    plain = answer(request.scope, refusal)
    headers = {name: value for name, value in plain.headers.items() if name not in ("content-length", "content-type")}
    headers[ERROR_TYPE] = "ServiceUnavailable" if refusal.status >= 500 else "ValidationError"
    says = {"error": refusal.error, "remedy": refusal.remedy, "Message": f"{refusal.error}; {refusal.remedy}"}
    return JSONResponse(says, plain.status_code, headers)
