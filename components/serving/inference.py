"""KServe's protocol over HTTP (Open Inference Protocol, version 2): the routes below /v2.

Each served recipe is a model, its registry version the one version that can be asked for.
"""

from collections.abc import Sequence

import numpy as np
from fastapi import FastAPI, Request, Response

from components.core.bundle import Bundle
from components.serving import describe_inference as describe
from components.serving.backlog import Kept
from components.serving.microbatch import Work
from components.serving.model import HEADER, ServedModel
from components.serving.pictures import Limits, Refusal, content_type, read_body
from components.serving.score import Desk, prepared
from components.serving.served import Roster, Served
from components.serving.tensors import HOW, INPUTS, LENGTH, Infer, Output, parse, render, wanted

JSON, BINARY = "application/json", "application/octet-stream"
SERVER = {"name": "sightline", "version": "1", "extensions": ["binary_tensor_data"]}
PLATFORM = "onnxruntime_onnx"


def add_inference(app: FastAPI, roster: Roster, desks: dict[Served, Desk]) -> None:
    """Adds the routes of server, health, model and inference, each with and without a version."""

    def named(name: str, version: str | None = None) -> ServedModel:
        model = roster.named(name, "model").serving()
        check(model, name, version)
        return model

    @app.get("/v2", summary="The server, and its extensions of the protocol")
    async def server() -> dict:
        return SERVER

    @app.get("/v2/health/live", summary="The process is alive")
    async def live() -> dict:
        return {"live": True}

    @app.get("/v2/health/ready", summary="A model is loaded", responses=describe.NOT_READY)
    async def ready() -> dict:
        roster.check()
        return {"ready": True}

    @app.get("/v2/models/{name}/versions/{version}", summary="A version's tensors", responses=describe.MODEL)
    @app.get("/v2/models/{name}", summary="The model's tensors", responses=describe.MODEL)
    async def model(name: str, version: str | None = None) -> dict:
        return metadata(named(name, version))

    @app.get("/v2/models/{name}/versions/{version}/ready", summary="It is served", responses=describe.MODEL_READY)
    @app.get("/v2/models/{name}/ready", summary="The model is served", responses=describe.MODEL_READY)
    async def model_ready(name: str, version: str | None = None) -> dict:
        return {"name": named(name, version).bundle.recipe, "ready": True}

    @app.post(
        "/v2/models/{name}/versions/{version}/infer", summary="Score pictures by a version", responses=describe.INFER,
        openapi_extra=describe.REQUEST,
    )  # fmt: skip
    @app.post(
        "/v2/models/{name}/infer", summary="Score pictures as tensors", responses=describe.INFER,
        openapi_extra=describe.REQUEST,
    )  # fmt: skip
    async def infer(request: Request, name: str, version: str | None = None) -> Response:
        named(name, version)  # before a body is read that could not be scored
        desk, length = desks[roster.named(name, "model")], request.headers.get(LENGTH)
        _check_type(request, length)
        body = await read_body(request, desk.limits, HOW)

        def work(model: ServedModel, kept: Kept | None) -> Work:
            check(model, name, version)  # it may have taken the other's place meanwhile
            asked = parse(body, length, desk.limits)
            wanted(asked, [one["name"] for one in _given(model.bundle)])  # before the work is done
            about = {"model_name": name, "model_version": str(model.version)}
            return render(about, (yield from inferred(model, asked, desk.limits, kept)), asked)

        model, (content, length_sent) = await desk.answered(request, work)
        headers = {HEADER: model.tag} | ({} if length_sent is None else {LENGTH: length_sent})
        return Response(content, headers=headers, media_type=JSON if length_sent is None else BINARY)


def check(model: ServedModel, name: str, version: str | None) -> None:
    """Raises Refusal (404) where the model is not the one of this name, and of this version if one is named."""
    recipe, served = model.bundle.recipe, str(model.version)
    if name != recipe:
        raise Refusal(404, f"model {name[:64]!r} is not served", f"served here: {recipe}")
    if version not in (None, served):
        raise Refusal(404, f"version {version[:64]!r} of {recipe} is not served", f"served here: version {served}")


def metadata(model: ServedModel) -> dict:
    """What a client is told of the model: name, versions, platform, the tensors that it takes (one of them a request)
    and gives, and the classes."""
    tensors = [{"name": name, "datatype": datatype, "shape": shape} for name, (datatype, shape) in INPUTS.items()]
    return {
        "name": model.bundle.recipe, "versions": [str(model.version)], "platform": PLATFORM, "inputs": tensors,
        "outputs": _given(model.bundle), "parameters": {"classes": list(model.bundle.classes)},
    }  # fmt: skip


def inferred(model: ServedModel, asked: Infer, limits: Limits, kept: Kept | None) -> Work:
    """The work whose answer are the outputs for the pictures of a request, as `metadata` names them.

    It raises Refusal, naming the picture.
    `predictions` are the classes that are called; `boxes` left, top, right, bottom in pixels of the picture as it was
    sent, best first; `scores` are 0 where there is no box. `kept`: what notes the answers, or None.
    """
    pictures, sizes = prepared(model, asked.pictures, limits)
    if not model.bundle.finds_boxes:
        probabilities = yield pictures
        called = model.called(probabilities)
        if kept:
            kept.answered(model, asked.pictures, called)
        return _scored(called, probabilities)
    found = yield pictures
    called = model.called(found.probabilities)
    if kept:
        kept.answered(model, asked.pictures, called, (found.scores > 0).sum(1).tolist())
    sides = np.array([(width, height, width, height) for height, width in sizes], np.float32)
    arrays = {"boxes": found.boxes * sides[:, None], "scores": found.scores, "classes": found.classes}
    datatypes = {"boxes": "FP32", "scores": "FP32", "classes": "INT64"}
    more = [Output(name, datatypes[name], array.shape, array) for name, array in arrays.items()]
    return _scored(called, found.probabilities) + more


def _scored(called: list[dict], probabilities: np.ndarray) -> list[Output]:
    return [
        Output("probabilities", "FP32", probabilities.shape, probabilities),
        Output("predictions", "BYTES", (len(called),), [row["prediction"] for row in called]),
    ]


def _given(bundle: Bundle) -> Sequence[dict]:
    shapes = {"probabilities": ("FP32", [-1, len(bundle.classes)]), "predictions": ("BYTES", [-1])}
    if bundle.finds_boxes:
        shapes |= {"boxes": ("FP32", [-1, -1, 4]), "scores": ("FP32", [-1, -1]), "classes": ("INT64", [-1, -1])}
    return [{"name": name, "datatype": datatype, "shape": shape} for name, (datatype, shape) in shapes.items()]


def _check_type(request: Request, length: str | None) -> None:
    """Raises Refusal (415) for a body that is neither JSON nor the binary extension, or is compressed."""
    kind, coding = content_type(request), request.headers.get("content-encoding", "identity")
    if coding != "identity":
        raise Refusal(415, f"a body in {coding[:64]!r} is not served", "send it without content-encoding")
    if length is None and kind not in (JSON, ""):
        raise Refusal(415, f"content type {kind} is not served", f"send {JSON}, or say {LENGTH}")
