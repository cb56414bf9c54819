"""The service asked within the test's own process and event loop, without a client library's time."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from components.serving.app import create_app
from components.serving.options import Options
from components.serving.pictures import Limits


class Answer(NamedTuple):
    """What the service answered; `body` as text where it is no JSON."""

    status: int
    headers: dict[str, str]
    body: dict | str | None


class Service:
    """A service that runs in this event loop."""

    def __init__(self, app):
        self.app = app

    async def ask(
        self, method: str, path: str, body: bytes = b"", whole: bool = True, gone: asyncio.Event | None = None,
        **headers: str,
    ) -> Answer:  # fmt: skip
        """Sends a request, whose body's end never comes where it is not `whole`, and whose client goes away when
        `gone` is set; header names with underscores for dashes."""
        named = {"content-type": "application/json", "content-length": str(len(body))}
        named |= {key.replace("_", "-"): value for key, value in headers.items()}
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": path.partition("?")[0], "raw_path": path.partition("?")[0].encode(), "root_path": "",
            "query_string": path.partition("?")[2].encode(), "client": ("test", 1),
            "server": ("test", 80),
            "headers": [(key.encode(), value.encode("latin-1")) for key, value in named.items()],
        }  # fmt: skip
        sent = []
        incoming = iter([{"type": "http.request", "body": body, "more_body": not whole}])

        async def receive() -> dict:
            if (message := next(incoming, None)) is None:
                await (gone or asyncio.Event()).wait()
            return message or {"type": "http.disconnect"}

        async def send(message: dict) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        given = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
        content = b"".join(message.get("body", b"") for message in sent[1:])
        plain = "json" in given.get("content-type", "json")
        read = json.loads(content) if plain and content else content.decode(errors="replace") or None
        return Answer(sent[0]["status"], given, read)

    async def track(self, payload: object, **headers: str) -> Answer:
        """POST /v1/track."""
        return await self.ask("POST", "/v1/track", json.dumps(payload).encode(), **headers)

    async def tracks(self, payload: dict, **headers: str) -> list[dict]:
        """The tracks of one frame, which must be answered."""
        answer = await self.track(payload, **headers)
        assert answer.status == 200, answer.body
        return answer.body["tracks"]

    async def end(self, session: str) -> Answer:
        """DELETE /v1/track/SESSION."""
        return await self.ask("DELETE", f"/v1/track/{session}")

    async def serves(self, version: int) -> None:
        """Returns as soon as this version is served, of every recipe."""
        for champion in self.app.state.champions.values():
            while not (model := champion.model) or model.version != version:
                assert not (problem := champion.problem) or model, problem
                await asyncio.sleep(0.02)


@asynccontextmanager
async def running(
    deployed: Path | list[Path], version: int = 1, limits: Limits | None = None, options: Options | None = None
) -> AsyncIterator[Service]:
    """The service of what is published in a folder, or in several, once it serves this version."""
    app = create_app(deployed, limits or Limits(), options or Options())
    async with app.router.lifespan_context(app):
        service = Service(app)
        await asyncio.wait_for(service.serves(version), 30)
        yield service
