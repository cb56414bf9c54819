"""What the OpenAPI page (/docs) says of vectors and explanations."""

from components.serving.describe import NOT_READY, refusal
from components.serving.describe import REQUEST as _PICTURES

TEXT = (
    "What the backbone makes of each picture, as the features table has it: a vector of float32, for search, clusters "
    "or heads of one's own. Vectors of two versions can be compared only where both have the same backbone. A picture "
    "is a sequence of one, so what a model takes from the motion between frames is that of a still."
)
REQUEST = {"requestBody": _PICTURES["requestBody"]}
_MODEL = {"recipe": "suspicious", "version": 3, "digest": "5f0c1d..."}
_REFUSED = {
    400: refusal("Not a picture, or a damaged one", "not a picture", "send BMP, JPEG, PNG, WebP"),
    413: refusal("Too many bytes, pictures or pixels", "the body is larger than 10000000 bytes", "send fewer pictures"),
    415: refusal(
        "Not a form and not a picture", "content type text/plain is not served", "send image/jpeg for example"
    ),
    500: refusal("A defect of the service", "the service failed on this request", "see the service's log"),
    **NOT_READY,
}
FEATURES = {
    200: {
        "description": "A vector for each picture, in their order",
        "content": {
            "application/json": {"example": {"model": _MODEL, "dimension": 3, "vectors": [[0.1183, 0.0, 2.4071]]}}
        },
    },
    404: refusal(
        "The model has no such vector", "wildlife's model finds boxes, and has no vector of a picture",
        "ask a classifier",
    ),
    **_REFUSED,
}  # fmt: skip

EXPLAIN_TEXT = (
    "Which parts of one picture a class's probability hangs on, by LIME: superpixels are switched off at random, the "
    "model scores each changed picture, and a regression gives every superpixel a weight. The same picture and number "
    "of samples give the same answer. As JSON the weights, or with `Accept: image/png` the picture under its map of "
    "heat; the class is in the header `X-Sightline-Class`. One explanation is made at a time, at the lowest priority; "
    "4 may wait."
)


def explain_request(most: int) -> dict:
    """What a request for an explanation of at most so many samples is."""
    return REQUEST | {
        "parameters": [
            {
                "name": "class", "in": "query", "required": False, "example": "suspicious",
                "schema": {"type": "string"},
                "description": "The class that is explained; without it, the one that the model calls",
            },
            {
                "name": "samples", "in": "query", "required": False, "example": min(100, most),
                "schema": {"type": "integer", "minimum": 10, "maximum": most, "default": most},
                "description": "Changed pictures that the model scores: more are surer, and take longer",
            },
        ]
    }  # fmt: skip


EXPLAIN = {
    200: {
        "description": "`weight`: by how much a superpixel's being there raises the probability, the highest first; "
        "`x`, `y`, `w`, `h`: the box around it in pixels of the picture as it was sent, upright; `area`: its share of "
        "the picture. `labels`: in base64 a grey PNG, of the picture as the model sees it, whose values are places in "
        "`superpixels`; `heat`: in base64 the map, a grey PNG of the same size. `fit`: the share of the changed "
        "pictures' scores that the weights explain, 1 at best.",
        "content": {
            "application/json": {
                "example": {
                    "model": _MODEL, "class": "suspicious", "probability": 0.8731, "samples": 300, "fit": 0.81,
                    "superpixels": [{"weight": 0.4102, "x": 96.0, "y": 40.0, "w": 64.0, "h": 80.0, "area": 0.021}],
                    "labels": "iVBORw0KGgo...", "heat": "iVBORw0KGgo...",
                }
            },
            "image/png": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    **_REFUSED,
    400: refusal("No single picture, class or number", "class 'cat' is not known", "known here: normal, suspicious"),
    404: refusal("This service explains nothing", "nothing is explained here", "start it with --explain 300"),
}  # fmt: skip
