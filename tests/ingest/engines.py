"""A search engine of this machine for the tests: three providers' answers, pictures, robots.txt, faults on demand."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import cv2

from tests.footage import picture
from tests.ingest.servers import send


def jpeg(seed: int, size: tuple[int, int] = (96, 80), quality: int = 95) -> bytes:
    """A picture drawn from a seed."""
    done, content = cv2.imencode(".jpg", picture(seed, *size)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return content.tobytes()


class Engine:
    """Answers at /openverse, /wikimedia and /json, pictures at their paths. `asked`: (time, path) of every request.

    `found`: query -> the paths of its pictures, best first; `files`: path -> bytes, or (bytes, media type). `faults`:
    path (/json?QUERY for an answer) -> what goes wrong with the requests to come, one after the other, the last for
    good where it is in a tuple: a status, (status, headers), `reset`, `cut`, `silent`, `drip` (a byte now and then),
    `endless` (more and more bytes, and no word of how many), `astray` (the same,
    with a redirect to /a), or bytes in place of the answer.
    """

    def __init__(self):
        self.found, self.files, self.faults, self.asked, self.lock = {}, {}, {}, [], threading.Lock()
        self.agents, self.released = set(), threading.Event()

    def add(self, query: str, *seeds: int) -> None:
        """Pictures of these seeds, found by the query."""
        for seed in seeds:
            path = f"/pictures/{seed}.jpg"
            self.files.setdefault(path, jpeg(seed))
            self.found.setdefault(query, []).append(path)

    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [path for _, path in self.asked]

    def answer(self, path: str, fields: dict[str, str]) -> tuple[str, bytes]:
        """(the query, the body of the answer) in the form of the provider that `path` names."""
        if path == "/wikimedia":
            query, per_page = fields["gsrsearch"].removesuffix(" filetype:bitmap"), int(fields["gsrlimit"])
            start = int(fields["gsroffset"])
        else:
            query, per_page = fields["q"], int(fields["page_size"])
            start = (int(fields["page"]) - 1) * per_page
        every = self.found.get(query, [])
        here, more = every[start : start + per_page], start + per_page < len(every)
        urls = [name if "://" in name else f"{self.url}{name}" for name in here]
        if path == "/openverse":
            items = [
                {"url": url, "foreign_landing_url": f"{url}.html", "license": "by-sa", "license_version": "2.0",
                 "creator": "Ann, \"A\"", "title": "a\ttitle", "width": 96, "height": 80} for url in urls
            ]  # fmt: skip
            pages = -(-len(every) // per_page)
            body = {"result_count": len(every), "page_count": pages, "page": start // per_page + 1, "results": items}
        elif path == "/wikimedia":
            told = {"LicenseShortName": {"value": "CC BY 4.0"}, "Artist": {"value": '<a href="x">B &amp; C</a>'}}
            items = [
                {"pageid": 900 - n, "ns": 6, "title": f"File:{url.rpartition('/')[2]}", "index": start + n + 1,
                 "imageinfo": [{"url": url, "descriptionurl": f"{url}.html", "mime": "image/jpeg", "width": 96,
                                "height": 80, "extmetadata": told}]} for n, url in enumerate(urls)
            ]  # fmt: skip
            body = {"batchcomplete": True} | ({"query": {"pages": items[::-1]}} if items else {})
            body |= {"continue": {"gsroffset": start + per_page, "continue": "gsroffset||"}} if more else {}
        else:
            body = {
                "data": {"photos": [{"links": {"big": url}, "by": {"name": "Dee"}, "rights": "cc0"} for url in urls]}
            }
        return query, json.dumps(body).encode()


@contextmanager
def serve_engine():
    """Yields the Engine while it is served."""
    engine = Engine()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments):
            pass

        def do_GET(self):
            _reply(engine, self)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    engine.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield engine
    finally:
        engine.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _reply(engine: Engine, request: BaseHTTPRequestHandler) -> None:
    parts = urlsplit(request.path)
    fields = {name: values[0] for name, values in parse_qs(parts.query).items()}
    key, body, kind = parts.path, None, "application/json"
    if parts.path in ("/openverse", "/wikimedia", "/json"):
        query, body = engine.answer(parts.path, fields)
        key = f"{parts.path}?{query}"
    with engine.lock:
        engine.asked.append((time.monotonic(), key))
        engine.agents.add(request.headers["User-Agent"])
        faults = engine.faults.get(key)
        fault = faults[0] if isinstance(faults, tuple) else faults.pop(0) if faults else None
    if fault == "silent":
        engine.released.wait(5)
    if fault in ("silent", "reset"):
        request.close_connection = True
        request.connection.close()
        return
    if fault in ("drip", "endless", "astray"):
        return _stream(engine, request, fault)
    if isinstance(fault, int):
        fault = (fault, {})
    if isinstance(fault, tuple):
        return send(request, fault[0], b"", **fault[1])
    if body is None and parts.path in engine.files:
        body = engine.files[parts.path]
        body, kind = body if isinstance(body, tuple) else (body, "image/jpeg")
    if body is None:
        return send(request, 404, b"no such page", **{"Content-Type": "text/html"})
    body = fault if isinstance(fault, bytes) else body
    send(request, 200, body, fault == "cut", **{"Content-Type": kind})


def _stream(engine: Engine, request: BaseHTTPRequestHandler, fault: str) -> None:
    request.send_response(302 if fault == "astray" else 200)
    if fault == "astray":
        request.send_header("Location", "/a")
    request.send_header("Connection", "close")
    request.end_headers()
    request.close_connection = True
    try:
        while not engine.released.wait(0.02 if fault == "drip" else 0):
            request.wfile.write(b"x" if fault == "drip" else b"x" * 50_000)
            request.wfile.flush()
    except OSError:
        pass  # the other side has had enough
