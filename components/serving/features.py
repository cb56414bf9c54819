"""The backbone's vectors over HTTP: the route /v1/features."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from components.serving import describe_features as describe
from components.serving.model import HEADER, ServedModel
from components.serving.pictures import Limits, Refusal, read_pictures
from components.serving.score import Desk, prepared


def add_features(app: FastAPI, base: str, desk: Desk) -> None:
    """Adds POST /features below `base`."""

    @app.post(
        f"{base}/features", summary="Pictures as vectors", responses=describe.FEATURES, openapi_extra=describe.REQUEST,
        description=describe.TEXT,
    )  # fmt: skip
    async def features(request: Request) -> JSONResponse:
        _check(desk.serving())  # before a body is read that could not be answered
        contents = await read_pictures(request, desk.limits)

        def act(model: ServedModel) -> JSONResponse:
            rows = vectors(model, contents, desk.limits)
            says = {"model": model.identity, "dimension": len(rows[0]), "vectors": rows}
            return JSONResponse(says, headers={HEADER: model.tag})  # written here: of many numbers it takes a while

        return (await desk.made(act))[1]


def vectors(model: ServedModel, contents: list[bytes], limits: Limits) -> list[list[float]]:
    """A vector of float32 for each of these encoded pictures, in their order. Raises Refusal, naming the picture."""
    _check(model)  # it may have taken the other's place meanwhile
    pictures, _ = prepared(model, contents, limits)
    return model.vectors(pictures).tolist()


def _check(model: ServedModel) -> None:
    """Raises Refusal (404) where the model gives no vectors."""
    if not model.gives_vectors:
        recipe = model.bundle.recipe
        why = "finds boxes, and has" if model.bundle.finds_boxes else "was deployed before there were vectors, and has"
        raise Refusal(
            404, f"{recipe}'s model {why} no vector of a picture",
            f"ask a classifier, or have {recipe} deployed anew" if not model.bundle.finds_boxes else "ask a classifier",
        )  # fmt: skip
