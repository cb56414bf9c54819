"""What a second look costs: new and changed files only, and rows of the catalog that say where things were taken."""

import json

import pytest

from components.core.errors import UsageError
from components.core.recipe import Limits, parse_recipe
from components.core.segments import SEGMENT_FRAMES
from components.ingest import survey as survey_module
from components.ingest.batch import probe_batch
from components.ingest.catalog import catalog_rows
from components.ingest.probe import probe_file
from components.ingest.sources import locate
from components.ingest.survey import BATCH_BYTES, BATCH_FILES, _batches, survey
from tests.footage import RECIPE, write_clip, write_picture


@pytest.fixture
def source(tmp_path, monkeypatch):
    """locate(), a folder of ten pictures and a clip, and the list of names that were probed since (without Spark)."""
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path))
    for seed in range(10):
        write_picture(tmp_path / "footage" / f"site-{seed % 2}" / f"{seed}.png", seed)
    write_clip(tmp_path / "footage" / "a.mp4", frames=5)
    body = {"task": {"classes": ["a", "b"], "positive": "b"}, "source": "footage"}
    recipe = parse_recipe(RECIPE, body | {"training": {"lr": 0.1, "penalty": 0.1}})
    probed, parts = [], []

    class Session:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            return False

    def here(session, items, work, *rest, **options):
        if work is not probe_batch:
            parts.append((work.__name__, len(items)))
            return [work(item) for item in items]
        probed.extend(file["path"].rpartition("footage/")[2] for item in items for file in item["files"])
        return [work(item) for item in items]

    monkeypatch.setattr(survey_module, "spark_session", lambda name: Session())
    monkeypatch.setattr(survey_module, "map_items", here)
    monkeypatch.setattr(survey_module, "parts_seen", parts, raising=False)
    return lambda: locate(recipe), tmp_path / "footage", probed


def test_one_more_file_costs_one_file(source):
    located, footage, probed = source
    first = survey(located())
    assert sorted(probed) == sorted(located().files) and len(probed) == 11
    probed.clear()
    assert survey(located()) == first and probed == []
    write_picture(footage / "new.png", 50)
    (footage / "site-0" / "0.png").write_bytes((footage / "site-1" / "1.png").read_bytes())
    (footage / "site-1" / "3.png").rename(footage / "moved.png")
    again = survey(located())
    assert sorted(probed) == ["moved.png", "new.png", "site-0/0.png"]
    probed.clear()
    assert survey(located()) == again and probed == []


def test_what_a_limit_refused_is_looked_at_again_when_it_is_raised(source):
    located, _, probed = source
    refused = survey(located(), Limits(pixels=100))
    assert {record["status"] for record in refused} == {"quarantined"}
    probed.clear()
    assert survey(located(), Limits(pixels=100)) == refused and probed == []
    allowed = survey(located(), Limits())
    assert {record["status"] for record in allowed} == {"ok"} and len(probed) == 11
    probed.clear()
    again = survey(located(), Limits(pixels=100))
    assert [row["reason"] for row in again] == [row["reason"] for row in refused] and probed == []


def test_a_killed_run_has_not_probed_in_vain(source, monkeypatch):
    located, _, probed = source

    def killed(session, items, work, *rest, **options):
        work(items[0])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(survey_module, "map_items", killed)
        with pytest.raises(KeyboardInterrupt):
            survey(located())
    survey(located())
    # All are read again, for their digests; the first batch's record is found by its digest and not made again.
    assert len(probed) == 11
    left = located().root.parent / ".sightline" / "work" / "ingest" / "left"
    assert list(left.iterdir()) == []


def test_a_long_video_is_probed_in_parts_with_the_same_outcome(source):
    located, footage, probed = source
    long = write_clip(footage / "long.mp4", frames=SEGMENT_FRAMES * 2 + 500, size=(32, 32), g="50")
    found = dict(zip(located().files, survey(located()), strict=True))["long.mp4"]
    assert [work for work in survey_module.parts_seen if work[1]] == [("probe_part", 3), ("merge_parts", 1)]
    whole = probe_file({"path": str(long)})
    assert whole["status"] == "ok" and len(whole["pts"]) == 2 * SEGMENT_FRAMES + 500
    assert "plan" not in found and found == json.loads(json.dumps({**whole, "fingerprint": found["fingerprint"]}))
    assert len(found["segment_pts"]) == 3
    probed.clear()
    survey(located())
    assert probed == []


def test_batches():
    def files(*sizes, kind="picture"):
        return [{"bytes": size, "kind": kind} for size in sizes]

    assert [len(run) for run in _batches(files(*[10] * (BATCH_FILES + 1)))] == [BATCH_FILES, 1]
    assert [len(run) for run in _batches(files(10, BATCH_BYTES, 10, 10))] == [1, 1, 2]
    mixed = files(1, 1) + files(1, 1, kind="video") + files(1)
    assert [len(run) for run in _batches(mixed)] == [2, 1, 1, 1]
    assert list(_batches([])) == []


def test_sites_and_near_duplicates(source):
    located, footage, _ = source
    (footage / "z.png").write_bytes((footage / "site-0" / "2.png").read_bytes() + b"trailer")
    found = located()
    rows = {row["name"]: row for row in catalog_rows(found, survey(found), site="site-([0-9])/")}
    assert rows["site-1/3.png"]["site"] == "1" and rows["a.mp4"]["site"] is None
    group = {rows["z.png"]["asset_id"], rows["site-0/2.png"]["asset_id"]}
    assert rows["z.png"]["near_group"] == rows["site-0/2.png"]["near_group"] == min(group)
    assert rows["a.mp4"]["perceptual_hash"] is None and rows["a.mp4"]["near_group"] is None
    assert rows["site-1/3.png"]["near_group"] is None


@pytest.mark.parametrize(("site", "says"), [("(", "is not a regular expression"), ("site", "has no group")])
def test_a_wrong_site_is_a_wrong_request(source, site, says):
    located, *_ = source
    with pytest.raises(UsageError, match="ingest.site") as refused:
        catalog_rows(located(), [], site=site)
    assert says in str(refused.value)
