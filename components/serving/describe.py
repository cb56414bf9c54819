"""What the OpenAPI page (/docs) says of the service."""

API = "Scores pictures with the recipe's champion. Every answer names the model's version, in its body and in a header."

_PICTURE = {"type": "string", "format": "binary"}
BODY = {
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
    }
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


def _error(says: str, error: str, remedy: str) -> dict:
    return {"description": says, "content": {"application/json": {"example": {"error": error, "remedy": remedy}}}}


NOT_READY = {503: _error("No model is loaded", "no champion was deployed", "run the recipe's flow to its end")}
PREDICT = {
    200: {
        "description": "A result for each picture, in their order; `score` is the probability of the "
        "positive class or, of a model without one, of the prediction.",
        "content": {"application/json": {"example": _ANSWER}},
    },
    400: _error("Not a picture, or a damaged one", "not a picture", "send BMP, JPEG, PNG, WebP"),
    413: _error("Too many bytes, pictures or pixels", "the body is larger than 10000000 bytes", "send fewer pictures"),
    415: _error("Not a form and not a picture", "content type text/plain is not served", "send image/jpeg for example"),
    500: _error("A defect of the service", "the service failed on this request", "see the service's log"),
    **NOT_READY,
}
