"""Load for an HTTP service: so many clients on connections that stay open, each sending its next request at once."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

HEAD_END = b"\r\n\r\n"


@dataclass
class Load:
    """What came of it: `seconds` it took, `latencies` of the answered requests in seconds, how often each status came
    (0: none did), and each value of the header that was asked for."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter = field(default_factory=Counter)
    seen: Counter = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    def milliseconds(self, *percentiles: float) -> list[float]:
        """The latencies at these percentiles."""
        return [float(value) * 1000 for value in np.percentile(self.latencies, percentiles)]

    @property
    def failed(self) -> int:
        """Requests that were not answered, or not with 200."""
        return sum(count for status, count in self.statuses.items() if status != 200)


def request(host: str, path: str, body: bytes, kind: str) -> bytes:
    """A POST as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + HEAD_END + body


async def loaded(
    host: str, port: int, content: bytes, clients: int, seconds: float, header: str = "", during=None,
    load: Load | None = None,
) -> Load:  # fmt: skip
    """Sends the same request from `clients` connections for so many seconds, or until `during()` is done; returns
    `load`, which is filled meanwhile."""
    load, over = Load() if load is None else load, asyncio.Event()

    async def client() -> None:
        reader = writer = None
        while not over.is_set():
            began = time.perf_counter()
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection(host, port)
                writer.write(content)
                status, seen, stays = await _answer(reader, header)
            except (OSError, EOFError, ValueError):
                status, seen, stays = 0, "", False
            load.statuses[status] += 1
            if status:
                load.latencies.append(time.perf_counter() - began)
                load.seen[seen] += 1
            if not stays and writer is not None:
                writer.close()
                writer = None
        if writer is not None:
            writer.close()

    began = time.perf_counter()
    running = [asyncio.create_task(client()) for _ in range(clients)]
    await (during() if during else asyncio.sleep(seconds))
    over.set()
    await asyncio.gather(*running)
    load.seconds = time.perf_counter() - began
    return load


async def _answer(reader: asyncio.StreamReader, header: str) -> tuple[int, str, bool]:
    """(status, the header's value, whether the connection stays open) of one answer, which is read whole."""
    lines = (await reader.readuntil(HEAD_END)).decode("latin-1").split("\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if fields.get("transfer-encoding") == "chunked":
        while size := int((await reader.readline()).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    else:
        await reader.readexactly(int(fields.get("content-length", 0)))
    return int(lines[0].split()[1]), fields.get(header.lower(), ""), fields.get("connection") != "close"
