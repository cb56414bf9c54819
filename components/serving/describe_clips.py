"""What the OpenAPI page (/docs) says of clips."""

from components.serving.describe import NOT_READY, refusal

TEXT = """Takes a video as the body and answers at once, with the job's name. The job scores it as `sightline predict`
does: at the recipe's frame rate, with boxes, tracks and drawn footage where the model has them. Jobs run one after
another; 8 are remembered, for an hour after they ended, and end with the service."""

_VIDEO = {"schema": {"type": "string", "format": "binary"}}
REQUEST = {
    "requestBody": {
        "required": True,
        "description": "A video of up to 200 MB: MP4, MOV, MKV, WebM, AVI, MPEG",
        "content": {"video/mp4": _VIDEO, "application/octet-stream": _VIDEO},
    }
}
_STATE = {"job": "5f0c1d...", "state": "queued"}
_DONE = {
    "job": "5f0c1d...", "state": "done", "progress": {"frames": 960, "of": 960}, "model": "suspicious/v3@5f0c1d2e3a4b",
    "frames": 960,
    "moments": [{"frame_index": 412, "timestamp_s": 82.4, "score": 0.93, "prediction": "suspicious"}],
    "results": {"predictions": "/v1/clips/5f0c1d.../predictions", "moments": "/v1/clips/5f0c1d.../moments"},
}  # fmt: skip


def _json(says: str, example: dict) -> dict:
    return {"description": says, "content": {"application/json": {"example": example}}}


_NO_JOB = {404: refusal("There is no such job", "there is no job '5f0c1d'", "it has ended over an hour ago")}
POST = {
    202: _json("The job, which waits its turn", _STATE),
    400: refusal("There is no body", "the body is empty", "send a video as the body"),
    413: refusal("The clip is too large", "the clip is larger than 200000000 bytes", "cut it, or scale it down"),
    415: refusal("The body is no video", "content type text/plain is not served", "send video/mp4, for example"),
    **NOT_READY,
}
GET = {
    200: _json("`state` is queued, running, done or failed; `error` says why it failed", _DONE),
    **_NO_JOB,
}
DELETE = {200: _json("It has ended, and what it made is gone", {"job": "5f0c1d...", "state": "ended"}), **_NO_JOB}
RESULT = {
    200: {"description": "Parquet, CSV, a result file of the MOTChallenge, or MP4", "content": {"*/*": _VIDEO}},
    206: {"description": "The part of it that `Range` asks for", "content": {"*/*": _VIDEO}},
    400: {"description": "`Range` cannot be read", "content": {"text/plain": {}}},
    416: {"description": "`Range` lies beyond its end", "content": {"text/plain": {}}},
    404: refusal("There is no such job or result", "the job has no 'drawn'", "there is: predictions, moments"),
}
