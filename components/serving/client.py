"""A client of the service that needs nothing but Python: this file can be copied to wherever pictures are.

with Client("http://127.0.0.1:8080", token="...") as client:
    client.predict("frame.jpg")["results"][0]["score"]
    for number, frame in enumerate(frames):
        client.track(frame, number, session="gate-3")["tracks"]
    client.features("frame.jpg")["vectors"]
    client.explain("frame.jpg", of="suspicious", samples=100)["superpixels"]
    job = client.scored("clip.mp4")
    Path("predictions.parquet").write_bytes(client.fetch(job["results"]["predictions"]))

Of a service of several recipes: Client("http://127.0.0.1:8080", recipe="suspicious").
"""

import base64
import http.client
import json
import random
import time
import uuid
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

ENDED = ("done", "failed")  # states of a clip's job
LATER = (429, 503)  # what passes: too many requests, or no model yet
LONGEST_S = 60.0  # that one answer may have the client wait

Picture = bytes | str | PathLike  # encoded, or the path of a file


class ServiceError(Exception):
    """What the service refused: `status`, what is wrong, what to do; `request_id`: what its log calls the request."""

    def __init__(self, status: int, error: str, remedy: str, request_id: str | None):
        super().__init__(f"{status}: {error}" + (f" (remedy: {remedy})" if remedy else ""))
        self.status, self.error, self.remedy, self.request_id = status, error, remedy, request_id


class Client:
    """One connection to a service, kept open; of one thread. `recipe`: which is asked, of a service of several.

    `retries`: how often a request is sent again that was not answered, or that the service was too busy for. A frame
    that is sent twice changes nothing, so none is followed twice.
    """

    def __init__(
        self, url: str, token: str | None = None, timeout_s: float = 30.0, retries: int = 3, recipe: str | None = None
    ):
        """Raises ValueError for an address that is none."""
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url}: not the address of a service, such as http://127.0.0.1:8080")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=timeout_s)
        self._prefix, self._retries = parts.path.rstrip("/"), retries
        self._base = "/v1" if recipe is None else f"/v1/{quote(recipe, safe='')}"
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()

    def ready(self) -> dict:
        """The model that is served: {status, model, problem}; of several recipes {status, recipes}, by name the same of
        each. Raises ServiceError (503) where one is missing."""
        return self._asked("GET", "/readyz")

    def predict(self, *pictures: Picture, min_score: float | None = None) -> dict:
        """{model, results}: a result for each picture, in their order: {prediction, score, probabilities}, and of a
        detector `boxes`, [{class, score, x, y, w, h}] in pixels of the picture, from `min_score` on.

        Raises ServiceError, OSError for a file that cannot be read.
        """
        query = "" if min_score is None else "?" + urlencode({"min_score": min_score})
        return self._form(f"/predict{query}", pictures)

    def features(self, *pictures: Picture) -> dict:
        """{model, dimension, vectors}: a vector for each picture, in their order. Raises as `predict`, and ServiceError
        (404) of a model that has none."""
        return self._form("/features", pictures)

    def explain(self, picture: Picture, of: str | None = None, samples: int | None = None) -> dict:
        """{model, class, probability, samples, fit, superpixels, labels, heat}: what the probability of class `of`, or
        of the one that is called, hangs on. Raises as `predict`."""
        given = {"class": of, "samples": samples}
        return self._form(f"/explain?{urlencode({k: v for k, v in given.items() if v is not None})}", [picture])

    def _form(self, path: str, pictures: Sequence[Picture]) -> dict:
        mark = uuid.uuid4().hex
        parts = [
            f'--{mark}\r\nContent-Disposition: form-data; name="picture"; filename="{number}"\r\n\r\n'.encode()
            + content
            for number, content in enumerate(map(_content, pictures))
        ]
        body = b"\r\n".join([*parts, f"--{mark}--\r\n".encode()])
        return self._asked("POST", self._base + path, body, f"multipart/form-data; boundary={mark}")

    def track(self, picture: Picture, frame_id: int, session: str = "default") -> dict:
        """{model, session, begun, frame_id, tracks: [{track_id, class, score, x, y, w, h}]} of the next frame of a
        session. Raises as `predict`."""
        frame = {"frame_id": frame_id, "frame_data": base64.b64encode(_content(picture)).decode(), "session": session}
        return self._asked("POST", f"{self._base}/track", json.dumps(frame).encode(), "application/json")

    def end(self, session: str) -> dict:
        """Ends a session. Raises ServiceError (404) where there is none."""
        return self._asked("DELETE", f"{self._base}/track/{quote(session, safe='')}")

    def clip(self, video: Picture, kind: str = "video/mp4") -> dict:
        """{job, state} of a video that waits to be scored. Raises as `predict`.

        Sent again for want of an answer, it may be scored twice, as two jobs.
        """
        return self._asked("POST", f"{self._base}/clips", _content(video), kind)

    def job(self, name: str) -> dict:
        """{job, state: queued | running | done | failed} and, as far as there are, {progress: {frames, of}, error,
        model, frames, moments, results}: the last are links for `fetch`, by name. Raises ServiceError (404) where there
        is none, or no longer."""
        return self._asked("GET", f"{self._base}/clips/{quote(name, safe='')}")

    def scored(self, video: Picture, kind: str = "video/mp4", look_s: float = 1.0) -> dict:
        """What `job` says of a video once it is done or has failed; sends it, and looks again and again."""
        job = self.clip(video, kind)
        while job["state"] not in ENDED:
            time.sleep(look_s)
            job = self.job(job["job"])
        return job

    def fetch(self, link: str) -> bytes:
        """A file that a job made, whole. Raises ServiceError (404) where it is no longer there."""
        return self._sent("GET", link)

    def _asked(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> dict:
        """The JSON of an answer. Raises as `_sent`."""
        return json.loads(self._sent(method, path, body, kind))

    def _sent(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> bytes:
        """The body of an answer. Raises ServiceError, ConnectionError."""
        headers = self._headers | ({"Content-Type": kind} if kind else {})
        for left in range(self._retries, -1, -1):
            try:
                self._connection.request(method, self._prefix + path, body, headers)
                reply = self._connection.getresponse()
                content = reply.read()
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()  # it is opened anew by the next request
                if not left:
                    raise ConnectionError(f"{self._connection.host}: no answer: {error!r}") from error
                _wait(None, self._retries - left)
                continue
            if reply.status in (200, 202):
                return content
            if reply.status not in LATER or not left:
                raise _refused(reply, content)
            _wait(reply.headers.get("Retry-After"), self._retries - left)
        raise AssertionError("unreachable")


def _content(picture: Picture) -> bytes:
    return picture if isinstance(picture, bytes) else Path(picture).read_bytes()


def _refused(reply: http.client.HTTPResponse, content: bytes) -> ServiceError:
    try:
        said = json.loads(content)
        error, remedy = said["error"], said.get("remedy", "")
    except (ValueError, TypeError, KeyError):  # something between here and the service answered
        error, remedy = content[:200].decode("utf-8", "replace") or reply.reason, ""
    return ServiceError(reply.status, error, remedy, reply.headers.get("X-Request-Id"))


def _wait(asked: str | None, tried: int) -> None:
    """Waits as long as the service asked, else longer each time; never the same as all the others."""
    seconds = float(asked) if asked and asked.isdecimal() else 0.2 * 2**tried
    time.sleep(min(seconds, LONGEST_S) + random.uniform(0, 0.1 * 2**tried))
