"""Explanations over HTTP: the route /v1/explain."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from components.serving import describe_features as describe
from components.serving.gate import Gate, Place
from components.serving.model import HEADER, ServedModel
from components.serving.pictures import Limits, Refusal, decode, read_pictures

CLASS, SAMPLES, LEAST = "class", "samples", 10
NAMED = "X-Sightline-Class"  # the class that is explained, percent-encoded where it is not of these or letters
PLAIN = " !#$&'()*+,/:;=?@[]"
PNG = "image/png"
WAITING = 4  # explanations that may wait for the one that is made
NICEST = 19


class Explainer:
    """Makes one explanation at a time, of at most `most` samples, on a thread of the lowest priority; WAITING may wait.

    So the pool of those who score stays free, and has the cores first. Of one event loop.
    """

    def __init__(self, most: int):
        self.most, self.gate = most, Gate(1 + WAITING, 1)
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="explain", initializer=_humble)

    def stop(self) -> None:
        """Ends the thread with the explanation that it makes."""
        self.pool.shutdown()


def add_explain(
    app: FastAPI, base: str, explainer: Explainer, serving: Callable[[], ServedModel], limits: Limits
) -> None:
    """Adds POST /explain below `base`. `serving` gives the model of now, or raises Refusal (503)."""

    @app.post(
        f"{base}/explain", summary="What a score hangs on", responses=describe.EXPLAIN,
        openapi_extra=describe.explain_request(max(LEAST, explainer.most)), description=describe.EXPLAIN_TEXT,
        response_class=Response,
    )  # fmt: skip
    async def explain(request: Request) -> Response:
        model = serving()  # this one is explained, whatever takes its place meanwhile
        samples, kind = _samples(request, explainer.most), _kind(request, model)
        contents = await read_pictures(request, limits)
        if len(contents) > 1:
            raise Refusal(400, f"{len(contents)} pictures cannot be explained at once", "send one picture")
        drawn = PNG in request.headers.get("accept", "")

        def work(place: Place) -> Response:
            from components.serving.explain import explained  # and scikit-image with it, for which no start waits

            one = explained(model, decode(contents[0], limits), kind, samples, place.check)
            headers = {HEADER: model.tag, NAMED: quote(one.name, PLAIN)}
            if drawn:
                return Response(one.overlay(), headers=headers, media_type=PNG)
            return JSONResponse(one.plain(), headers=headers)

        return await _while_there(request, explainer.gate.run_placed(explainer.pool, work))


async def _while_there(request: Request, work: Awaitable[Response]) -> Response:
    """What the work gives, which is cancelled where the client goes away. Raises ClientDisconnect then."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    """Returns when the client of a request whose body was read has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _samples(request: Request, most: int) -> int:
    """How many changed pictures are asked for. Raises Refusal: 404 where nothing is explained, 400 what cannot be."""
    if not most:
        raise Refusal(404, "nothing is explained here", "start the service with --explain 300, for example")
    given = request.query_params.getlist(SAMPLES)
    if not given:
        return most
    if len(given) > 1 or not given[0].isdecimal() or len(given[0]) > 9 or not LEAST <= int(given[0]) <= most:
        said = ",".join(given)[:64]
        raise Refusal(400, f"{SAMPLES}={said} is not one number from {LEAST} to {most}", f"send {SAMPLES}={most}")
    return int(given[0])


def _kind(request: Request, model: ServedModel) -> int | None:
    """The place of the class that is asked for among the model's; None where none is. Raises Refusal (400)."""
    given, classes = request.query_params.getlist(CLASS), model.bundle.classes
    if not given:
        return None
    if len(given) > 1 or given[0] not in classes:
        raise Refusal(400, f"class {','.join(given)[:64]!r} is not known", f"known here: {', '.join(classes)}")
    return classes.index(given[0])


def _humble() -> None:
    """For the thread: Linux has priorities of threads, and whoever scores goes first."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICEST)
