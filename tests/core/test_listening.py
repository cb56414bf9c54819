"""Sockets that servers listen on."""

import asyncio
import socket

import pytest

from components.core.errors import SightlineError
from components.core.listening import address, listen


def test_answers_in_two_writes_do_not_wait_for_the_client():
    """Of a connection that asyncio serves, Nagle's algorithm is off."""

    async def served() -> int:
        found = asyncio.get_running_loop().create_future()

        async def one(_, writer: asyncio.StreamWriter) -> None:
            found.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = listen("127.0.0.1", 0)
        async with await asyncio.start_server(one, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            writer.close()
            return await asyncio.wait_for(found, 30)

    assert asyncio.run(served())


def test_a_port_that_is_taken_is_named():
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert address("127.0.0.1", listener) == f"http://127.0.0.1:{port}"
        with pytest.raises(SightlineError, match=f"127.0.0.1:{port}"):
            listen("127.0.0.1", port)
