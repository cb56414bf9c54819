"""Units of work: one per video, pictures in groups that a new picture leaves alone."""

from hypothesis import given
from hypothesis import strategies as st

from components.frames.units import units


def asset(number, kind, status="ok"):
    identity = f"{number:016x}"
    row = {"asset_id": identity, "uri": identity, "name": identity, "sha256": identity * 4, "kind": kind}
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
        assert unit.item(entry="x")["weight"] == sum(row["bytes"] for row in unit.assets)


def test_a_new_picture_touches_its_group_only():
    catalog = [asset(number << 55, "picture") for number in range(512)]
    before = {unit.name: unit.content for unit in units(catalog)}
    after = {unit.name: unit.content for unit in units([*catalog, asset((7 << 55) + 1, "picture")])}
    assert len(before) == 256
    assert [name for name in after if after[name] != before.get(name)] == ["pictures-03"]
