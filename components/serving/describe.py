"""What the OpenAPI page (/docs) says of the service."""

API = (
    "Scores pictures with the recipe's champion and, where it tracks, follows what frames show. Every answer names the "
    "model's version, in its body and in a header. Every answer has the request's id in `X-Request-Id`: the one that "
    "was sent with it, if it is one (up to 128 letters, digits and `._:=+/@-`), else a new one."
)

_PICTURE = {"type": "string", "format": "binary"}
REQUEST = {
    "parameters": [
        {
            "name": "min_score",
            "in": "query",
            "required": False,
            "description": "Of a model that finds boxes: the score from which they are wanted. Without it, those are "
            "given that the model calls. A model without boxes refuses it.",
            "schema": {"type": "number", "minimum": 0, "maximum": 1},
            "example": 0.3,
        }
    ],
    "requestBody": {
        "required": True,
        "description": "One picture as the body, or one or more form fields named `picture` (JPEG, PNG, WebP, BMP).",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["picture"],
                    "properties": {"picture": {"type": "array", "items": _PICTURE}},
                }
            },
            "image/jpeg": {"schema": _PICTURE},
            "image/png": {"schema": _PICTURE},
            "application/octet-stream": {"schema": _PICTURE},
        },
    },
}

_ANSWER = {
    "model": {"recipe": "suspicious", "version": 3, "digest": "5f0c1d..."},
    "results": [
        {
            "prediction": "suspicious",
            "score": 0.8731,
            "probabilities": {"normal": 0.1269, "suspicious": 0.8731},
        }
    ],
}
_BOXES = {
    "model": {"recipe": "wildlife", "version": 2, "digest": "90b4e1..."},
    "results": [
        {
            "prediction": "leopard",
            "score": 0.9107,
            "probabilities": {"background": 0.0893, "leopard": 0.9107},
            "boxes": [{"class": "leopard", "score": 0.9107, "x": 412.5, "y": 96.0, "w": 233.75, "h": 180.0}],
        }
    ],
}


_ERROR = {
    "type": "object",
    "required": ["error", "remedy"],
    "properties": {"error": {"type": "string"}, "remedy": {"type": "string"}},
}


def refusal(says: str, error: str, remedy: str) -> dict:
    """A response that refuses: when, and an example of it."""
    example = {"error": error, "remedy": remedy}
    return {"description": says, "content": {"application/json": {"schema": _ERROR, "example": example}}}


NOT_READY = {503: refusal("No model is loaded", "no champion was deployed", "run the recipe's flow to its end")}
METRICS = {
    200: {
        "description": "Requests, latency, refusals, the gate, the model, pictures and the engine's time",
        "content": {"text/plain": {"example": 'sightline_model_info{recipe="suspicious",version="3"} 1.0'}},
    }
}
PREDICT = {
    200: {
        "description": "A result for each picture, in their order; `score` is the probability of the "
        "positive class or, of a model without one, of the prediction. A model that finds boxes gives them too, best "
        "first: `x` (left), `y` (top), `w` and `h` in pixels of the picture as it was sent, upright.",
        "content": {
            "application/json": {
                "examples": {
                    "scores": {"summary": "A model that scores pictures", "value": _ANSWER},
                    "boxes": {"summary": "A model that finds boxes too", "value": _BOXES},
                }
            }
        },
    },
    400: refusal(
        "Not a picture, a damaged one, or a `min_score` that cannot be", "not a picture", "send BMP, JPEG, PNG, WebP"
    ),
    413: refusal("Too many bytes, pictures or pixels", "the body is larger than 10000000 bytes", "send fewer pictures"),
    415: refusal(
        "Not a form and not a picture", "content type text/plain is not served", "send image/jpeg for example"
    ),
    500: refusal("A defect of the service", "the service failed on this request", "see the service's log"),
    **NOT_READY,
}
