"""Pictures over HTTP: the route /v1/predict."""

from functools import partial

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from components.serving import describe
from components.serving.model import HEADER
from components.serving.pictures import least_score, read_pictures
from components.serving.score import Desk, score


def add_predict(app: FastAPI, base: str, desk: Desk) -> None:
    """Adds POST /predict below `base`."""

    @app.post(f"{base}/predict", summary="Score pictures", responses=describe.PREDICT, openapi_extra=describe.REQUEST)
    async def predict(request: Request) -> JSONResponse:
        least = least_score(request, desk.serving().bundle)  # before a body is read that could not be scored
        contents = await read_pictures(request, desk.limits)
        work = partial(score, contents=contents, limits=desk.limits, least=least)
        model, results = await desk.answered(request, work)
        return JSONResponse({"model": model.identity, "results": results}, headers={HEADER: model.tag})
