"""Keys change with whatever shapes a result; an entry counts only while its bytes are those that were sealed."""

from types import ModuleType

import pytest

from components.core import files, tables
from components.core.workcache import seal, sealed, work_key, work_path


def test_keys():
    base = work_key("abc", {"fps": "5"}, files)
    assert base == work_key("abc", {"fps": "5"}, files)
    assert base != work_key("abd", {"fps": "5"}, files)
    assert base != work_key("abc", {"fps": "6"}, files)
    assert base != work_key("abc", {"fps": "5"}, tables)


def test_a_package_stands_for_every_module_below_it(tmp_path):
    def key(text: str) -> str:
        package = ModuleType("made")
        (tmp_path / text / "inner").mkdir(parents=True)
        (tmp_path / text / "__init__.py").write_text("")
        (tmp_path / text / "inner" / "deep.py").write_text(text)
        package.__path__, package.__file__ = [str(tmp_path / text)], str(tmp_path / text / "__init__.py")
        return work_key("abc", {}, package)

    assert key("a = 1") != key("a = 2")


def test_entries_lie_in_the_workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path))
    assert work_path("frames", "abcdef") == tmp_path / ".sightline" / "work" / "frames" / "ab" / "abcdef.parquet"


@pytest.mark.parametrize("damage", ["none", "bytes", "gone", "unsealed", "seal"])
def test_only_a_whole_entry_counts(tmp_path, damage):
    entry = tmp_path / "abcdef.parquet"
    entry.write_bytes(b"result")
    if damage != "unsealed":
        seal(entry, rows=3)
    if damage == "bytes":
        entry.write_bytes(b"resulT")
    if damage == "gone":
        entry.unlink()
    if damage == "seal":
        (tmp_path / "abcdef.seal.json").write_text("[]")
    assert sealed(entry) == ({"rows": 3} if damage == "none" else None)
