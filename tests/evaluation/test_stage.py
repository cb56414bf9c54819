"""The stage on real clips with a real model: its files, the report, and MLflow's run."""

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import mlflow
import pyarrow.parquet as pq
import pytest
import yaml

from components.core import media, paths, tracking
from components.core.errors import SightlineError
from components.core.files import tree_sha256
from components.core.recipe import load_recipe
from components.core.tables import iter_rows, predictions_schema
from components.evaluation.__main__ import main
from components.tasks.classification.model import load_model
from tests.evaluation.made import CLASSES, place

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, footage):
    """A workspace in which training's run is there and evaluation ran, as a command. Tests only read it."""
    root = tmp_path_factory.mktemp("evaluated")
    before = os.environ.copy()
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.environ["SIGHTLINE_WORKSPACE"] = str(root)
    try:
        recipe = place(root, footage)
        digest = load_model(root / "data/made/model").digest
        with tracking.run(recipe, "training", model_digest=digest):
            mlflow.log_params({"training.lr": "0.5"})
        command = [sys.executable, "-m", "components.evaluation", "--recipe", "made"]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        assert "frame_auc" in done.stdout and "data/made/evaluation/report/index.html" in done.stdout
        yield root
    finally:
        os.environ.clear()
        os.environ.update(before)


def out(root):
    return root / "data" / "made" / "evaluation"


def test_metrics_and_plots_agree_with_the_predictions(evaluated):
    metrics = json.loads((out(evaluated) / "metrics.json").read_text())
    table = pq.read_table(out(evaluated) / "predictions")
    assert table.schema.equals(predictions_schema(CLASSES))
    rows = [row for row in table.to_pylist() if row["label"] is not None]
    assert (metrics["frames"], metrics["labelled_frames"], metrics["assets"]) == (table.num_rows, len(rows), 3)
    assert metrics["accuracy"] == pytest.approx(sum(row["label"] == row["prediction"] for row in rows) / len(rows))
    assert 0.6 < metrics["frame_auc"] < 1, "the made model is good but not perfect"
    assert metrics["threshold"] == 0.4375
    with open(out(evaluated) / "confusion.csv") as handle:
        confusion = sorted((row["actual"], row["predicted"]) for row in csv.DictReader(handle))
    assert confusion == sorted((row["label"], row["prediction"]) for row in rows)
    with open(out(evaluated) / "roc.csv") as handle:
        roc = [(float(row["false_positive_rate"]), float(row["true_positive_rate"])) for row in csv.DictReader(handle)]
    area = sum((x2 - x1) * (y1 + y2) / 2 for (x1, y1), (x2, y2) in zip(roc, roc[1:], strict=False))
    assert area == pytest.approx(metrics["frame_auc"])
    assert (out(evaluated) / "precision_recall.csv").read_text().startswith("recall,precision,threshold\n")


def test_only_held_out_assets_are_measured(evaluated):
    catalog = pq.read_table(evaluated / "data/made/catalog").to_pylist()
    held_out = {row["asset_id"] for row in catalog if row["split"] == "test"}
    assert set(pq.read_table(out(evaluated) / "predictions")["asset_id"].to_pylist()) == held_out


def test_times_are_those_of_the_frames_from_the_first_on(evaluated):
    for row in pq.read_table(out(evaluated) / "predictions").to_pylist():
        info = media.probe_video(evaluated / row["uri"])
        assert row["pts"] == info.pts[row["frame_index"]]
        assert row["timestamp_s"] == float(int(row["pts"] - info.pts[0]) * info.time_base)


