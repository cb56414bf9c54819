"""Bundles as MLflow models, loaded and served by processes that know nothing of this checkout."""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import Model

from components.core import tracking
from components.core.bundle import write_pointer
from components.core.errors import SightlineError
from components.core.media import decode_picture
from components.core.recipe import load_recipe
from components.pyfunc import code
from components.pyfunc.__main__ import main
from components.pyfunc.registry import log_model
from components.serving.load import load_model
from tests.deployment import detecting, making
from tests.serving import tracking as moving
from tests.serving.conftest import publish, wait_for
from tests.serving.test_service import encoded

# A process that loads the model and prints what it says of what stands in the file of its argument.
ELSEWHERE = """
import json, sys
from pathlib import Path
import mlflow, numpy as np, pandas as pd
folder, files = sys.argv[1], sys.argv[2:]
model = mlflow.pyfunc.load_model(folder)
import components
contents = [Path(file).read_bytes() for file in files]
import base64
texts = [base64.b64encode(content).decode() for content in contents]
from components.core.media import decode_picture
arrays = [decode_picture(content) for content in contents]
forms = {
    "paths": files, "Paths": [Path(file) for file in files], "bytes": contents, "base64": texts, "arrays": arrays,
    "array": np.stack(arrays), "texts": np.array(texts), "column": {"any": texts}, "mixed": [files[0], arrays[1]],
    "lists": [array.tolist() for array in arrays], "series": pd.Series(contents),
    **{f"table of {name}": pd.DataFrame({"picture": values})
       for name, values in {"paths": files, "bytes": contents, "base64": texts, "arrays": arrays}.items()},
}
singles = {"path": files[0], "Path": Path(files[0]), "bytes": contents[0], "base64": texts[0], "array": arrays[0]}
print(json.dumps({
    "code": components.__file__,
    "heavy": [name for name in ("torch", "components.tasks", "components.serving.app") if name in sys.modules],
    "forms": {name: model.predict(value).to_dict("records") for name, value in forms.items()},
    "singles": {name: model.predict(value).to_dict("records") for name, value in singles.items()},
    "example": model.predict(model.input_example).to_dict("records"),
    "empty": list(model.predict([])),
}))
"""


def bare() -> dict[str, str]:
    """An environment in which nothing leads to this checkout, but to the same installed packages."""
    named = ("PYTHONPATH", "SIGHTLINE_WORKSPACE", "MLFLOW_TRACKING_URI")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {key: value for key, value in os.environ.items() if key not in named} | {"PATH": path}


def export(workspace: Path, recipe: str, *arguments: str) -> subprocess.CompletedProcess:
    """`sightline export mlflow` in a workspace."""
    command = [sys.executable, "-m", "flows.cli", "export", "mlflow", recipe, *arguments]
    env = bare() | {"SIGHTLINE_WORKSPACE": str(workspace), "PYTHONPATH": str(code.ROOT)}
    return subprocess.run(command, cwd=workspace, env=env, capture_output=True, text=True)


@pytest.fixture(scope="module")
def workspace(bundles, tmp_path_factory) -> Path:
    """A workspace with two published versions of the toy recipe, the first of them the champion."""
    root = tmp_path_factory.mktemp("workspace")
    making.write_params(root)
    deployed = root / ".sightline" / "deployed" / making.RECIPE
    write_pointer(deployed, publish(deployed, bundles[1], 1))
    publish(deployed, bundles[2], 2)
    return root


