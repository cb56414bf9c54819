"""Deployment and follower against a real MLflow registry."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.core import tracking
from components.core.bundle import POINTER, read_bundle, read_pointer
from components.core.errors import SightlineError
from components.core.files import tree_sha256
from components.deployment import __main__ as stage
from components.deployment import follow
from components.deployment.build import build_bundle
from components.deployment.publish import publish
from tests.deployment import making

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(root: Path) -> None:
    making.give_store(root)


def decided(recipe, data: Path, seed: int, version: int, champion: bool) -> None:
    """A model of this seed, registered as the promotion does, and its decision."""
    digest = making.write_model(data, recipe, seed)
    client = tracking.client()
    if version == 1:
        client.create_registered_model("toy")
    made = client.create_model_version("toy", str(data / "model"), tags={tracking.MODEL_DIGEST: digest})
    assert int(made.version) == version
    if champion:
        client.set_registered_model_alias("toy", tracking.CHAMPION, made.version)
    (data / "decision.json").write_text(
        json.dumps({"promoted": champion, "model_version": version, "model_digest": digest})
    )


def pointed(root: Path) -> int | None:
    pointer = read_pointer(root / ".sightline/deployed/toy")
    return pointer and pointer.version


def test_a_champion_is_published_and_pointed_to(trained, root, store, capsys):
    recipe, data = trained
    decided(recipe, data, 1, 1, champion=True)
    stage.main(recipe)
    deployed = root / ".sightline/deployed/toy"
    assert json.loads((deployed / POINTER).read_text()) == {
        "version": 1, "folder": "v1", "digest": read_bundle(deployed / "v1").digest,
    }  # fmt: skip
    assert tree_sha256(deployed / "v1") == tree_sha256(data / "bundle")
    assert "to be served: version 1" in capsys.readouterr().out


def test_a_refused_challenger_is_published_and_the_champion_stays(trained, root, store):
    recipe, data = trained
    decided(recipe, data, 1, 1, champion=True)
    stage.main(recipe)
    decided(recipe, data, 2, 2, champion=False)
    stage.main(recipe)
    assert pointed(root) == 1
    first, second = (read_bundle(root / f".sightline/deployed/toy/v{number}").digest for number in (1, 2))
    assert first != second


def test_again_leaves_what_is_published_untouched_and_mends_what_is_damaged(trained, root, store):
    recipe, data = trained
    decided(recipe, data, 1, 1, champion=True)
    stage.main(recipe)
    graph = root / ".sightline/deployed/toy/v1/model.onnx"
    inode, bundle = graph.stat().st_ino, tree_sha256(data / "bundle")
    stage.main(recipe)
    assert graph.stat().st_ino == inode and tree_sha256(data / "bundle") == bundle
    graph.write_bytes(graph.read_bytes()[:-1])
    stage.main(recipe)
    assert tree_sha256(graph.parent) == bundle and pointed(root) == 1


def test_a_decision_on_another_model_is_refused(trained, root, store):
    recipe, data = trained
    decided(recipe, data, 1, 1, champion=True)
    making.write_model(data, recipe, 2)
    with pytest.raises(SightlineError, match="decides on another model"):
        stage.main(recipe)
    assert not (data / "bundle").exists() and pointed(root) is None


def test_without_a_champion_nothing_is_pointed_to(trained, root, store, capsys):
    recipe, data = trained
    decided(recipe, data, 1, 1, champion=False)
    stage.main(recipe)
    assert pointed(root) is None and (root / ".sightline/deployed/toy/v1").is_dir()
    assert "there is no champion" in capsys.readouterr().out


def test_a_champion_deployed_elsewhere_does_not_stop_a_challenger(trained, root, store, capsys):
    recipe, data = trained
    decided(recipe, data, 1, 1, champion=True)  # never deployed here
    decided(recipe, data, 2, 2, champion=False)
    stage.main(recipe)
    assert pointed(root) is None
    assert "champion version 1 was never published here" in capsys.readouterr().err


def three_versions(recipe, root: Path) -> None:
    """Versions 1 and 2 published, 3 registered only; the alias on 1."""
    data = root / "data/toy"
    for version in (1, 2, 3):
        decided(recipe, data, version, version, champion=version == 1)
        if version < 3:
            (data / "bundle").mkdir(exist_ok=True)
            build_bundle(recipe, data, data / "bundle", {})
            publish("toy", version, data / "bundle")


def move(version: int) -> None:
    tracking.client().set_registered_model_alias("toy", tracking.CHAMPION, str(version))


def test_the_follower_follows(trained, root, store, capsys):
    recipe, _ = trained
    three_versions(recipe, root)
    assert follow.main(["--recipe", "toy", "--once"]) == 0
    assert pointed(root) == 1
    move(2)
    assert follow.main(["--recipe", "toy", "--once"]) == 0
    assert pointed(root) == 2
    move(3)
    assert follow.main(["--recipe", "toy", "--once"]) == 1
    assert pointed(root) == 2
    assert "champion version 3 was never published here" in capsys.readouterr().err
    move(1)
    graph = root / ".sightline/deployed/toy/v1/model.onnx"
    graph.write_bytes(b"x" + graph.read_bytes()[1:])
    assert follow.main(["--recipe", "toy", "--once"]) == 1
    assert pointed(root) == 2
    assert "its bytes are not those the bundle names" in capsys.readouterr().err
    (root / ".sightline/deployed/toy" / POINTER).write_text("{")
    move(2)
    assert follow.main(["--recipe", "toy", "--once"]) == 0
    assert pointed(root) == 2


def test_the_follower_says_a_trouble_once_and_goes_on(trained, root, store, capsys, monkeypatch):
    recipe, _ = trained
    three_versions(recipe, root)
    move(3)
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            move(2)
        if len(looks) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    assert follow.main(["--recipe", "toy", "--interval", "0.5"]) == 0
    out, err = capsys.readouterr()
    assert looks == [0.5] * 5 and err.count("never published here") == 1
    assert out.count("serving version 2") == 1 and pointed(root) == 2


def test_the_follower_as_a_process_follows_within_seconds(trained, root, store):
    recipe, _ = trained
    three_versions(recipe, root)
    process = subprocess.Popen(
        [sys.executable, "-m", "components.deployment.follow", "--recipe", "toy", "--interval", "0.2"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert "serving version 1" in process.stdout.readline()
        move(2)
        moved = time.monotonic()
        assert "serving version 2" in process.stdout.readline()
        assert time.monotonic() - moved < 30
        assert pointed(root) == 2
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize(
    ("body", "says"), [('{"version": 1}', "folder"), ('{"version":1,"folder":"../x","digest":"d"}', "not a folder")]
)
def test_a_pointer_of_another_form_is_refused(tmp_path, body, says):
    (tmp_path / POINTER).write_text(body)
    with pytest.raises(SightlineError, match=says):
        read_pointer(tmp_path)
