"""Units of work: one per video, pictures in groups that a new picture leaves alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.tables import shard_asset
from components.frames.units import units


def asset(number, kind, status="ok", starts=None):
    identity = f"{number:016x}"
    row = {"asset_id": identity, "uri": identity, "name": identity, "sha256": identity * 4, "kind": kind}
    row |= {"segment_pts": starts, "segment_index": starts, "frame_count": 100}
    return row | {"bytes": number, "status": status, "time_base_num": 1, "time_base_den": 1, "split": None}


rows = st.lists(
    st.builds(
        asset,
        st.integers(0, 2**64 - 1),
        st.sampled_from(["video", "picture"]),
        st.sampled_from(["ok", "ok", "quarantined", "duplicate"]),
    ),
    unique_by=lambda row: row["asset_id"],
)


@given(rows, st.randoms())
def test_every_usable_asset_is_in_one_unit(catalog, random):
    found = units(catalog)
    usable = sorted(row["asset_id"] for row in catalog if row["status"] == "ok")
    assert sorted(row["asset_id"] for unit in found for row in unit.assets) == usable
    assert [unit.name for unit in found] == sorted({unit.name for unit in found})
    assert units(random.sample(catalog, len(catalog))) == found
    for unit in found:
        assert unit.kind == "picture" or len(unit.assets) == 1
        assert unit.item({}, entry="x")["weight"] == float(sum(row["bytes"] for row in unit.assets))


def test_a_new_picture_touches_its_group_only():
    catalog = [asset(number << 55, "picture") for number in range(512)]
    before = {unit.name: unit.content for unit in units(catalog)}
    after = {unit.name: unit.content for unit in units([*catalog, asset((7 << 55) + 1, "picture")])}
    assert len(before) == 256
    assert [name for name in after if after[name] != before.get(name)] == ["pictures-03"]


def test_a_segment_of_a_video_is_a_unit():
    catalog = [asset(1, "video"), asset(2, "video", starts=[0]), asset(10, "video", starts=[0, 40, 90])]
    found = units(catalog)
    names = [f"{1:016x}", f"{2:016x}", *(f"{10:016x}-{number:05d}" for number in range(3))]
    assert [unit.name for unit in found] == names
    assert [shard_asset(f"x/{name}.parquet") for name in names] == [unit.assets[0]["asset_id"] for unit in found]
    assert shard_asset("pictures-0a.parquet") == "pictures"
    assert [unit.segment and (unit.segment.start, unit.segment.end) for unit in found] == [
        None, (0, None), (0, 40), (40, 90), (90, None),
    ]  # fmt: skip
    assert [unit.item({})["weight"] for unit in found[2:]] == pytest.approx([4, 5, 1])
    assert len({unit.content for unit in found}) == 5
    stamped = found[2].item({f"{10:016x}": [10, 5]}, entry="x")
    assert stamped["assets"][0]["stamp"] == [10, 5] and stamped["segment"]["end"] == 40
