"""What is captured on its way to the disk: the backlog, the thread, the folder, and a disk that does not take it."""

import logging
import os
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core import tables
from components.core.media import decode_picture, encode_jpeg, saturation, statistics
from components.serving.backlog import DEFECT, FULL, ROW_BYTES, UNWRITTEN, Asked, Backlog, Picture
from components.serving.capture import drawn
from components.serving.recorder import SIDE, Recorder
from components.serving.shards import ABANDONED_S, FOOTER_BYTES, Shards
from tests.deployment.making import picture as pixels
from tests.serving.conftest import wait_for

MODEL, OTHER = "toy/v1@aaaaaaaaaaaa", "toy/v2@bbbbbbbbbbbb"
LATE = 600.0  # seconds that no test waits for
CAPTURED = b"certainly not a picture"


class Counts:
    """What the service's metrics would hear."""

    def __init__(self):
        self.written, self.lost, self.problem = 0, {}, False

    def captured(self, pictures: int) -> None:
        self.written += pictures

    def capture_dropped(self, pictures: int, reason: str) -> None:
        self.lost[reason] = self.lost.get(reason, 0) + pictures

    def capture_problem(self, there: bool) -> None:
        self.problem = there


def request(
    name: str = "r", pictures: int = 1, content=None, model: str = MODEL, client: str = "192.0.2.7", session: str = ""
) -> list[Picture]:
    asked = Asked(1_700_000_000_000_000, name, "/v1/predict", client)
    content = encode_jpeg(pixels(1, 48, 64), 90) if content is None else content
    about = ("toy", 1, model, content, "suspicious", 0.75, {"normal": 0.25, "suspicious": 0.75}, None)
    return [Picture(asked, place, session, *about) for place in range(pictures)]


def recorder(folder: Path, counts: Counts, most_rows: int = 1000, **options) -> tuple[Backlog, Recorder]:
    backlog = Backlog(counts.capture_dropped, most_rows)
    return backlog, Recorder(backlog, Shards(folder, 100_000_000), counts, **options)


def written(folder: Path) -> list[dict]:
    """All rows of a folder, each shard verified by its checksums."""
    return [row for shard in tables.shards(folder) for row in tables.read_shard(shard).to_pylist()]


