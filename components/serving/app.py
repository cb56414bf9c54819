"""The service's HTTP side: routes, answers and errors."""

import asyncio
import html
import logging
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from string import Template

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from components.serving import describe
from components.serving.champion import Champion
from components.serving.following import Following
from components.serving.gate import Gate
from components.serving.linger import Lingering
from components.serving.load import load_model
from components.serving.model import HEADER, ServedModel
from components.serving.pictures import Limits, Refusal, decode, least_score, read_pictures
from components.serving.stream import add_stream
from components.serving.track import add_track

WORKERS = 2  # predictions at a time; each may use its share of the cores
WAITING = 64  # requests that may wait for them; more are told to come back
UNREAD = frozenset({413, 415, 503})  # answers that do not wait for the end of the body
READ_OFF = 4  # times the limit on a body: what is read and thrown away of one that is too large
LIMITS = Limits()
PAGE = Path(__file__).with_name("page.html")
BOXES = Template(
    '<label>Boxes from a score of <input id="least" type="number" min="0" max="1" step="0.01" value="$least"></label>'
)

log = logging.getLogger("sightline.serving")


def create_app(deployed: Path, limits: Limits = LIMITS) -> FastAPI:
    """The service of the recipe whose published bundles lie in `deployed`; follows their pointer while it runs."""
    threads = max(1, len(os.sched_getaffinity(0)) // WORKERS)
    champion = Champion(deployed, partial(load_model, deployed, threads=threads))
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="predict")
    gate = Gate(WORKERS + WAITING)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        champion.start()
        yield
        await asyncio.to_thread(champion.stop)
        pool.shutdown()

    app = FastAPI(title="Sightline", version="1", lifespan=lifespan, description=describe.API)
    app.state.champion = champion
    app.add_middleware(ModelHeader, champion=champion)
    app.add_middleware(Lingering, most=READ_OFF * limits.body_bytes)

    def serving() -> ServedModel:
        if champion.model is None:
            problem = champion.problem
            why = (problem.problem, problem.remedy) if problem else ("the model is being loaded", "ask again shortly")
            raise Refusal(503, *why)
        return champion.model

    @app.get("/healthz", summary="The process is alive")
    async def healthz() -> dict:
        return {"status": "alive"}

    @app.get("/readyz", summary="A model is loaded (`problem`: not the newest)", responses=describe.NOT_READY)
    async def readyz() -> dict:
        model, problem = serving(), champion.problem
        return {"status": "ready", "model": model.identity, "problem": problem and problem.problem}

    @app.get("/", response_class=HTMLResponse, summary="What is served, and a form to try it", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(_page(champion))

    @app.post("/v1/predict", summary="Score pictures", responses=describe.PREDICT, openapi_extra=describe.REQUEST)
    async def predict(request: Request) -> JSONResponse:
        least = least_score(request, serving().bundle)  # before a body is read that could not be scored
        contents = await read_pictures(request, limits)
        with gate.entered():
            model = serving()  # this one answers, whatever takes its place meanwhile
            results = await asyncio.get_running_loop().run_in_executor(pool, score, model, contents, limits, least)
        return JSONResponse({"model": model.identity, "results": results}, headers={HEADER: model.tag})

    following = Following(serving, pool, gate, limits)
    add_track(app, following)
    add_stream(app, following)
    _answer_errors(app, champion)
    return app


def score(model: ServedModel, contents: list[bytes], limits: Limits, least: float | None) -> list[dict]:
    """Decodes and scores the pictures of one request, in their order. Raises Refusal, naming the picture.

    `least`: the score asked of boxes, or None.
    """
    pictures, sizes = [], []
    for number, content in enumerate(contents, start=1):
        try:
            rgb = decode(content, limits)
        except Refusal as refusal:
            where = f"picture {number} of {len(contents)}: " if len(contents) > 1 else ""
            raise Refusal(refusal.status, where + refusal.error, refusal.remedy) from None
        sizes.append(rgb.shape[:2])
        # Scaled down at once, so that a request of many pictures never holds them all in full size.
        pictures.append(model.prepare(rgb))
    return model.answers(pictures, sizes, least)


class ModelHeader:
    """ASGI middleware: every answer, errors too, names the model that is being served."""

    def __init__(self, app, champion: Champion):
        self.app, self.champion = app, champion

    async def __call__(self, scope, receive, send):
        async def named(message):
            model = self.champion.model
            if message["type"] == "http.response.start" and model:
                MutableHeaders(scope=message).setdefault(HEADER, model.tag)
            await send(message)

        await self.app(scope, receive, named)


def _answer_errors(app: FastAPI, champion: Champion) -> None:
    """Every error is JSON: {error, remedy}."""

    def answer(status: int, error: str, remedy: str) -> JSONResponse:
        headers = {"Retry-After": "1"} if status == 503 else {}
        if status in UNREAD:  # else the server would read the rest of the body, however long, only to throw it away
            headers["Connection"] = "close"
        return JSONResponse({"error": error, "remedy": remedy}, status, headers)

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> JSONResponse:
        return answer(refusal.status, refusal.error, refusal.remedy)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, f"{request.method} {request.url.path}: {error.detail}", "see /docs")

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> JSONResponse:
        return answer(400, "the client went away", "send the whole body")

    @app.exception_handler(Exception)
    async def defect(request: Request, error: Exception) -> JSONResponse:
        reply = answer(500, "the service failed on this request", "see the service's log")
        if champion.model:  # the last resort stands outside the middleware that names the model
            reply.headers[HEADER] = champion.model.tag
        return reply


def _page(champion: Champion) -> str:
    model = champion.model
    facts = {"Serving": "no model yet" if model is None else f"{model.bundle.recipe}, version {model.version}"}
    if champion.problem:
        facts["Problem"] = champion.problem.problem
    if model:
        bundle = model.bundle
        facts |= {
            "Digest": model.digest,
            "Classes": ", ".join(bundle.classes),
            "Called": f"{bundle.positive} from {bundle.threshold:.3f} on" if bundle.by_threshold else "likeliest",
            "Picture": f"scaled to {bundle.width} x {bundle.height}",
            **({"Boxes": f"from a score of {bundle.box_threshold:.3f} on"} if bundle.finds_boxes else {}),
            **({"Follows": "what it finds, frame by frame: POST /v1/track"} if bundle.tracks else {}),
            **{name: f"{value:.3f}" for name, value in sorted(bundle.metrics.items())},
        }
    rows = "".join(f"<tr><th>{html.escape(key)}</th><td>{html.escape(value)}</td></tr>" for key, value in facts.items())
    boxes = BOXES.substitute(least=f"{model.bundle.box_threshold:.2f}") if model and model.bundle.finds_boxes else ""
    return Template(PAGE.read_text()).substitute(rows=rows, boxes=boxes)
