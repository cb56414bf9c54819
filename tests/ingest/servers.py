"""Servers of this machine that the tests fetch from: a folder over HTTP with faults on demand, and S3."""

import re
import threading
from contextlib import contextmanager
from email.utils import formatdate
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote


class Folder:
    """A folder served at `url`, with ranges, tags and times. `asked`: (path, range, condition) of every request.

    `faults`: path -> what goes wrong with the requests to come, one after the other: a status (an answer without
    content), `cut` (the line breaks after half of what was to be sent), `long` (more than announced is on the disk
    says), or an address to redirect to.
    """

    def __init__(self, root: Path):
        self.root, self.asked, self.faults = root, [], {}
        self.tags, self.ranges, self.lock = True, True, threading.Lock()

    def requests(self, path: str) -> list[tuple]:
        """What was asked of one path, in order: (range, condition)."""
        return [request[1:] for request in self.asked if request[0] == path]


@contextmanager
def serve(root: Path):
    """Yields the Folder while it is served."""
    folder = Folder(root)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments):
            pass

        def do_GET(self):
            answer(folder, self)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    folder.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield folder
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(folder: Folder, request: BaseHTTPRequestHandler) -> None:
    """One reply, as a common server would send it, or as the fault says."""
    name = unquote(request.path.partition("?")[0])
    path = folder.root / name.lstrip("/")
    asked, condition = request.headers.get("Range"), request.headers.get("If-None-Match")
    with folder.lock:
        folder.asked.append((name, asked, condition or request.headers.get("If-Modified-Since")))
        fault = (folder.faults.get(name) or [None]).pop(0) if folder.faults.get(name) else None
    if isinstance(fault, int):
        return send(request, fault, b"")
    if isinstance(fault, str) and "://" in fault:
        return send(request, 302, b"", Location=fault)
    if path.is_dir():
        if not name.endswith("/"):
            return send(request, 301, b"", Location=quote(name) + "/")
        names = sorted(child.name + "/" * child.is_dir() for child in path.iterdir())
        links = "".join(f'<li><a href="{quote(child)}">{child}</a>' for child in names)
        page = f'<html><a href="?C=M;O=A">time</a><a href="../">up</a><ul>{links}</ul>'
        return send(request, 200, page.encode(), **{"Content-Type": "text/html; charset=utf-8"})
    if not path.is_file():
        return send(request, 404, b"")
    content = path.read_bytes()
    tag = f'"{md5(content).hexdigest()}"' if folder.tags else None
    kind = "text/html" if path.suffix == ".html" else "application/octet-stream"
    facts = {"Content-Type": kind, "Last-Modified": formatdate(path.stat().st_mtime, usegmt=True)}
    facts |= {"ETag": tag} if tag else {}
    if tag and condition == tag:
        return send(request, 304, None, **facts)
    part = re.fullmatch(r"bytes=(\d+)-", asked or "")
    valid = request.headers.get("If-Range") in (None, tag, facts["Last-Modified"])
    start = int(part[1]) if part and folder.ranges and valid else 0
    if start:
        if start >= len(content):
            return send(request, 416, b"", **{"Content-Range": f"bytes */{len(content)}"})
        facts["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
    send(request, 206 if start else 200, content[start:], fault == "cut", **facts)


def send(request: BaseHTTPRequestHandler, status: int, body: bytes | None, cut: bool = False, **headers) -> None:
    """Sends a reply; `cut`: half of its body, and then the line breaks."""
    request.send_response(status)
    for key, value in headers.items():
        request.send_header(key, value)
    if body is not None:
        request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    if body:
        request.wfile.write(body[: len(body) // 2] if cut else body)
    if cut:
        request.wfile.flush()
        request.close_connection = True
        request.connection.close()