@pytest.fixture(scope="module")
def exported(workspace, tmp_path_factory) -> Path:
    """The champion as an MLflow model."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    done = export(workspace, making.RECIPE, "-o", str(folder))
    assert done.returncode == 0, done.stderr
    assert f"version 1 as an MLflow model: {folder}" in done.stdout
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    made = [folder / "one.png", folder / "two.jpg"]
    for seed, file in enumerate(made):
        file.write_bytes(encoded(seed, file.suffix))
    return made


def wanted(deployed: Path, version: int, files: list[Path]) -> list[dict]:
    """What the model service answers for these files, as rows of a table."""
    from components.core.bundle import Pointer, read_bundle

    folder = deployed / f"v{version}"
    model = load_model(deployed, Pointer(version, folder.name, read_bundle(folder).digest), threads=1)
    rgb = [decode_picture(file.read_bytes()) for file in files]
    answers = model.answers([model.prepare(one) for one in rgb], [one.shape[:2] for one in rgb], None)
    return [
        {"prediction": row["prediction"], "score": pytest.approx(row["score"], abs=1e-5)}
        | {f"prob_{name}": pytest.approx(value, abs=1e-5) for name, value in row["probabilities"].items()}
        for row in answers
    ]


def test_it_loads_elsewhere_and_takes_pictures_in_every_form(exported, workspace, files, tmp_path):
    command = [sys.executable, "-c", ELSEWHERE, str(exported), *map(str, files)]
    done = subprocess.run(command, cwd=tmp_path, env=bare(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert Path(told["code"]).is_relative_to(exported) and told["heavy"] == []
    rows = wanted(workspace / ".sightline" / "deployed" / making.RECIPE, 1, files)
    for name, given in told["forms"].items():
        assert given == rows, name
    for name, given in told["singles"].items():
        assert given == rows[:1], name
    assert len(told["example"]) == 1 and told["example"][0]["prediction"] in making.CLASSES
    assert told["empty"] == ["prediction", "score", "prob_normal", "prob_suspicious"]


def test_the_folder_says_what_mlflow_wants_to_know_and_pickles_nothing(exported, workspace):
    model = Model.load(str(exported))
    assert model.signature.outputs.input_names() == ["prediction", "score", "prob_normal", "prob_suspicious"]
    assert model.metadata["recipe"] == "toy" and model.metadata["version"] == 1
    assert model.flavors["python_function"]["loader_module"] == "components.pyfunc.loader"
    assert model.saved_input_example_info
    required = (exported / "requirements.txt").read_text()
    assert "onnxruntime==" in required and not re.search("torch|cloudpickle|scipy", required)
    # What Python leaves beside code that was loaded from there is not the export's.
    files = [file for file in exported.rglob("*") if file.is_file() and file.parent.name != "__pycache__"]
    names = [file.relative_to(exported).as_posix() for file in files]
    assert not [name for name in names if name.endswith((".pkl", ".pyc")) or "tasks" in name]
    assert "data/bundle/v1/model.onnx" in names and "code/components/serving/model.py" in names


@pytest.fixture
def serve(tmp_path: Path) -> Iterator:
    """`mlflow models serve` on a port that the system chooses; gives its url."""
    running = []

    def begin(model: Path) -> str:
        log = tmp_path / "serve.txt"
        # Port 0 leaves the choice to uvicorn, which asks its environment.
        command = ["mlflow", "models", "serve", "-m", str(model), "--env-manager", "local", "-p", "0", "-w", "1"]
        with open(log, "w") as out:
            running.append(
                subprocess.Popen(
                    command,
                    cwd=tmp_path,
                    env=bare() | {"UVICORN_PORT": "0"},
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                )  # fmt: skip
            )
        found = re.compile(r"running on (http://[\d.:]+)")
        wait_for(lambda: found.search(log.read_text()) or running[-1].poll() is not None, 300)
        assert running[-1].poll() is None, log.read_text()
        return found.search(log.read_text())[1]

    yield begin
    for process in running:
        os.killpg(process.pid, 15)  # the server is a child of the command
        process.wait(60)


def test_mlflow_serves_it(exported, workspace, files, serve):
    url = serve(exported)
    rows = wanted(workspace / ".sightline" / "deployed" / making.RECIPE, 1, files)
    texts = [base64.b64encode(file.read_bytes()).decode() for file in files]
    pixels = [decode_picture(file.read_bytes()).tolist() for file in files]
    bodies = [
        {"dataframe_split": {"columns": ["picture"], "data": [[text] for text in texts]}},
        {"dataframe_records": [{"picture": text} for text in texts]},
        {"inputs": texts}, {"instances": texts}, {"instances": [{"picture": text} for text in texts]},
        {"inputs": {"picture": texts}}, {"inputs": pixels},
    ]  # fmt: skip
    for body in bodies:
        answer = httpx.post(f"{url}/invocations", json=body, timeout=120)
        assert answer.status_code == 200 and answer.json() == {"predictions": rows}, (list(body), answer.text)
    # Its clients are strangers: no path of theirs is opened here.
    refused = httpx.post(f"{url}/invocations", json={"inputs": [str(files[0])]}, timeout=120)
    assert refused.status_code == 400 and "picture 1: the text is not base64" in refused.text


def test_a_detectors_boxes_are_json_and_min_score_is_a_parameter(detector_bundle, tmp_path):
    detecting.write_params(tmp_path)
    deployed = tmp_path / ".sightline" / "deployed" / detecting.RECIPE
    write_pointer(deployed, publish(deployed, detector_bundle, 3))
    assert export(tmp_path, detecting.RECIPE, "-o", "model").returncode == 0
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    rgb = detecting.picture(5029, 2)[0]
    (row,) = model.predict(rgb).to_dict("records")
    boxes = json.loads(row["boxes"])
    assert list(row) == ["prediction", "score", *(f"prob_{name}" for name in detecting.CLASSES), "boxes"]
    assert len(boxes) == 2 and set(boxes[0]) == {"class", "score", "x", "y", "w", "h"}
    assert all(box["score"] >= detecting.THRESHOLD for box in boxes)
    assert len(json.loads(model.predict(rgb, {"min_score": 0.0})["boxes"][0])) > 2
    assert json.loads(model.predict(rgb, {"min_score": 1.0})["boxes"][0]) == []
    assert [param.name for param in model.metadata.signature.params] == ["min_score"]


def test_a_model_that_tracks_finds_boxes_in_single_pictures(tmp_path):
    detecting.write_params(tmp_path)  # whatever the recipe says, the bundle tells what its model does
    moving.publish(tmp_path / ".sightline" / "deployed" / detecting.RECIPE)
    done = export(tmp_path, detecting.RECIPE, "-o", "model")
    assert done.returncode == 0, done.stderr
    assert "scipy==" in (tmp_path / "model" / "requirements.txt").read_text()
    rows = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict([moving.jpeg(moving.frame(0))])
    assert [box["class"] for box in json.loads(rows["boxes"][0])] == ["red", "blue"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["nowhere.png"], "picture 1: no such file, and as a picture the text is not base64"),
        (["aGVsbG8="], "picture 1: not a picture"),
        ([b""], "picture 1: not a picture"),
        ([Path("nowhere.png")], "picture 1: nowhere.png: cannot be read"),
        ([np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3))], "picture 2: an array of float64 holds something else"),
        ([np.full((2, 2, 3), 256)], "picture 1: an array of int64 holds something else"),
        (np.zeros((2, 2, 4), np.uint8), "picture 1: an array of shape"),
        (np.zeros((2, 2), np.uint8), "an array of shape .* holds no pictures"),
        ([7], "picture 1: a int is no picture"),
        ([np.zeros((6400, 6400, 3), np.uint8)], "picture 1: 6400 x 6400 pixels are more than 40000000"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), "the table has 2 columns"),
        ({"a": ["x"], "b": ["y"]}, "the mapping has 2 columns"),
    ],
)
def test_what_is_no_picture_is_named(exported, given, says):
    model = mlflow.pyfunc.load_model(str(exported))
    with pytest.raises(SightlineError, match=says):
        model.predict(given)


def test_more_pictures_than_go_through_the_network_together(exported):
    rgb = np.stack([making.picture(seed) for seed in range(70)])
    model = mlflow.pyfunc.load_model(str(exported))
    together, alone = model.predict(rgb), model.predict([rgb[69]])
    assert len(together) == 70 and together["score"][69] == pytest.approx(alone["score"][0], abs=1e-5)


def test_a_model_whose_bytes_were_changed_does_not_load(exported, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for file in exported.rglob("*"):
        if file.is_file():
            target = folder / file.relative_to(exported)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    (graph,) = folder.rglob("model.onnx")
    graph.write_bytes(graph.read_bytes() + b"x")
    with pytest.raises(SightlineError, match="its bytes are not those"):
        mlflow.pyfunc.load_model(str(folder))


def test_another_version_takes_the_place_of_an_export_and_of_nothing_else(workspace, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(workspace))
    monkeypatch.chdir(tmp_path)
    for version in ("1", "2"):
        assert main(["--recipe", "toy", "-o", str(tmp_path / "model"), "--version", version]) == 0
        assert Model.load(str(tmp_path / "model")).metadata["version"] == int(version)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    assert main(["--recipe", "toy", "-o", str(precious)]) == 2
    assert "is no MLflow model" in capsys.readouterr().err and (precious / "thesis.txt").exists()
    assert main(["--recipe", "toy", "-o", str(tmp_path / "other"), "--version", "9"]) == 1
    assert "never published here (there is: v1, v2)" in capsys.readouterr().err
    assert main(["--recipe", "toi", "-o", str(tmp_path / "other")]) == 2 and not (tmp_path / "other").exists()


def test_logged_it_is_loaded_by_the_registrys_alias(workspace, exported, files, monkeypatch, tmp_path):
    making.give_store(workspace)
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(workspace))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    recipe, client = load_recipe("toy", workspace / "params.yaml"), tracking.client()
    run = client.create_run(tracking.experiment_id("toy"))
    (tmp_path / "model.json").write_text("{}")
    client.log_artifact(run.info.run_id, str(tmp_path / "model.json"), "model")
    client.create_registered_model("toy")
    client.create_model_version("toy", f"{run.info.artifact_uri}/model", run.info.run_id)
    client.set_registered_model_alias("toy", tracking.CHAMPION, "1")
    assert log_model(recipe, 1, exported) == "models:/toy/1"
    assert log_model(recipe, 1, exported) == "models:/toy/1"  # once more: nothing is in the way
    table = mlflow.pyfunc.load_model("models:/toy@champion").predict([str(file) for file in files])
    rows = wanted(workspace / ".sightline" / "deployed" / making.RECIPE, 1, files)
    assert table.to_dict("records") == rows
    assert {one.path for one in client.list_artifacts(run.info.run_id, "model")} >= {
        "model/model.json",
        "model/MLmodel",
    }


def test_the_code_that_is_carried_is_what_the_loader_imports():
    carried = {file.as_posix() for file in code.needed("components.pyfunc.loader")}
    assert {"components/__init__.py", "components/core/bundle.py", "components/serving/tracker.py"} <= carried
    assert not [name for name in carried if name.startswith(("components/tasks", "components/serving/app"))]
