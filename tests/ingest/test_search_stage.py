"""The whole stage on a search, on Spark: tables with weak labels, a run that is killed, a second that asks nobody."""

import time
from collections import Counter

import pytest

from tests.footage import contents, kill_stage, make_recipe, rows, run_stage, start_stage, write_picture
from tests.ingest.engines import serve_engine

TASK = {"classes": ["animal", "empty"], "positive": "animal"}
FIELDS = {"items": "data.photos", "url": "links.big"}


def searched(root, **search):
    return make_recipe(root, task=TASK, source="search", ingest={"search": {"positive": ["cat"]} | search})


@pytest.fixture
def engine(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with serve_engine() as served:
        yield served


@pytest.mark.slow
def test_over_http_killed_resumed_and_looked_at_again(tmp_path, engine):
    """Three runs of the stage, two of which start Spark twice: to gather and to probe."""
    engine.add("cat", *range(20))
    engine.add("hill", *range(30, 50))
    engine.faults["/pictures/49.jpg"] = (404,)
    endpoint = f"{engine.url}/json?q={{query}}&page={{page}}&page_size={{per_page}}"
    settings = {"provider": "json", "endpoint": endpoint, "fields": FIELDS, "negative": ["hill"], "rate": 15}
    root = searched(tmp_path, **settings)
    process = start_stage(root, "ingest")
    kept = root / ".sightline" / "work" / "gather"
    while process.poll() is None and len(list(kept.rglob("[0-9a-f]*.picture"))) < 5:
        time.sleep(0.01)
    assert kill_stage(process) and not (root / "data").exists()
    before = len(engine.asked)
    code, printed = run_stage(root, "ingest")
    assert code == 0, printed
    asked = Counter(path for path in engine.paths() if path.startswith("/pictures/"))
    # Only what was under way when the run was killed, one picture per worker, is asked for twice.
    assert before >= 5 and len([path for path, count in asked.items() if count > 1]) <= 4 and max(asked.values()) <= 2
    assert (
        engine.paths().count("/json?cat") == 2 and engine.paths().count("/robots.txt") == 1
    )  # its second page is empty
    times = [at for at, _ in engine.asked[before:]]
    assert len(times) < 15 * (times[-1] - times[0]) + 2
    found = {row["asset_id"]: row for row in rows(root, "catalog")}
    assert len(found) == 39 and {row["status"] for row in found.values()} == {"ok"}
    labels = rows(root, "annotations")
    assert Counter(row["class"] for row in labels) == {"animal": 20, "empty": 19}
    assert {row["source"] for row in labels} == {"search"}
    assert all(found[row["asset_id"]]["name"].startswith(f"{row['class']}/{row['asset_id']}/") for row in labels)
    (refused,) = rows(root, "refused")
    assert (refused["uri"], refused["line"]) == (f"{engine.url}/pictures/49.jpg", None) and "404" in refused["reason"]
    assert "2 queries found 40 pictures; 39 taken (20 animal, 19 empty)" in printed
    tables, count = contents(root / "data"), len(engine.asked)
    code, printed = run_stage(root, "ingest", JAVA_HOME="/nowhere", PYSPARK_PYTHON="/nowhere")
    assert code == 0, printed
    assert len(engine.asked) == count and contents(root / "data") == tables


def test_from_a_folder(tmp_path):
    for number in range(4):
        write_picture(tmp_path / "pool" / "cat" / f"{number}.png", number, (80, 80))
        write_picture(tmp_path / "pool" / "lake" / f"{number + 10}.jpg", number + 10, (80, 80))
    root = searched(tmp_path / "work", provider="folder", endpoint=str(tmp_path / "pool"), negative=["lake"])
    code, printed = run_stage(root, "ingest")
    assert code == 0, printed
    labels = rows(root, "annotations")
    assert Counter((row["class"], row["source"]) for row in labels) == {("animal", "search"): 4, ("empty", "search"): 4}
    assert {row["name"].rpartition("/")[2] for row in rows(root, "catalog")} == {
        *(f"{number}.png" for number in range(4)), *(f"{number}.jpg" for number in range(10, 14)),
    }  # fmt: skip


def test_a_recipe_without_negatives_is_answered(tmp_path):
    code, printed = run_stage(searched(tmp_path), "ingest")
    assert code == 2 and "remedy: name some in ingest.search.negative" in printed and "Traceback" not in printed