class Page(HTMLParser):
    """Every start tag of a page with its attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(root):
    text = (out(root) / "report/index.html").read_text()
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])
    return text, Page(text), data


def test_every_moment_has_a_picture_in_words_and_a_link_to_its_second(evaluated):
    _, page, data = page_of(evaluated)
    cards = [link for link in page.all("a") if link.get("class") == "card"]
    assert len(cards) == len(data["moments"]) > 3
    scored = {
        (row["asset_id"], row["timestamp_s"]): row["score"]
        for row in pq.read_table(out(evaluated) / "predictions").to_pylist()
    }
    for card, moment in zip(cards, data["moments"], strict=True):
        assert card["href"] == f"videos/{moment['asset']}.mp4#t={moment['t']:.3f}"
        assert f"score {scored[moment['asset'], moment['t']]:.3f}" in moment["caption"]
        copy = media.probe_video(out(evaluated) / "report/videos" / f"{moment['asset']}.mp4")
        assert copy.codec == "h264" and copy.pts[0] == 0
        assert float(copy.pts[-1] * copy.time_base) >= moment["t"]
    thumbnails = [image for image in page.all("img") if image.get("src", "").startswith("data:image/jpeg;base64,")]
    assert len(thumbnails) == len(cards) and all(len(image["alt"]) > 20 for image in thumbnails)


def test_the_report_needs_nothing_from_outside_and_names_no_machine(evaluated):
    text, page, _ = page_of(evaluated)
    assert str(evaluated) not in text
    links = [value for _, attributes in page.tags for key, value in attributes.items() if key in ("src", "href")]
    for link in links:
        assert link.startswith(("#", "data:")) or (out(evaluated) / "report" / link.split("#")[0]).is_file(), link
    assert not re.search(r"https?://(?!www\.w3\.org)", text) and "@import" not in text
    drawings = [attributes for name, attributes in page.tags if name == "svg"]
    assert len(drawings) == 6 and all(one["role"] == "img" and one["aria-label"] for one in drawings)


def test_videos_that_play_are_copied_as_they_are_and_never_linked(evaluated):
    catalog = {row["name"]: row for row in pq.read_table(evaluated / "data/made/catalog").to_pylist()}
    videos = out(evaluated) / "report" / "videos"
    copy, source = videos / f"{catalog['hall.mp4']['asset_id']}.mp4", evaluated / "clips/hall.mp4"
    assert copy.read_bytes() == source.read_bytes() and not copy.samefile(source)
    assert media.probe_video(videos / f"{catalog['gate.mpg']['asset_id']}.mp4").codec == "h264"
    assert not (videos / f"{catalog['other.mp4']['asset_id']}.mp4").exists()


def test_per_video_table(evaluated):
    with open(out(evaluated) / "report/per_video.csv") as handle:
        rows = {row["name"]: row for row in csv.DictReader(handle)}
    assert set(rows) == {"gate.mpg", "hall.mp4", "quiet.mp4"}
    assert float(rows["gate.mpg"]["frame_auc"]) > 0.5 and rows["quiet.mp4"]["frame_auc"] == ""
    assert int(rows["hall.mp4"]["labelled"]) < int(rows["hall.mp4"]["frames"])


def test_trainings_run_gets_metrics_parameters_digests_and_artifacts(evaluated, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(evaluated))
    digest = load_model(evaluated / "data/made/model").digest
    client = tracking.client()
    runs = client.search_runs([tracking.experiment_id("made")])
    assert len(runs) == 1, "no second run"
    run = runs[0]
    metrics = json.loads((out(evaluated) / "metrics.json").read_text())
    assert run.data.metrics == {f"test_{name}": pytest.approx(value) for name, value in metrics.items()}
    assert run.data.tags["sightline.model_digest"] == digest and run.info.status == "FINISHED"
    for table in ("catalog", "annotations", "frames", "features"):
        assert run.data.tags[f"sightline.data.{table}"] == tree_sha256(evaluated / "data/made" / table)
    assert run.data.params["evaluation.moments"] == "12"
    assert run.data.params["training.lr"] == "0.5", "what training logged stays"
    inputs = run.inputs.dataset_inputs
    assert [one.dataset.name for one in inputs] == ["made-features"]
    kept = {item.path for item in client.list_artifacts(run.info.run_id, "evaluation")}
    files = ("confusion.svg", "metrics.json", "predictions", "recipe.json", "report")
    assert kept == {f"evaluation/{name}" for name in files}
    report = {item.path for item in client.list_artifacts(run.info.run_id, "evaluation/report")}
    files = ("index.html", "per_class.csv", "per_video.csv")
    assert report == {f"evaluation/report/{name}" for name in files}


def test_nothing_of_mlflow_is_in_the_outputs(evaluated, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(evaluated))
    run_id = tracking.find_run("made", model_digest=load_model(evaluated / "data/made/model").digest)
    for file in out(evaluated).rglob("*"):
        assert not file.is_file() or run_id.encode() not in file.read_bytes()


@pytest.fixture
def shared_store(evaluated, monkeypatch):
    """The MLflow store of `evaluated` for other workspaces too: making one anew takes seconds."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{evaluated / '.sightline/mlflow/mlflow.db'}")


def digests(folder):
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_the_same_bytes_elsewhere_and_from_a_warm_cache(evaluated, workspace, footage, monkeypatch, capfd):
    """Another folder, no work cache, the MLflow store removed: a new run there, the same bytes. Then from the cache,
    with another number of moments: MLflow does not mind the changed parameter."""
    main(load_recipe("made"))
    assert digests(out(workspace)) == digests(out(evaluated))
    digest = load_model(workspace / "data/made/model").digest
    first = tracking.find_run("made", model_digest=digest)
    assert first and "test_frame_auc" in tracking.client().get_run(first).data.metrics

    for clip in (workspace / "clips").glob("*.mpg"):
        assert list((workspace / ".sightline/work/evaluation").rglob("*.mp4")), f"{clip.name} was transcoded"
    params = yaml.safe_load((workspace / "params.yaml").read_text())
    params["recipes"]["made"]["evaluation"] = {"moments": 2, "gap_s": 2.0}
    (workspace / "params.yaml").write_text(yaml.safe_dump(params))
    main(load_recipe("made"))
    assert tracking.find_run("made", model_digest=digest) == first
    assert len(page_of(workspace)[2]["moments"]) == 2
    recipe = tracking.client().download_artifacts(first, "evaluation/recipe.json", str(workspace))
    assert json.loads(Path(recipe).read_text())["evaluation"]["moments"] == 2
    assert len(list((out(workspace) / "report/videos").iterdir())) <= 2, "copies no moment needs any more are gone"


