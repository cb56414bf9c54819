"""The graph as DVC tells it: the project's own dvc.yaml, and a toy one for what changes."""

from pathlib import Path

import pytest
import yaml

from components.core.errors import SightlineError, UsageError
from flows.graph import is_current, read_graph
from tests.flows import toy

STAGES = "ingest frames features validation tuning training evaluation promotion deployment".split()


@pytest.fixture
def project(monkeypatch):
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(toy.PROJECT))


def test_the_nine_stages_in_an_order_that_works(project):
    nodes = read_graph("suspicious")
    assert [node.stage for node in nodes] == STAGES
    before = set()
    for node in nodes:
        assert node.name == f"{node.stage}@suspicious"
        assert set(node.upstream) <= before, f"{node.name} comes before what it reads"
        before.add(node.name)
    by_stage = {node.stage: node for node in nodes}
    assert by_stage["ingest"].always_changed and not by_stage["frames"].always_changed
    assert "training@suspicious" in by_stage["evaluation"].upstream
    assert by_stage["training"].cmd == "python -m components.training --recipe suspicious"
    assert "data/suspicious/evaluation/metrics.json" in by_stage["evaluation"].outs


def test_every_stage_reads_what_another_made(project):
    nodes = read_graph("suspicious")
    assert [node.name for node in nodes if not node.upstream] == ["ingest@suspicious"]


def test_what_another_recipe_must_make_first_is_of_it(project):
    nodes = {node.name: node for node in read_graph("wildlife")}
    assert {f"{stage}@wildlife" for stage in STAGES} < set(nodes)
    taught = [name for name in nodes if name.endswith("@sightings")]
    assert taught == [f"{stage}@sightings" for stage in [*STAGES[:6], "explain"]], "not evaluation and what follows"
    assert nodes["ingest@wildlife"].upstream == ("explain@sightings",)
    assert list(nodes).index("explain@sightings") < list(nodes).index("ingest@wildlife")
    alone = [node.name for node in read_graph("wildlife", "training")]
    assert alone == [f"{stage}@wildlife" for stage in STAGES[5:]]
    assert not any(node.name.endswith("@wildlife") for node in read_graph("sightings"))


def test_from_a_stage_on(project):
    nodes = read_graph("suspicious", "evaluation")
    assert [node.stage for node in nodes] == ["evaluation", "promotion", "deployment"]
    assert nodes[0].upstream == ()
    assert nodes[1].upstream == ("evaluation@suspicious",)


@pytest.mark.parametrize(
    "name, stage, nearest", [("suspicous", None, "suspicious"), ("suspicious", "train", "training")]
)
def test_an_unknown_name_is_answered_with_the_nearest(project, name, stage, nearest):
    with pytest.raises(UsageError) as told:
        read_graph(name, stage)
    assert nearest in told.value.remedy


def test_independent_stages_do_not_wait_for_each_other(root):
    upstream = {node.stage: node.upstream for node in read_graph(toy.RECIPE)}
    assert upstream == {
        "ingest": (),
        "frames": ("ingest@toy",),
        "other": ("ingest@toy",),
        "join": ("frames@toy", "other@toy"),
    }


def test_recipes_do_not_mix(root):
    body = yaml.safe_load((root / "params.yaml").read_text())
    body["recipes"]["second"] = body["recipes"]["toy"]
    (root / "params.yaml").write_text(yaml.safe_dump(body))
    assert {node.name.partition("@")[2] for node in read_graph("second")} == {"second"}


def test_what_is_current_is_what_dvc_would_skip(root):
    names = [f"{stage}@toy" for stage in toy.STAGES]
    assert not any(is_current(name) for name in names)
    toy.dvc(root, "repro")
    assert [is_current(name) for name in names] == [False, True, True, True]  # ingest looks each time
    (root / "data" / "toy" / "other").write_text("touched by hand\n")
    assert [is_current(name) for name in names] == [False, True, False, False]
    toy.dvc(root, "checkout", "--force")
    Path("stage.py").write_text(toy.STAGE + "\n")
    assert is_current("frames@toy"), "stage.py is not among the dependencies"


def test_without_a_repository_the_remedy_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path))
    with pytest.raises(SightlineError, match=str(tmp_path)):
        read_graph("toy")


def test_a_broken_dvc_yaml_is_named(root):
    (root / "dvc.yaml").write_text("stages: [")
    with pytest.raises(SightlineError, match="dvc.yaml"):
        read_graph("toy")
