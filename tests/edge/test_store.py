"""The queue: durable, numbered for ever, bounded."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.core.errors import SightlineError
from components.edge.device.store import FILE, ROW, Full, Store, counted

WRITER = """
import sys
from pathlib import Path
from components.edge.device.store import Store

store = Store(Path(sys.argv[1]), 1 << 20)
for number in range(100000):
    store.add([b"%d" % number, b"%d" % number], {"clip": number})
    print(number, flush=True)
"""


def body(number: int) -> bytes:
    return json.dumps({"frame": number}).encode()


def room(records: int) -> int:
    """Bytes for so many records of `body(0)`."""
    return records * (len(body(0)) + ROW)


def test_numbers_are_never_given_twice(tmp_path):
    store = Store(tmp_path, 1 << 20)
    store.add([body(0), body(1)])
    assert store.batch(10, 1 << 20) == [(1, body(0)), (2, body(1))]
    store.acknowledge(1, 2)
    store.close()
    again = Store(tmp_path, 1 << 20)
    again.add([body(2)])
    assert again.batch(10, 1 << 20) == [(3, body(2))] and again.device == store.device


def test_it_waits_for_the_disk(tmp_path):
    store = Store(tmp_path, 1 << 20)
    assert store._base.execute("pragma synchronous").fetchone()[0] == 2  # FULL
    assert store._base.execute("pragma journal_mode").fetchone()[0] == "wal"


def test_full_refuses_and_keeps_all(tmp_path):
    store = Store(tmp_path, room(3))
    store.add([body(0), body(1), body(2)], {"clip": 2})
    with pytest.raises(Full):
        store.add([body(3)], {"clip": 3})
    assert store.waiting == 3 and store.position("clip") == 2 and store.dropped == 0
    store.acknowledge(1, 1)
    store.add([body(3)], {"clip": 3})
    assert [number for number, _ in store.batch(10, 1 << 20)] == [2, 3, 4] and store.position("clip") == 3


def test_the_oldest_are_dropped_where_told_so_and_counted(tmp_path):
    store = Store(tmp_path, room(3), drop=True)
    for number in range(8):
        store.add([body(number)])
    assert [number for number, _ in store.batch(10, 1 << 20)] == [6, 7, 8] and store.dropped == 5
    store.close()
    assert Store(tmp_path, room(3), drop=True).dropped == 5


def test_what_is_larger_than_the_bound_alone_is_taken_by_an_empty_queue(tmp_path):
    store = Store(tmp_path, 10)
    store.add([body(0)])
    with pytest.raises(Full):
        store.add([body(1)])
    assert store.waiting == 1


@settings(max_examples=25)  # each waits for the disk many times
@given(st.lists(st.integers(0, 60), min_size=1, max_size=20), st.integers(1, 30), st.integers(1, 200))
def test_batches_are_without_a_gap_and_within_the_bounds(tmp_path_factory, sizes, most, limit):
    store = Store(tmp_path_factory.mktemp("store"), 1 << 20)
    store.add([b"x" * size for size in sizes])
    seen = []
    while batch := store.batch(most, limit):
        assert len(batch) <= most
        assert len(batch) == 1 or sum(len(content) for _, content in batch) <= limit
        seen += batch
        store.acknowledge(batch[0][0], batch[-1][0])
    assert seen == [(number, b"x" * size) for number, size in enumerate(sizes, 1)]
    store.close()


def test_a_killed_writer_loses_nothing_that_was_said_to_be_stored(tmp_path):
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(20):
            said = int(process.stdout.readline())
        time.sleep(0.003)
        os.kill(process.pid, signal.SIGKILL)
        said = max([said, *map(int, process.communicate()[0].split("\n")[:-1])])
        store = Store(tmp_path, 1 << 20)
        kept = store.batch(1 << 20, 1 << 30)
        bodies = [int(content) for _, content in kept]
        assert store.position("clip") >= said and bodies[::2] == bodies[1::2] == list(range(store.position("clip") + 1))
        store.acknowledge(1, kept[-1][0])
        store.close()


def test_one_process_at_a_time(tmp_path):
    store = Store(tmp_path, 1 << 20)
    with pytest.raises(SightlineError, match="another process"):
        Store(tmp_path, 1 << 20)
    store.close()
    Store(tmp_path, 1 << 20).close()


def test_a_damaged_file_is_set_aside_and_the_new_one_is_another_devices(tmp_path):
    store = Store(tmp_path, 1 << 20)
    store.add([body(number) for number in range(2000)])
    store.close()
    content = bytearray((tmp_path / FILE).read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    (tmp_path / FILE).write_bytes(content)
    again = Store(tmp_path, 1 << 20)
    assert again.waiting == 0 and again.device != store.device
    assert len(list(tmp_path.glob(f"{FILE}.damaged-*"))) == 1


def test_counting_beside_a_runner(tmp_path):
    with pytest.raises(SightlineError, match="cannot be read"):
        counted(tmp_path)
    store = Store(tmp_path, 1 << 20)
    store.add([body(0), body(1)])
    assert counted(tmp_path) == {"device": store.device, "waiting": 2, "bytes": room(2), "dropped": 0}


def test_a_disk_without_room_is_a_full_queue(tmp_path):
    store = Store(tmp_path, 1 << 20)
    pages = store._base.execute("pragma page_count").fetchone()[0]
    store._base.execute(f"pragma max_page_count = {pages + 2}")
    with pytest.raises(Full):
        store.add([b"x" * 100_000])
    store.add([body(0)])
    assert store.waiting == 1
    assert isinstance(store._base, sqlite3.Connection) and not store._base.in_transaction
