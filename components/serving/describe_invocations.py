"""What the OpenAPI page (/docs) says of /invocations and /ping."""

from components.serving.describe import NOT_READY, refusal
from components.serving.describe import REQUEST as _PICTURES
from components.serving.served import TARGET

__all__ = ["INVOCATIONS", "NOT_READY", "REQUEST", "TEXT", "request"]

TEXT = (
    "One picture as the body, form fields `picture`, or the JSON of MLflow's scoring protocol, whose cells are "
    "pictures in base64 or pixels as lists [H][W][3] of whole numbers from 0 to 255; `params.min_score` asks for boxes "
    "as `?min_score=` does. Clients of MLflow's model servers and of SageMaker's endpoints work unchanged."
)
_BASE64 = "/9j/4AAQSkZJRgABAQ..."
_CELLS = {"type": "array", "items": {}}
REQUEST = {
    "parameters": _PICTURES["parameters"],
    "requestBody": {
        "required": True,
        "content": {
            **_PICTURES["requestBody"]["content"],
            "application/x-image": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "inputs": {},
                        "instances": _CELLS,
                        "dataframe_split": {"type": "object", "properties": {"columns": _CELLS, "data": _CELLS}},
                        "dataframe_records": {"type": "array", "items": {"type": "object"}},
                        "params": {"type": "object", "properties": {"min_score": {"type": "number"}}},
                    },
                },
                "examples": {
                    "instances": {"summary": "A list of pictures", "value": {"instances": [_BASE64]}},
                    "dataframe_split": {
                        "summary": "A table of one column, as a pandas DataFrame is sent",
                        "value": {"dataframe_split": {"columns": ["picture"], "data": [[_BASE64]]}},
                    },
                },
            },
        },
    },
}

_ROW = {"prediction": "suspicious", "score": 0.8731, "prob_normal": 0.1269, "prob_suspicious": 0.8731}
INVOCATIONS = {
    200: {
        "description": "A row for each picture, in their order; of a model that finds boxes with `boxes`, as of "
        "/v1/predict.",
        "content": {"application/json": {"example": {"predictions": [_ROW]}}},
    },
    400: refusal("Not such a body, or not a picture", "the body holds none of inputs, instances", "see /docs"),
    413: refusal("Too many bytes, pictures or pixels", "more than 32 pictures", "send fewer pictures in one request"),
    415: refusal("Neither JSON nor a picture", "content type text/csv is not served", "send image/jpeg for example"),
    404: refusal("Another recipe than is served", "endpoint 'digits' is not served", "served here: suspicious"),
    500: refusal("A defect of the service", "the service failed on this request", "see the service's log"),
    **NOT_READY,
}


def request(several: bool) -> dict:
    """What a request is; where several recipes are served also how it names one."""
    named = {
        "name": TARGET, "in": "header", "required": False, "schema": {"type": "string"}, "example": "suspicious",
        "description": "The recipe that is asked, as such or as RECIPE.tar.gz. /invocations needs it; an endpoint "
        "named after a recipe does without.",
    }  # fmt: skip
    return REQUEST | {"parameters": [*REQUEST["parameters"], *([named] if several else [])]}
