"""What the OpenAPI page (/docs) says of the routes below /v2."""

from components.serving.describe import NOT_READY, refusal

_BASE64 = "/9j/4AAQSkZJRgABAQ..."
_UNKNOWN = refusal(
    "Another model, or another version, than the one served", "version '2' of suspicious is not served",
    "served here: version 3",
)  # fmt: skip
_PARAMETERS = {"parameters": {"type": "object"}}
_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string", "enum": ["pictures", "encoded"]},
        "datatype": {"type": "string", "enum": ["UINT8", "BYTES"]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
        "data": {"type": "array", "items": {}},
        **_PARAMETERS,
    },
}
_OUTPUT = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, **_PARAMETERS}}
REQUEST = {
    "requestBody": {
        "required": True,
        "description": "One input tensor of N pictures: `pictures`, UINT8 [N, height, width, 3] RGB, or `encoded`, "
        "BYTES [N], files in base64 (JPEG, PNG, WebP, BMP). `outputs` names those that are wanted; without it all are "
        "given. With the header `Inference-Header-Content-Length` the tensor follows the JSON in binary, and "
        "`binary_data` (of an output) or `binary_data_output` (of the request) asks for outputs in binary too.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": {"type": "string"},
                        "inputs": {"type": "array", "items": _TENSOR, "minItems": 1, "maxItems": 1},
                        "outputs": {"type": "array", "items": _OUTPUT},
                        **_PARAMETERS,
                    },
                },
                "examples": {
                    "encoded": {
                        "summary": "A picture's file",
                        "value": {
                            "id": "7",
                            "inputs": [{"name": "encoded", "datatype": "BYTES", "shape": [1], "data": [_BASE64]}],
                        },
                    },
                    "pictures": {
                        "summary": "Pixels, one class's probability asked for",
                        "value": {
                            "inputs": [
                                {
                                    "name": "pictures", "datatype": "UINT8", "shape": [1, 1, 2, 3],
                                    "data": [255, 0, 0, 0, 0, 255],
                                }
                            ],
                            "outputs": [{"name": "probabilities"}],
                        },
                    },
                },
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}  # fmt: skip

_TENSORS = [
    {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
    {"name": "predictions", "datatype": "BYTES", "shape": [-1]},
]
MODEL = {
    200: {
        "description": "Name, version and tensors. `inputs` are two, of which a request has one.",
        "content": {
            "application/json": {
                "example": {
                    "name": "suspicious", "versions": ["3"], "platform": "onnxruntime_onnx",
                    "inputs": [
                        {"name": "pictures", "datatype": "UINT8", "shape": [-1, -1, -1, 3]},
                        {"name": "encoded", "datatype": "BYTES", "shape": [-1]},
                    ],
                    "outputs": _TENSORS,
                    "parameters": {"classes": ["normal", "suspicious"]},
                }
            }
        },
    },
    404: _UNKNOWN,
    **NOT_READY,
}  # fmt: skip
MODEL_READY = {404: _UNKNOWN, **NOT_READY}
INFER = {
    200: {
        "description": "The output tensors: `probabilities` FP32 [N, classes]; `predictions` BYTES [N], the classes "
        "that are called; of a model that finds boxes `boxes` FP32 [N, K, 4], left, top, right, bottom in pixels of "
        "the picture as it was sent, best first, `scores` FP32 [N, K], 0 where there is no box, and `classes` INT64 "
        "[N, K], places among the model's classes.",
        "content": {
            "application/json": {
                "example": {
                    "id": "7", "model_name": "suspicious", "model_version": "3",
                    "outputs": [
                        {"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": [0.1269, 0.8731]},
                        {"name": "predictions", "datatype": "BYTES", "shape": [1], "data": ["suspicious"]},
                    ],
                }
            }
        },
    },
    400: refusal("Not such a request, or not a picture", "input pictures has 12 bytes, its shape 18", "see /docs"),
    404: _UNKNOWN,
    413: refusal("Too many bytes, pictures or pixels", "more than 32 pictures", "send fewer pictures in one request"),
    415: refusal("Neither JSON nor the binary extension", "content type text/plain is not served", "send JSON"),
    500: refusal("A defect of the service", "the service failed on this request", "see the service's log"),
    **NOT_READY,
}  # fmt: skip
