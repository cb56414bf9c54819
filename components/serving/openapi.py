"""The OpenAPI document: what every route has in common is added to what each says of itself."""

from fastapi import FastAPI

from components.serving.describe import refusal
from components.serving.tokens import OPEN

BEARER = "token"
GUARDED = {
    401: refusal("Tokens are asked for, and this is none", "there is no token", "send Authorization: Bearer TOKEN"),
    429: refusal(
        "Too many requests: of this client, or waiting; `Retry-After` says when to come back",
        "too many requests are waiting",
        "ask again in a second",
    ),
    500: refusal("A defect of the service", "the service failed on this request", "see the service's log"),
    504: refusal("It took too long", "no answer within 30 s", "ask again later, send less at once, or see --timeout"),
}
WITH_A_BODY = {
    408: refusal("The body took too long", "the body did not arrive within 30 s", "send less at once"),
}


def add_common(app: FastAPI, tokens: bool) -> None:
    """Has the app's document name the answers that any route may give and, with `tokens`, how to send one."""
    made = app.openapi

    def openapi() -> dict:
        if app.openapi_schema is None:
            _complete(made(), tokens)  # FastAPI keeps the very object that it gives
        return app.openapi_schema

    app.openapi = openapi


def _complete(document: dict, tokens: bool) -> None:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            responses = operation["responses"]
            responses.pop("422", None)  # FastAPI's word for what its own validation refuses; here routes say 400
            if path in OPEN:
                continue
            common = GUARDED | (WITH_A_BODY if "requestBody" in operation else {})
            for status, response in common.items():
                responses.setdefault(str(status), response)
            if tokens:
                operation["security"] = [{BEARER: []}]
    parts = document.setdefault("components", {})
    for name in ("HTTPValidationError", "ValidationError"):
        parts.get("schemas", {}).pop(name, None)
    if tokens:
        parts["securitySchemes"] = {BEARER: {"type": "http", "scheme": "bearer"}}