@given(st.text(max_size=40), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_request_is_drawn_or_not_whoever_asks_and_whenever(request_id, one, other):
    assert drawn(request_id, 1.0)
    assert drawn(request_id, one) == drawn(request_id, one)
    assert drawn(request_id, min(one, other)) <= drawn(request_id, max(one, other)), "a larger share holds the smaller"


def test_as_many_requests_are_drawn_as_asked_for():
    count = sum(drawn(f"request-{number}", 0.1) for number in range(10_000))
    assert 900 < count < 1100


def test_the_backlog_takes_what_it_can_and_counts_the_rest():
    counts = Counts()
    rows = Backlog(counts.capture_dropped, most_rows=5)
    for pictures in (3, 3, 2):
        rows.put(request(pictures=pictures))
    assert len(rows) == 5 and counts.lost == {FULL: 3}
    assert [len(rows.take(0)) for _ in range(3)] == [3, 2, 0] and len(rows) == 0
    size = Backlog(counts.capture_dropped, most_bytes=2 * ROW_BYTES + 150)
    for content in (bytes(100), np.zeros((3, 5, 3), np.uint8), bytes(50)):
        size.put(request(content=content))
    assert len(size) == 2 and counts.lost == {FULL: 4}
    size.close()
    size.put(request())
    assert counts.lost == {FULL: 4, UNWRITTEN: 1} and size.take(None) and size.take(None) and not size.take(None)


@pytest.mark.parametrize("kept", [True, False])
def test_a_row_says_what_was_asked_and_answered_and_what_the_picture_looks_like(tmp_path, kept):
    counts, encoded, raw = Counts(), cv2.imencode(".png", pixels(3, 700, 900))[1].tobytes(), pixels(4, 30, 40)
    backlog, thread = recorder(tmp_path / "new" / "folder", counts, pictures=kept)
    thread.start()
    backlog.put(request("first", 2, encoded))
    backlog.put(request("second", content=raw))
    thread.stop(LATE)
    (shard,) = tables.shards(tmp_path / "new" / "folder")
    table = tables.read_shard(shard)
    assert table.schema.equals(tables.CAPTURED) and tables.scored_by(shard) == MODEL
    rows = table.to_pylist()
    assert [(row["request_id"], row["place"]) for row in rows] == [("first", 0), ("first", 1), ("second", 0)]
    for row, rgb in zip(rows, [decode_picture(encoded)] * 2 + [raw], strict=True):
        found = [row[name] for name in ("brightness", "contrast", "sharpness", "saturation")]
        assert found == pytest.approx([*statistics(rgb), saturation(rgb)], rel=1e-6), "as in the catalog"
        assert (row["height"], row["width"]) == rgb.shape[:2]
        assert dict(row["probabilities"]) == {"normal": 0.25, "suspicious": 0.75} and row["boxes"] is None
        assert row["time"].timestamp() == 1_700_000_000 and row["route"] == "/v1/predict"
        assert (row["recipe"], row["version"], row["model"]) == ("toy", 1, MODEL)
        assert (row["prediction"], row["score"]) == ("suspicious", 0.75)
        if kept:
            small = decode_picture(row["jpeg"])
            assert max(small.shape[:2]) == min(SIDE, max(rgb.shape))
            assert small.mean() == pytest.approx(rgb.mean(), abs=5)
        else:
            assert row["jpeg"] is None
    assert counts.written == 3 and not counts.lost and not counts.problem


def test_sources_are_told_apart_but_not_named(tmp_path):
    sources = {}
    for folder in ("one", "two"):
        backlog, thread = recorder(tmp_path / folder, Counts())
        thread.start()
        for client, session in (("192.0.2.7", ""), ("192.0.2.8", ""), ("192.0.2.7", "gate"), ("192.0.2.7", "")):
            backlog.put(request(client=client, session=session))
        thread.stop(LATE)
        first, second, third, again = [row["source"] for row in written(tmp_path / folder)]
        assert len({first, second, third}) == 3 and again == first
        sources[folder] = first
        assert b"192.0.2" not in b"".join(shard.read_bytes() for shard in tables.shards(tmp_path / folder))
    assert sources["one"] != sources["two"], "the key is the process's own"


def test_a_shard_holds_so_many_rows_of_one_model(tmp_path):
    backlog, thread = recorder(tmp_path, Counts(), rows=4)
    thread.start()
    for number in range(9):
        backlog.put(request(f"{number}", model=OTHER if number % 3 == 0 else MODEL))
    thread.stop(LATE)
    found = {shard: tables.read_shard(shard)["model"].to_pylist() for shard in tables.shards(tmp_path)}
    assert all(len(models) <= 4 and set(models) == {tables.scored_by(shard)} for shard, models in found.items())
    assert sorted(sum(found.values(), [])) == [MODEL] * 6 + [OTHER] * 3


def test_few_rows_are_written_after_some_time(tmp_path):
    backlog, thread = recorder(tmp_path, Counts(), seconds=0.05)
    thread.start()
    for number in range(2):
        backlog.put(request())
        wait_for(lambda so_far=number + 1: len(written(tmp_path)) == so_far)
    thread.stop(LATE)
    assert len(tables.shards(tmp_path)) == 2


def test_what_cannot_be_described_is_one_row_less(tmp_path):
    counts = Counts()
    backlog, thread = recorder(tmp_path, counts)
    thread.start()
    for content in (CAPTURED, None):
        backlog.put(request(content=content))
    thread.stop(LATE)
    assert len(written(tmp_path)) == counts.written == 1 and counts.lost == {DEFECT: 1}


def test_the_oldest_shards_make_room_and_other_files_are_left_alone(tmp_path):
    """Two processes write into one folder; together it never holds more than it may."""
    most, others = 200_000, [tmp_path / name for name in ("mine.parquet", "captured-1.parquet", ".hidden.parquet")]
    for file in others:
        file.write_bytes(bytes(90_000))
    sizes = []
    shards = [Shards(tmp_path, most), Shards(tmp_path, most)]
    rows = [row | {"jpeg": os.urandom(20_000)} for row in described(tmp_path / "made")]
    made = []
    for number in range(20):
        made.append(shards[number % 2].write(rows, MODEL))
        left = [path for path in made if path.exists()]
        assert left == made[-len(left) :], "the newest stay"
        sizes.append(sum(path.stat().st_size for path in left))
    assert max(sizes) <= most and min(sizes[10:]) > most / 2, "but what may be there is there"
    assert all(file.stat().st_size == 90_000 for file in others)
    Shards(tmp_path, FOOTER_BYTES).prepare()
    assert sum(path.stat().st_size for path in made if path.exists()) <= FOOTER_BYTES
    assert all(file.exists() for file in others)


def described(folder: Path) -> list[dict]:
    """A row as it is written."""
    backlog, thread = recorder(folder, Counts())
    thread.start()
    backlog.put(request())
    thread.stop(LATE)
    return [row | {"probabilities": list(row["probabilities"])} for row in written(folder)]


def test_what_killed_processes_left_is_removed_when_it_is_old(tmp_path):
    shards = Shards(tmp_path, 10_000_000)
    name = shards.write(described(tmp_path / "made"), MODEL).stem
    left, fresh = (tmp_path / f".{name}.17.{digits * 8}.parquet" for digits in "ab")
    for file, age in ((left, ABANDONED_S + 60), (fresh, 0)):
        file.write_bytes(b"half a shard")
        os.utime(file, (time.time() - age, time.time() - age))
    shards.prepare()
    assert not left.exists() and fresh.exists() and len(tables.shards(tmp_path)) == 1


def test_a_folder_that_is_none_is_tried_again_and_said_once(tmp_path, caplog):
    """Rows that were taken are kept; a folder that was lost later is made anew."""
    caplog.set_level(logging.INFO)
    counts, place = Counts(), tmp_path / "place"
    place.write_bytes(b"a file stands where the folder should be")
    backlog, thread = recorder(place / "folder", counts, 20, rows=2, retry_s=0.02, seconds=0.02)
    thread.start()
    wait_for(lambda: counts.problem)
    for number in range(200):
        backlog.put(request(f"{number}", content=pixels(1, 8, 8)))
    wait_for(lambda: FULL in counts.lost)
    assert [record.levelname for record in caplog.records] == ["ERROR"] and not counts.written
    place.unlink()
    wait_for(lambda: counts.written and not counts.problem)
    wait_for(lambda: counts.written + counts.lost[FULL] == 200)
    first = tables.read_shard(tables.shards(place / "folder")[0])["request_id"].to_pylist()
    assert first[:2] == ["0", "1"], "what came first was kept"
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    place.rename(tmp_path / "elsewhere")
    backlog.put(request("later"))
    thread.stop(LATE)
    assert [row["request_id"] for row in written(place / "folder")] == ["later"] and not counts.problem


def test_what_can_never_be_written_is_lost_at_the_end_and_counted(tmp_path):
    counts, place = Counts(), tmp_path / "place"
    place.write_bytes(b"")
    backlog, thread = recorder(place, counts, rows=2, retry_s=LATE)
    thread.start()
    for _ in range(5):
        backlog.put(request())
    thread.stop(LATE)
    assert counts.lost == {UNWRITTEN: 5} and counts.problem and not counts.written


def test_a_disk_that_does_not_answer_holds_up_neither_who_asks_nor_the_end(tmp_path):
    """The writer waits for the other end of a pipe, as it would for a dead network disk."""
    counts, pipe = Counts(), tmp_path / "pipe"
    os.mkfifo(pipe)

    class Stuck(Shards):
        def write(self, rows, model):
            with open(pipe, "wb") as opened:  # returns when somebody reads
                opened.write(b"x")
            return super().write(rows, model)

    backlog = Backlog(counts.capture_dropped, most_rows=10)
    thread = Recorder(backlog, Stuck(tmp_path / "folder", 10_000_000), counts, rows=1)
    thread.start()
    for number in range(100):
        backlog.put(request(f"{number}"))
    wait_for(lambda: counts.lost.get(FULL, 0) >= 80)
    thread.stop(0.1)
    assert not counts.written and [one.name for one in threading.enumerate()].count("capture") == 1
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    wait_for(lambda: counts.written + counts.lost[FULL] == 100)
    os.close(reader)
    assert len(written(tmp_path / "folder")) == counts.written
