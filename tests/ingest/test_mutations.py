"""Five hundred spoiled files beside sound ones: the stage ends well, and the sound ones' rows are the same bytes."""

import json
import os
import re
import shutil
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.footage import make_recipe, rows, run_stage, write_clip
from tests.ingest.mutations import mutants, write_bases

COUNT = 500
KILLED = "killed.mp4"
READING_S = 0.25
PICTURE = "width height brightness contrast sharpness saturation perceptual_hash".split()


def end_whoever_reads(name: str, stop: threading.Event) -> None:
    """Sends SIGSEGV to every child of the stage that reads a file of this name for long: a decoder that crashes on it.

    Whoever only takes its digest is done in a few milliseconds, and is left alone.
    """
    seen: dict[str, float] = {}
    while not stop.wait(0.01):
        reading = set()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if b"components.core.isolate" not in (process / "cmdline").read_bytes():
                    continue
                if any(os.readlink(handle).endswith(f"/{name}") for handle in (process / "fd").iterdir()):
                    reading.add(process.name)
                    if time.monotonic() - seen.setdefault(process.name, time.monotonic()) > READING_S:
                        os.kill(int(process.name), signal.SIGSEGV)
            except (OSError, ProcessLookupError):
                continue  # it ended in the meantime
        seen = {process: since for process, since in seen.items() if process in reading}


@pytest.fixture(scope="module")
def ingested(tmp_path_factory):
    """(mutants, rows of the sound files alone by name, rows with the bad neighbours by name, seconds that took)."""
    ingest = {"limits": {"seconds": 6.0}, "split": {"test": ["still.png"], "val": ["plain.jpg"]}}
    root = make_recipe(tmp_path_factory.mktemp("mutations"), ingest=ingest)
    bases = write_bases(root / "footage")
    code, printed = run_stage(root, "ingest")
    assert code == 0, printed
    alone = {row["name"]: row for row in rows(root, "catalog")}
    bad = mutants(bases, COUNT)
    for mutant in bad:
        (root / "footage" / mutant.name).write_bytes(mutant.content)
    write_clip(root / "footage" / KILLED, frames=3000, size=(320, 240))  # long enough to be caught, twice
    shutil.rmtree(root / ".sightline")  # the sound ones too are looked at again, among the others
    os.mkfifo(root / "footage" / "pipe.mp4")
    stop = threading.Event()
    killer = threading.Thread(target=end_whoever_reads, args=(KILLED, stop))
    killer.start()
    start = time.monotonic()
    code, printed = run_stage(root, "ingest")
    seconds = time.monotonic() - start
    stop.set()
    killer.join()
    assert code == 0 and "Traceback" not in printed, printed
    (pipe,) = [row for row in rows(root, "refused") if row["line"] is None]
    assert pipe["uri"] == "footage/pipe.mp4", pipe
    return bad, alone, {row["name"]: row for row in rows(root, "catalog")}, seconds


def test_every_file_is_usable_or_has_a_reason(ingested):
    bad, alone, found, seconds = ingested
    assert len(bad) == COUNT and len(found) == COUNT + len(alone) + 1
    for row in found.values():
        assert row["status"] in ("ok", "quarantined", "duplicate")
        assert (row["status"] == "ok") == (row["split"] is not None)
        assert row["status"] == "ok" or row["reason"]
        assert re.fullmatch("[0-9a-f]{64}", row["sha256"]) or "not a regular file" in row["reason"]
        assert "unexpected" not in (row["reason"] or ""), row
    status = Counter((mutant.how, found[mutant.name]["status"]) for mutant in bad)
    assert status["cut", "quarantined"] > 200 and status["name", "quarantined"] > 20
    assert status["lie", "quarantined"] > 30 and status["flip", "quarantined"] > 20
    assert status["flip", "ok"] > 5  # a flipped bit may well leave a sound picture
    assert seconds < 600  # about 20 alone on the machine


def test_sound_files_are_not_disturbed(ingested):
    """All but `near_group`: a mutant that decodes may be a true near-duplicate of the file it was made of."""
    _, alone, found, _ = ingested
    for name, row in alone.items():
        assert {**found[name], "near_group": None} == {**row, "near_group": None}
        assert json.dumps(found[name]["exif"]) == json.dumps(row["exif"])
    groups = {row["near_group"] for row in found.values()} - {None}
    assert groups <= {row["asset_id"] for row in found.values() if row["status"] == "ok"}


def test_what_is_cut_is_refused_or_all_there(ingested):
    """A cut that costs no pixel (the last bytes of a trailer, or pictures after the first) may pass."""
    bad, alone, found, _ = ingested
    for mutant in bad:
        row, base = found[mutant.name], alone[mutant.base] if mutant.base in alone else None
        if mutant.how != "cut" or row["status"] != "ok":
            continue
        if row["kind"] == "picture":
            assert {name: row[name] for name in PICTURE} == {name: base[name] for name in PICTURE}, mutant.name
        elif not mutant.base.endswith(".mpg"):  # a programme stream does not say how long it is
            spare = 2 if mutant.base.endswith(".mkv") else 0  # Matroska says when it ends, and clocks round
            assert row["frame_count"] >= base["frame_count"] - spare or row["reason"], mutant.name


def test_a_crash_costs_its_file_only(ingested):
    _, _, found, _ = ingested
    assert (found[KILLED]["status"], found[KILLED]["reason"]) == ("quarantined", "decoder crashed (signal 11)")
    assert re.fullmatch("[0-9a-f]{64}", found[KILLED]["sha256"])
