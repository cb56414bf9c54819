"""SQL over a recipe's tables: they can be read, and nothing else can."""

import json

import pytest
from typer.testing import CliRunner

from components.core import paths
from components.core.errors import SightlineError, UsageError
from components.core.query import query, summary
from components.core.tables import CATALOG, FRAMES, QUARANTINE, write_table
from flows.cli import app
from tests.workspaces import RECIPE, SPLITS

ASSET = {"bytes": 10, "sha256": "a" * 64, "kind": "picture", "width": 64, "height": 48}


@pytest.fixture
def footage(workspace):
    """The toy recipe's tables, the catalog with a file that was refused, and frames of one row."""
    rows = [
        ASSET | {"asset_id": "a", "name": "n/a.jpg", "uri": "f/n/a.jpg", "status": "ok", "split": "train",
                 "site": "n", "camera_make": "[Maker]", "near_group": "a", "captured_at": "2021-01-02T03:04:05"},
        ASSET | {"asset_id": "b", "name": "b.jpg", "uri": "f/b.jpg", "status": "ok", "split": "test",
                 "near_group": "a"},
        ASSET | {"asset_id": "c", "name": "c.jpg", "uri": "f/c.jpg", "status": "quarantined", "reason": "truncated",
                 "sha256": "c" * 64},
    ]  # fmt: skip
    write_table(paths.data(RECIPE, "catalog"), rows, CATALOG)
    refused = [{"uri": "f/labels.csv", "line": 7, "sha256": "b" * 64, "reason": "no such file, 'x'"}]
    write_table(paths.data(RECIPE, "refused"), refused, QUARANTINE)
    frame = {"frame_id": "a-0", "asset_id": "a", "frame_index": 0, "pts": 0, "time_base_num": 1, "time_base_den": 1,
             "width": 64, "height": 48, "jpeg": b"\xff\xd8", "brightness": 1.0, "contrast": float("nan"),
             "sharpness": 1.0, "perceptual_hash": 5}  # fmt: skip
    write_table(paths.data(RECIPE, "frames"), [frame], FRAMES)
    return workspace


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_tables_join(footage):
    sql = "select name, pts from catalog join frames using (asset_id)"
    assert query(RECIPE, sql).rows == [("n/a.jpg", 0)]
    assert query(RECIPE, "select count(*), count(distinct asset_id) from features").rows[0][1] == sum(SPLITS.values())
    assert query(RECIPE, "select jpeg, contrast from frames").records() == [{"jpeg": "/9g=", "contrast": None}]


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("selec 1", "syntax error"),
        ("select nam from catalog", 'column "nam"'),
        ("select * from predictions", "predictions"),
        ("copy catalog to 'out.csv'", "disabled by configuration"),
        ("select * from read_csv('params.yaml')", "disabled by configuration"),
        ("select * from 'params.yaml'", "does not exist"),
        ("select * from footage", "does not exist"),
        ("attach 'other.db'", "disabled by configuration"),
        ("install httpfs", "disabled by configuration"),
        ("set enable_external_access=true", "locked"),
    ],
)
def test_what_cannot_be_asked(footage, sql, says):
    before = sorted(footage.rglob("*"))
    with pytest.raises(UsageError) as refused:
        query(RECIPE, sql)
    assert says in refused.value.problem and "tables: catalog, annotations, refused, frames" in refused.value.remedy
    reply = run("catalog", RECIPE, "--sql", sql)
    assert reply.exit_code == 2
    assert sorted(footage.rglob("*")) == before


def test_no_catalog_yet(workspace):
    for file in (workspace / "data" / RECIPE / "catalog").iterdir():
        file.unlink()
    with pytest.raises(SightlineError, match="the catalog is not there"):
        summary(RECIPE)


def test_summary(footage):
    found = {title: answer.rows for title, answer in summary(RECIPE).items()}
    assert found["files"] == [("ok", "picture", 2, 20), ("quarantined", "picture", 1, 10)]
    assert found["splits"] == [("test", "picture", 1), ("train", "picture", 1)]
    assert found["sites"] == [("n", 1, "2021-01-02T03:04:05", "2021-01-02T03:04:05")]
    assert found["cameras"] == [("[Maker]", None, 1)] and found["near-duplicates"] == [(1, 2)]
    assert found["resolutions"] == [(64, 48, "picture", 2)] and found["reasons"] == [("truncated", 1)]
    shown = run("catalog", RECIPE).stdout
    assert "[Maker]" in shown and "near-duplicates" in shown
    assert set(json.loads(run("catalog", RECIPE, "--json").stdout)) == set(found)
    assert run("catalog", RECIPE, "--csv").exit_code == 2


def test_quarantine(footage):
    wanted = [("f/c.jpg", None, "c" * 64, "truncated"), ("f/labels.csv", 7, "b" * 64, "no such file, 'x'")]
    columns = ("uri", "line", "sha256", "reason")
    found = json.loads(run("quarantine", RECIPE, "--json").stdout)
    assert found == [dict(zip(columns, row, strict=True)) for row in wanted]
    assert run("quarantine", RECIPE, "--csv").stdout.splitlines() == [
        "uri,line,sha256,reason", f"f/c.jpg,,{'c' * 64},truncated", f"f/labels.csv,7,{'b' * 64},\"no such file, 'x'\""
    ]  # fmt: skip
    assert "truncated" in run("quarantine", RECIPE).stdout
    assert run("quarantine", "nobody").exit_code == 2 and run("quarantine", RECIPE, "--csv", "--json").exit_code == 2