def test_a_damaged_copy_in_the_cache_is_made_again(evaluated, workspace, shared_store):
    shutil.copytree(evaluated / ".sightline/work", workspace / ".sightline/work")
    (copy,) = (workspace / ".sightline/work/evaluation").rglob("*.mp4")
    copy.write_bytes(copy.read_bytes()[:-100])
    main(load_recipe("made"))
    assert digests(out(workspace) / "report" / "videos") == digests(out(evaluated) / "report" / "videos")


def test_a_missing_video_is_named_and_no_half_report_is_left(workspace, shared_store):
    (workspace / "clips/gate.mpg").unlink()
    with pytest.raises(SightlineError, match="gate.mpg"):
        main(load_recipe("made"))
    assert not (out(workspace) / "report").exists()


def test_pictures_have_no_player(evaluated, workspace, shared_store, footage):
    """Half of the held-out assets as pictures: one frame each, in one shard, no time."""
    folder = workspace / "data/made"
    catalog = pq.read_table(folder / "catalog/part-00000.parquet")
    rows = catalog.to_pylist()
    (picture,) = [row for row in rows if row["name"] == "hall.mp4"]
    picture |= {"kind": "picture", "name": 'hall <i>&"</i>.png', "time_base_num": 1, "time_base_den": 1}
    picture |= {"first_pts": 0, "last_pts": 0}
    pq.write_table(catalog.from_pylist(rows, catalog.schema), folder / "catalog/part-00000.parquet")
    for table in ("frames", "features"):
        shard = folder / table / f"{picture['asset_id']}.parquet"
        first = pq.read_table(shard).slice(0, 1)
        assert first["pts"].to_pylist() == [0]
        pq.write_table(first, folder / table / f"pictures-{picture['asset_id'][:2]}.parquet")
        shard.unlink()
    main(load_recipe("made"))
    text, page, data = page_of(workspace)
    assert "<i>&" not in text and "hall &lt;i&gt;&amp;&#34;" in text, "names are escaped"
    (moment,) = [one for one in data["moments"] if one["asset"] == picture["asset_id"]]
    assert moment["picture"] and moment["asset"] not in data["videos"]
    cards = [link for link in page.all("a") if link.get("class") == "card"]
    (card,) = [link for link in cards if link["data-moment"] == str(moment["rank"])]
    assert card["href"] == f"#moment-{moment['rank']}"


def test_frames_that_do_not_fit_the_features_are_an_error(workspace, shared_store):
    for shard in (workspace / "data/made/frames").glob("*.parquet"):
        assert next(iter(iter_rows(shard, ["frame_id"])))
        table = pq.read_table(shard)
        pq.write_table(table.slice(0, 0), shard)
    with pytest.raises(SightlineError, match="no frame"):
        main(load_recipe("made"))
    assert paths.workspace() == workspace


def test_without_a_positive_class(evaluated, workspace, shared_store, capfd):
    """The same tables as a recipe whose classes are of one rank: sites and light become slices on the way."""
    params = yaml.safe_load((workspace / "params.yaml").read_text())
    params["recipes"]["made"]["task"]["positive"] = None
    (workspace / "params.yaml").write_text(yaml.safe_dump(params))
    folder = workspace / "data/made"
    meta = json.loads((folder / "model/model.json").read_text())
    (folder / "model/model.json").write_text(json.dumps(meta | {"threshold": None}))
    catalog = pq.read_table(folder / "catalog/part-00000.parquet")
    rows = catalog.to_pylist()
    for row in rows:
        row |= {"site": row["name"], "saturation": 60.0, "brightness": 90.0, "near_group": "all"}
    pq.write_table(catalog.from_pylist(rows, catalog.schema), folder / "catalog/part-00000.parquet")
    main(load_recipe("made"))
    assert "accuracy" in capfd.readouterr().out
    metrics = json.loads((out(workspace) / "metrics.json").read_text())
    table = pq.read_table(out(workspace) / "predictions").to_pylist()
    known = [row for row in table if row["label"] is not None]
    assert metrics["accuracy"] == pytest.approx(sum(row["label"] == row["prediction"] for row in known) / len(known))
    assert {"f1_macro", "roc_auc_macro", "roc_auc_binarised"} <= set(metrics) and "threshold" not in metrics
    assert metrics["near_duplicates_in_train"] == metrics["assets"] == 3
    assert set(metrics["slices"]["site"]) == {"gate.mpg", "hall.mp4", "quiet.mp4"} and len(metrics["slices"]) == 1
    for row in table:
        assert row["score"] == row[f"prob_{row['prediction']}"] and row["score"] >= 0.5
        assert row["light"] == "day" and row["uri"].endswith(row["site"])
    run = tracking.find_run("made", model_digest=load_model(folder / "model").digest)
    assert "test_f1_macro" in tracking.client().get_run(run).data.metrics
    text, page, _ = page_of(workspace)
    assert "tells 2 classes apart" in text and "Most confident mistakes" in text
