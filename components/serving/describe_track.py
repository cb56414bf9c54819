"""What the OpenAPI page (/docs) says of following."""

from components.serving.describe import NOT_READY, refusal

TEXT = """Follows what a source shows from frame to frame: the same object has the same `track_id` in all of them.

A source is a **session**, named by the field `session` or the header `X-Sightline-Session` (else `default`): 1 to 64
letters, digits, dots, dashes, underscores. It begins with its first frame and ends by `DELETE /v1/track/SESSION` or
after 300 s without one. 64 are followed at a time; the longest unused one makes room for a new one, unless it had a
frame within the last 10 s.

- `frame_id` rises by one from frame to frame, at the rate of the recipe's `frames.fps`. Where numbers are missing, so
  much time has passed.
- A frame of the last request sent again is answered as before, and changes nothing.
- A frame below the last is refused (409), and so are another picture under the same number and another size.
- Several frames in a request: `frame_data` a list of `batch_size` pictures, numbered from `frame_id` on, or `frames`,
  a list of `{frame_id, frame_data, frame_w, frame_h}`. They are answered in order, in `frames`, all or none.
- `begun`: identities began anew with the last request. That is so in a session's first, and where another model took
  over: its embeddings cannot be compared with those before, so it begins a tracker, whose numbers count on.

**WebSocket** `/v1/track/stream?session=NAME`: a binary message is a picture, numbered by the service; a text message
the JSON of this request. Each has one answer: that of this request, or `{error, remedy, status}`, after which the
connection goes on. Without a name the session is the connection's own and ends with it."""

_BASE64 = "/9j/4AAQSkZJRgABAQAAAQABAAD..."
_FRAME = {
    "frame_id": {"type": "integer", "minimum": 0, "description": "Number of the frame"},
    "frame_data": {
        "oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
        "description": "The encoded picture (JPEG, PNG, WebP, BMP) in base64; or a list of them",
    },
    "frame_w": {"type": "integer", "minimum": 1, "description": "Width in pixels, checked against the picture"},
    "frame_h": {"type": "integer", "minimum": 1, "description": "Height in pixels, checked against the picture"},
}
REQUEST = {
    "parameters": [
        {
            "name": "X-Sightline-Session",
            "in": "header",
            "required": False,
            "description": "The session, where the body does not name it",
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
            "example": "gate-3",
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        **_FRAME,
                        "batch_size": {"type": "integer", "minimum": 1, "description": "Frames in this request"},
                        "session": {"type": "string", "description": "The source"},
                        "frames": {"type": "array", "items": {"type": "object", "properties": _FRAME}},
                    },
                },
                "examples": {
                    "one": {
                        "summary": "A frame",
                        "value": {
                            "frame_id": 7, "frame_data": _BASE64, "frame_w": 1920, "frame_h": 1080, "batch_size": 1,
                            "session": "gate-3",
                        },
                    },
                    "several": {
                        "summary": "Two frames, of which one between them is missing",
                        "value": {
                            "session": "gate-3",
                            "frames": [{"frame_id": 7, "frame_data": _BASE64}, {"frame_id": 9, "frame_data": _BASE64}],
                        },
                    },
                },
            }
        },
    },
}  # fmt: skip

_MODEL = {"recipe": "tracking", "version": 2, "digest": "90b4e1..."}
_TRACKS = [{"track_id": 12, "class": "person", "score": 0.91, "x": 412.5, "y": 96.0, "w": 58.5, "h": 180.0}]
TRACK = {
    200: {
        "description": "The tracks that each frame shows, by rising `track_id`: `x` (left), `y` (top), `w` and `h` in "
        "pixels of the picture as it was sent, upright.",
        "content": {
            "application/json": {
                "examples": {
                    "one": {
                        "summary": "Of a frame",
                        "value": {
                            "model": _MODEL, "session": "gate-3", "begun": False, "frame_id": 7, "tracks": _TRACKS,
                        },
                    },
                    "several": {
                        "summary": "Of two",
                        "value": {
                            "model": _MODEL, "session": "gate-3", "begun": False,
                            "frames": [{"frame_id": 7, "tracks": _TRACKS}, {"frame_id": 9, "tracks": []}],
                        },
                    },
                }
            }
        },
    },
    400: refusal(
        "Not such a payload, not a picture, or not of the size that it says", "frame_data is not base64", "see /docs"
    ),
    404: refusal("The model does not track", "wildlife's model does not track", "use /v1/predict"),
    409: refusal(
        "A frame out of order, another picture under its number, or another size; nothing has changed",
        "session gate-3: frame 6 comes after frame 7",
        "send frames in order, or DELETE /v1/track/gate-3 to begin anew",
    ),
    413: refusal("Too many bytes, frames or pixels", "more than 32 frames", "send fewer frames in one request"),
    415: refusal("Not JSON, or a picture of another format", "pictures in GIF format are not served", "send JPEG"),
    500: refusal("A defect of the service", "the service failed on this request", "see the service's log"),
    503: refusal("No model is loaded, or there is no room", "64 sessions are being followed", "end one"),
}  # fmt: skip
END = {
    200: {
        "description": "The session has ended; how many frames it had",
        "content": {"application/json": {"example": {"session": "gate-3", "frames": 1200}}},
    },
    400: refusal("No name of a session", "session is no name", "name it with 1 to 64 letters, digits, dots, dashes"),
    404: refusal("There is no such session", "no session gate-3", "it has ended, or never had a frame"),
    **NOT_READY,
}
