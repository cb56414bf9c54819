"""The service's HTTP side: what is served, and the routes that every service has."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi_offline import FastAPIOffline

from components.serving import describe
from components.serving.capture import Capture
from components.serving.champion import Champion
from components.serving.clip_routes import add_clips
from components.serving.clips import Clips
from components.serving.explain_routes import Explainer, add_explain
from components.serving.features import add_features
from components.serving.following import Following
from components.serving.front import add_front
from components.serving.gate import Gate
from components.serving.inference import add_inference
from components.serving.invocations import add_invocations
from components.serving.load import load_model
from components.serving.metrics import Metrics, State, add_metrics
from components.serving.microbatch import MicroBatcher
from components.serving.openapi import add_common
from components.serving.options import Options
from components.serving.page import page
from components.serving.pictures import Limits, Refusal
from components.serving.predict import add_predict
from components.serving.refusing import add_errors, answer
from components.serving.score import Desk
from components.serving.served import Roster, Served
from components.serving.stream import add_stream
from components.serving.track import add_track

WORKERS = 2  # predictions at a time; each may use its share of the cores
WAITING = 64  # requests that may wait for them; more are told to come back
LIMITS = Limits()
OPTIONS = Options()


def create_app(deployed: Path | Sequence[Path], limits: Limits = LIMITS, options: Options = OPTIONS) -> FastAPI:
    """The service of the recipe whose published bundles lie in `deployed`; follows their pointer while it runs.

    Of several such folders, named after their recipes, it serves each below a path of its own; threads, limits and what
    is in front of the routes are one for all. Raises SightlineError where the options' token file is none to go by.
    """
    folders = [deployed] if isinstance(deployed, Path) else list(deployed)
    threads = max(1, len(os.sched_getaffinity(0)) // WORKERS)
    metrics = Metrics()
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="predict")
    gate = Gate(WORKERS + WAITING, WORKERS)
    batcher = MicroBatcher(pool, WORKERS, options.batch, options.batch_wait_s)
    capture, explainer = Capture(options.capture, metrics), Explainer(options.explain)
    roster = Roster([_served(folder, threads, metrics) for folder in folders])
    turn = asyncio.Lock()  # one clip at a time, of whichever recipe
    clips = [Clips(folder.name, folder.resolve(), turn) for folder in folders]

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        for one in roster.all:
            one.champion.start()
        capture.start()
        for one in clips:
            one.start()
        yield
        await asyncio.gather(*(one.stop() for one in clips))
        await asyncio.gather(*(asyncio.to_thread(one.champion.stop) for one in roster.all))
        pool.shutdown()
        explainer.stop()
        await asyncio.to_thread(capture.stop)

    app = FastAPIOffline(
        redoc_url=None, static_url="/docs-files", title="Sightline", version="1", lifespan=lifespan,
        description=describe.API,
    )  # fmt: skip
    app.state.champion, app.state.gate = roster.all[0].champion, gate
    app.state.champions = {one.folder: one.champion for one in roster.all}
    add_front(app, roster, limits, options, metrics)
    _add_probes(app, roster)
    followings, desks = [], {}
    for one, jobs in zip(roster.all, clips, strict=True):
        base = f"/v1/{one.folder}" if roster.several else "/v1"
        following = Following(one.serving, pool, gate, limits, capture.drawn, base)
        followings.append((one, following.sessions))
        desks[one] = Desk(one.serving, pool, batcher, gate, limits, capture.drawn)
        add_predict(app, base, desks[one])
        add_features(app, base, desks[one])
        add_explain(app, base, explainer, one.serving, limits)
        add_clips(app, base, jobs, one.serving)
        add_track(app, base, following)
        add_stream(app, base, following, metrics, options.timeout_s)
    add_invocations(app, roster, desks)
    add_inference(app, roster, desks)
    add_metrics(app, metrics, State(followings, gate))
    add_errors(app)
    add_common(app, tokens=options.tokens is not None)
    return app


def _served(folder: Path, threads: int, metrics: Metrics) -> Served:
    return Served(folder.name, Champion(folder, partial(load_model, folder, threads=threads, told=metrics.passed)))


def _add_probes(app: FastAPI, roster: Roster) -> None:
    """Adds what tells others how the service is, and the page for people."""

    @app.get("/healthz", summary="The process is alive")
    async def healthz() -> dict:
        return {"status": "alive"}

    @app.get("/readyz", summary="A model is loaded (`problem`: not the newest)", responses=describe.NOT_READY)
    async def readyz(request: Request) -> JSONResponse:
        if not roster.several:
            roster.check()
            return JSONResponse(roster.all[0].state())
        lines = {"recipes": {one.name: one.state() for one in roster.all}}
        try:
            roster.check()
        except Refusal as refusal:
            return answer(request.scope, refusal, more=lines)
        return JSONResponse({"status": "ready"} | lines)

    @app.get("/", response_class=HTMLResponse, summary="What is served, and a form to try it", include_in_schema=False)
    async def front(recipe: str | None = None) -> HTMLResponse:
        return HTMLResponse(page(roster, roster.all[0] if recipe is None else roster.named(recipe, "recipe")))
