"""Stages as Kubernetes Jobs: the manifest against the API's own schema, and a run over the API's protocol."""

import os

import kubernetes_validate
import pytest

from components.core.errors import MAY_PASS
from flows.graph import read_graph
from flows.needs import needs
from flows.runners import kubernetes, local
from flows.runners.local import StageFailed, Stages, Stopped
from tests.flows import toy
from tests.flows.cluster_api import cluster

VERSIONS = ("1.28", "1.32")


@pytest.fixture
def api(root, tmp_path, monkeypatch):
    with cluster(tmp_path) as (made, config):
        monkeypatch.setenv("KUBECONFIG", str(config))
        monkeypatch.setattr(kubernetes, "POLL_S", 0.1)
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        monkeypatch.setenv("PYTHONPATH", str(toy.PROJECT))
        yield made


@pytest.fixture
def nodes(api, root):
    return {node.stage: node for node in read_graph(toy.RECIPE)}


def run(node, stages=None, log=print):
    return local.run_stage(node, stages or Stages(), needs(node.stage), runner="kubernetes", log=log)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("stage", ["ingest", "training", "promotion"])
def test_the_manifest_is_a_job_of_the_api(root, stage, version):
    needed = needs(stage).model_copy(update={"timeout_s": 90.0})
    job = kubernetes.manifest(["python", "-m", f"components.{stage}", "--recipe", "toy"], f"{stage}@toy", needed)
    kubernetes_validate.validate(job, version, strict=True)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] and not container["securityContext"]["allowPrivilegeEscalation"]
    limits = container["resources"]["limits"]
    assert limits["memory"] == f"{int(needed.memory_gb * 1000)}M"
    assert ("nvidia.com/gpu" in limits) == (stage == "training")
    assert container["image"] == f"sightline/{needed.image}:latest"
    assert job["spec"]["backoffLimit"] == 0 and job["spec"]["activeDeadlineSeconds"] == 90
    assert len(job["metadata"]["name"]) <= 63


def test_a_stage_runs_as_a_job_and_dvc_sees_what_it_always_sees(api, nodes, root, tmp_path, template):
    lines = []
    for stage in toy.STAGES:
        assert run(nodes[stage], log=lines.append).status == "ran"
    assert "frames looks at 1 inputs" in lines
    assert run(nodes["join"]).status == "cached"
    assert [job["metadata"]["labels"]["app.kubernetes.io/component"] for job in api.made] == list(toy.STAGES)
    assert not api.jobs, "each was deleted when it was done"
    there = toy.lock(root)
    toy.dvc(root, "repro", "--force")
    assert toy.lock(root) == there


def test_the_exit_code_is_the_stages(nodes, root):
    raised = toy.failures(root, nodes["ingest"], run, MAY_PASS, 2)
    assert [(type(error), error.exit_code) for error in raised] == [(StageFailed, MAY_PASS), (StageFailed, 2)]
    assert {error.problem for error in raised} == {"ingest@toy: the footage is not there"}


@pytest.mark.parametrize(
    "trouble, words, code",
    [
        ("no image", "ErrImagePull", 1),
        ("refused", "exceeded quota", 1),
        ("busy", "503", MAY_PASS),
        ("evicted", "Evicted", MAY_PASS),
    ],
)
def test_what_befalls_a_pod_is_said(api, nodes, trouble, words, code):
    api.trouble = trouble
    with pytest.raises(StageFailed, match=words) as told:
        run(nodes["ingest"])
    assert told.value.exit_code == code
    assert not api.jobs


def test_no_cluster_may_pass(nodes, monkeypatch, tmp_path):
    text = (tmp_path / "kubeconfig").read_text()
    port = text.partition("127.0.0.1:")[2].split()[0]
    (tmp_path / "kubeconfig").write_text(text.replace(port, str(toy.free_port())))
    with pytest.raises(StageFailed) as told:
        run(nodes["ingest"])
    assert told.value.exit_code == MAY_PASS


def test_stopping_deletes_the_job(api, nodes, root):
    toy.plan(root, ingest=["sleep 60"])
    assert isinstance(toy.stopped(root, nodes["ingest"], run), Stopped)
    assert not api.jobs
    pid = int(toy.attempts(root, "ingest")[0].split()[0])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_a_killed_flow_left_is_removed_first(api, nodes, root):
    toy.plan(root, ingest=["sleep 60"])
    stage = "ingest@toy"
    api.create(kubernetes.manifest(["python", "stage.py", "ingest", "data/toy/left"], stage, needs("ingest")))
    assert run(nodes["ingest"]).status == "ran"
    assert len(api.made) == 2 and not api.jobs
