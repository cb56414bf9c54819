"""Parquet reading and writing: the same rows give the same bytes, and nothing appears by halves."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core import tables
from components.core.errors import SightlineError
from components.core.tables import QUARANTINE, features_schema

ROWS = [{"uri": f"file-{index}", "line": index, "sha256": None, "reason": "why"} for index in range(7)]
PICTURES = tables._schema(("name", pa.string()), ("jpeg", pa.binary()))


def test_rows_come_back_and_bytes_repeat(tmp_path):
    for name in ("one", "two"):
        tables.write_shard(tmp_path / f"{name}.parquet", ROWS, QUARANTINE)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    assert tables.read_shard(tmp_path / "one.parquet").to_pylist() == ROWS
    assert list(tables.iter_rows(tmp_path / "one.parquet", ["line"], batch_rows=2)) == [{"line": i} for i in range(7)]


@pytest.mark.parametrize(
    "row", [{"uri": "a", "reason": None}, {"uri": 5, "reason": "why"}, {"uri": "a", "reason": "why", "line": "two"}]
)
def test_rows_that_do_not_fit_are_refused_and_leave_nothing(tmp_path, row):
    with pytest.raises(SightlineError, match="part.parquet: rows do not fit"):
        tables.write_shard(tmp_path / "part.parquet", [row], QUARANTINE)
    with pytest.raises(SightlineError), tables.shard_writer(tmp_path / "part.parquet", QUARANTINE) as add:
        add(row)
    assert list(tmp_path.iterdir()) == []


def test_a_table_is_replaced_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "SHARD_ROWS", 3)
    tables.write_table(tmp_path / "t", ROWS, QUARANTINE)
    assert [path.name for path in tables.shards(tmp_path / "t")] == [f"part-0000{i}.parquet" for i in range(3)]
    assert tables.read_table(tmp_path / "t").to_pylist() == ROWS
    tables.write_table(tmp_path / "t", [], QUARANTINE)
    assert [path.name for path in tables.shards(tmp_path / "t")] == ["part-00000.parquet"]
    assert tables.read_table(tmp_path / "t").num_rows == 0


@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(1, 9))
def test_a_shard_that_grows_holds_the_same_rows(tmp_path_factory, pictures, group):
    folder = tmp_path_factory.mktemp("shards")
    rows = [{"name": str(index), "jpeg": jpeg} for index, jpeg in enumerate(pictures)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "ROW_GROUP", group)
        patch.setattr(tables, "ROW_GROUP_BYTES", 100)
        for name in ("a.parquet", "b.parquet"):
            with tables.shard_writer(folder / name, PICTURES) as add:
                for row in rows:
                    add(row)
    assert tables.read_shard(folder / "a.parquet").to_pylist() == rows
    assert (folder / "a.parquet").read_bytes() == (folder / "b.parquet").read_bytes()
    with pq.ParquetFile(folder / "a.parquet") as file:
        groups = [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]
    assert all(0 < count <= group for count in groups)


def test_some_rows_of_a_shard_in_the_order_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROW_GROUP", 7)
    rows = [{"uri": f"{number}", "line": number, "sha256": None, "reason": "x"} for number in range(40)]
    tables.write_shard(tmp_path / "part.parquet", rows, tables.QUARANTINE)
    assert tables.read_rows(tmp_path / "part.parquet", [39, 0, 6, 7], ["line"])["line"].to_pylist() == [39, 0, 6, 7]
    (tmp_path / "part.parquet").write_bytes(b"PAR1")
    with pytest.raises(SightlineError, match="part.parquet"):
        tables.read_rows(tmp_path / "part.parquet", [0])


def test_large_pictures_are_written_as_they_come(tmp_path):
    """What is held back is bounded in bytes, not only in rows."""
    with tables.shard_writer(tmp_path / "large.parquet", PICTURES) as add:
        for index in range(5):
            add({"name": str(index), "jpeg": bytes(tables.ROW_GROUP_BYTES // 2)})
    with pq.ParquetFile(tmp_path / "large.parquet") as file:
        assert [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)] == [2, 2, 1]


def test_an_interrupted_writer_leaves_what_was_there(tmp_path):
    path = tmp_path / "part.parquet"
    tables.write_shard(path, ROWS, QUARANTINE)
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), tables.shard_writer(path, QUARANTINE) as add:
        add(ROWS[0])
        raise KeyboardInterrupt
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("damage", ["cut", "flipped", "text"])
def test_a_damaged_shard_is_named(tmp_path, damage):
    path = tmp_path / "part.parquet"
    tables.write_shard(path, [{"name": "a", "jpeg": bytes(range(256)) * 50}], PICTURES)
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 3] ^= 0xFF
    path.write_bytes({"cut": content[:-20], "flipped": content, "text": b"no table"}[damage])
    with pytest.raises(SightlineError, match="part.parquet"):
        tables.read_shard(path)


def test_missing_tables_say_so(tmp_path):
    with pytest.raises(SightlineError, match="not there"):
        tables.read_table(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SightlineError, match="no shards"):
        tables.read_table(tmp_path / "empty")


def test_vectors_come_back(tmp_path):
    schema = features_schema(3)
    row = {"frame_id": "f", "asset_id": "a", "frame_index": 0, "pts": 0, "vector": [1.0, 2.0, 3.0]}
    tables.write_shard(tmp_path / "v.parquet", [row], schema)
    assert tables.read_shard(tmp_path / "v.parquet").to_pylist() == [row]
    with pytest.raises(SightlineError):
        tables.write_shard(tmp_path / "v.parquet", [row | {"vector": [1.0]}], schema)
