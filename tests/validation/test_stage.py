"""The stage as a command, in a workspace of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from components.core.tables import write_shard

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def workspace(tmp_path, recipe, tables):
    body = recipe.model_dump(mode="json", exclude={"name"})
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"recipes": {"made": body}}))
    for name, table in tables.items():
        folder = tmp_path / "data" / "made" / name
        folder.mkdir(parents=True)
        if name == "features":  # one shard per asset, as the stage before writes them
            for asset in ("a1", "a2", "a3", "a4", "a5"):
                rows = table.filter([one == asset for one in table["asset_id"].to_pylist()])
                write_shard(folder / f"{asset}.parquet", rows, table.schema)
        else:
            notes = {"labels_accepted": "10", "labels_refused": "0"} if name == "refused" else None
            write_shard(folder / "part-00000.parquet", table, table.schema.with_metadata(notes))
    return tmp_path


def stage(workspace):
    environment = os.environ | {"SIGHTLINE_WORKSPACE": str(workspace), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "components.validation", "--recipe", "made"]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=600)


def test_good_data(workspace, tables):
    """The column of pictures is taken away first: the stage never asks for it."""
    pq.write_table(tables["frames"].drop_columns("jpeg"), workspace / "data/made/frames/part-00000.parquet")
    done = stage(workspace)
    assert done.returncode == 0, done.stderr
    report = json.loads((workspace / "data/made/validation.json").read_text())
    assert report["success"] and sorted(report["suites"]) == ["annotations", "catalog", "features", "frames"]
    assert str(workspace) not in json.dumps(report)
    assert (workspace / ".sightline/data_docs/made/index.html").is_file()
    assert "expectations met" in done.stdout
    assert not done.stderr.strip(), "nothing but the stage's own line"


def test_failing_data_stops_the_run_and_leaves_no_summary_but_data_docs(workspace, tables):
    (workspace / "data/made/validation.json").write_text("{}")
    path = workspace / "data/made/frames/part-00000.parquet"
    rows = tables["frames"].to_pylist()
    rows[30]["brightness"] = -4.0
    write_shard(path, rows, tables["frames"].schema)
    done = stage(workspace)
    assert done.returncode == 1
    assert "expect_column_values_to_be_between brightness" in done.stderr and "brightness=-4" in done.stderr
    assert "remedy: " in done.stderr and "Traceback" not in done.stderr
    assert not (workspace / "data/made/validation.json").exists()
    assert (workspace / ".sightline/data_docs/made/index.html").is_file()
