"""Connections whose requests do not come to a head, on both event loops that the service may have."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from websockets.sync.client import connect

from components.core import heads
from components.core.listening import listen

HEAD_S = 0.6
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n"


async def app(scope, receive, send):
    """Answers with the body that came; a WebSocket's message with itself."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
        return
    body, more = b"", scope["type"] == "http"
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(params=["asyncio", "uvloop"])
def port(request, monkeypatch) -> Iterator[int]:
    """Of a server that waits HEAD_S seconds for a head."""
    monkeypatch.setattr(heads, "HEAD_S", HEAD_S)
    config = uvicorn.Config(app, loop=request.param, http=heads.Impatient, lifespan="off", log_level="critical")
    server, listener = uvicorn.Server(config), listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join()


def opened(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 30)


def answer(connection: socket.socket) -> bytes:
    """All that comes until the connection is closed."""
    said = b""
    try:
        while block := connection.recv(1 << 16):
            said += block
    except ConnectionError:
        pass
    return said


@pytest.mark.parametrize("sent", [b"", b"POST / HTTP/1.1\r\nHost: a\r\n"], ids=["silent", "half a head"])
def test_who_says_nothing_is_not_waited_for(port, sent):
    with opened(port) as connection:
        began = time.monotonic()
        connection.sendall(sent)
        assert answer(connection) == b"" and HEAD_S * 0.9 < time.monotonic() - began < 20


def test_a_head_that_comes_in_drops_has_no_longer(port):
    with opened(port) as connection:
        with pytest.raises(ConnectionError):
            for _ in range(200):
                connection.sendall(b"P")
                time.sleep(HEAD_S / 10)


def test_a_second_request_has_as_long_as_the_first(port):
    with opened(port) as connection:
        connection.sendall(POST + b"\r\n0123456789")
        said = b""
        while not said.endswith(b"0123456789"):
            said += connection.recv(1 << 16)
        connection.sendall(POST)
        began = time.monotonic()
        assert answer(connection) == b"" and HEAD_S * 0.9 < time.monotonic() - began < 20


def test_a_body_may_take_its_time(port):
    """For that there is a deadline of its own, which says so."""
    with opened(port) as connection:
        connection.sendall(POST + b"Connection: close\r\n\r\n01234")
        time.sleep(2 * HEAD_S)
        connection.sendall(b"56789")
        assert answer(connection).endswith(b"\r\n\r\n0123456789")


def test_a_socket_stays_open(port):
    with connect(f"ws://127.0.0.1:{port}/") as stream:
        for word in ("one", "two"):
            time.sleep(1.5 * HEAD_S)
            stream.send(word)
            assert stream.recv(30) == word


def test_a_head_has_an_end(port):
    """Before anybody's token was looked at."""
    with opened(port) as connection:
        connection.sendall(POST + b"X: ")
        sent = 0
        with pytest.raises(ConnectionError):
            while sent < 64 << 20:
                sent += connection.send(b"a" * (1 << 20))
        assert sent < 32 << 20


def test_who_offers_http_2_is_heard_in_http_1(port):
    """As some clients do with every first request."""
    with opened(port) as connection:
        offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
        connection.sendall(POST + offer + b"0123456789")
        connection.shutdown(socket.SHUT_WR)
        said = answer(connection)
        assert b"200 OK" in said and said.endswith(b"0123456789")
