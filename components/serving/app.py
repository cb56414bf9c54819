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

from components.serving import describe
from components.serving.capture import Capture
from components.serving.champion import Champion
from components.serving.clip_routes import add_clips
from components.serving.clips import Clips
from components.serving.following import Following
from components.serving.front import add_front
from components.serving.gate import Gate
from components.serving.inference import add_inference
from components.serving.invocations import add_invocations
from components.serving.load import load_model
from components.serving.metrics import Metrics, State, add_metrics
from components.serving.model import HEADER, ServedModel
from components.serving.openapi import add_common
from components.serving.options import Options
from components.serving.pictures import Limits, Refusal, least_score, read_pictures
from components.serving.refusing import add_errors
from components.serving.score import Desk, score
from components.serving.stream import add_stream
from components.serving.track import add_track

WORKERS = 2  # predictions at a time; each may use its share of the cores
WAITING = 64  # requests that may wait for them; more are told to come back
LIMITS = Limits()
OPTIONS = Options()
PAGE = Path(__file__).with_name("page.html")
BOXES = Template(
    '<label>Boxes from a score of <input id="least" type="number" min="0" max="1" step="0.01" value="$least"></label>'
)

log = logging.getLogger("sightline.serving")


def create_app(deployed: Path, limits: Limits = LIMITS, options: Options = OPTIONS) -> FastAPI:
    """The service of the recipe whose published bundles lie in `deployed`; follows their pointer while it runs.

    Raises SightlineError where the options' token file is none to go by.
    """
    threads = max(1, len(os.sched_getaffinity(0)) // WORKERS)
    metrics = Metrics()
    champion = Champion(deployed, partial(load_model, deployed, threads=threads, told=metrics.passed))
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="predict")
    gate = Gate(WORKERS + WAITING, WORKERS)
    capture = Capture(options.capture, metrics)
    clips = Clips(deployed.name, deployed.resolve())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        champion.start()
        capture.start()
        clips.start()
        yield
        await clips.stop()
        await asyncio.to_thread(champion.stop)
        pool.shutdown()
        await asyncio.to_thread(capture.stop)

    app = FastAPI(title="Sightline", version="1", lifespan=lifespan, description=describe.API)
    app.state.champion = champion
    add_front(app, champion, limits, options, metrics)

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
        model, results = await desk.answered(request, partial(score, contents=contents, limits=limits, least=least))
        return JSONResponse({"model": model.identity, "results": results}, headers={HEADER: model.tag})

    desk = Desk(serving, pool, gate, limits, capture.drawn)
    add_invocations(app, desk)
    add_inference(app, desk)
    add_clips(app, clips, serving)
    following = Following(serving, pool, gate, limits, capture.drawn)
    add_track(app, following)
    add_stream(app, following, metrics, options.timeout_s)
    add_metrics(app, metrics, State(champion, gate, lambda: len(following.sessions)))
    add_errors(app)
    add_common(app, tokens=options.tokens is not None)
    return app


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
