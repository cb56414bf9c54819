"""infra/kubernetes: rendered, held to the API's and the operators' schemas, names looked up, policies; and a stage's
pod run for real by a container engine."""

import asyncio
import copy
import os
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import docker
import pytest
import yaml
from docker.errors import DockerException, ImageNotFound, NotFound
from PIL import Image
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

from components.core.errors import SightlineError
from components.core.files import tree_sha256
from flows.needs import needs
from flows.runners import kubernetes
from flows.runners.elsewhere import image
from tests.containers import absent, asked
from tests.footage import RECIPE, make_recipe, picture
from tests.infra import manifests as look
from tests.infra.manifests import JOBS, KUBERNETES, OVERLAYS, ROOT, VERSIONS

BASE = os.environ.get("PYTHON_IMAGE", "python:3.11-slim-bookworm")
CHECKOV = "checkov==3.3.30"
FLOW = {"sightline/role": "flow"}
STAGE = {"app.kubernetes.io/name": "sightline", "app.kubernetes.io/component": "training", "sightline/recipe": "digits"}


@pytest.fixture(scope="module")
def rendered():
    return {folder: look.render(KUBERNETES / folder) for folder in (*OVERLAYS, *JOBS)}


@pytest.fixture(scope="module")
def secrets():
    """What overlays/local/secrets.sh makes."""
    script = KUBERNETES / "overlays" / "local" / "secrets.sh"
    if not shutil.which("kubectl"):
        pytest.skip("there is no kubectl")
    reply = subprocess.run(["sh", script, "--dry-run=client", "-o", "yaml"], capture_output=True, text=True)
    assert reply.returncode == 0, reply.stderr
    return list(yaml.safe_load_all(reply.stdout))


def whole(rendered, secrets, folder):
    """An overlay, with what it needs beside it."""
    return rendered[folder] + (secrets if folder == "overlays/local" else [])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", [*OVERLAYS, *JOBS])
def test_clusters_and_operators_take_every_manifest(rendered, folder, version):
    assert len(rendered[folder]) >= (40 if folder in OVERLAYS else 1)
    assert [fault for one in rendered[folder] for fault in look.faults(one, version)] == []


@pytest.mark.parametrize("folder", OVERLAYS)
def test_every_name_is_somewhere(rendered, secrets, folder):
    assert look.dangling(whole(rendered, secrets, folder)) == []


@pytest.mark.parametrize("folder", JOBS)
def test_jobs_name_what_the_overlays_have(rendered, folder):
    mine = {look.title(one) for one in rendered["overlays/gpu"]}
    assert not mine & {look.title(one) for one in rendered[folder]}
    assert look.dangling(rendered["overlays/gpu"] + rendered[folder]) == []


@pytest.mark.parametrize("folder", [*OVERLAYS, *JOBS])
def test_no_pod_may_more_than_it_needs(rendered, folder):
    assert look.unguarded(rendered[folder]) == []


def test_secrets_are_new_each_time_and_nowhere_in_the_manifests(rendered, secrets):
    words = [value for secret in secrets for value in secret["data"].values()]
    assert len(set(words)) == len(words) == 7
    for folder in (*OVERLAYS, *JOBS):
        assert not [one for one in rendered[folder] if one["kind"] == "Secret"]


def test_no_secret_is_an_argument_or_left_on_the_disk(tmp_path):
    """Every list of processes shows those. By a kubectl that writes down what it is told and given."""
    kubectl, temporary = tmp_path / "kubectl", tmp_path / "temporary"
    temporary.mkdir()
    kubectl.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/arguments\n'
        f'for one in "$@"; do case "$one" in --from-file=*) cat "${{one#*=}}" >> {tmp_path}/given;; esac; done\n'
    )
    kubectl.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.defpath}", "TMPDIR": str(temporary)}
    subprocess.run(["sh", KUBERNETES / "overlays" / "local" / "secrets.sh"], env=env, check=True, capture_output=True)
    word = re.compile(r"[0-9a-f]{48}")
    assert len(set(word.findall((tmp_path / "given").read_text()))) == 7
    assert not word.search((tmp_path / "arguments").read_text()) and not list(temporary.iterdir())


@pytest.mark.parametrize(
    "kind, name, change, words",
    [
        ("Deployment", "serving", lambda d: d["spec"].update(replica=3), "replica"),
        ("Deployment", "serving", lambda d: _pod(d)["containers"][0].update(comand=["x"]), "comand"),
        ("NetworkPolicy", "prefect", lambda d: d["spec"].update(podselector={}), "podselector"),
        ("ServiceMonitor", "serving", lambda d: d["spec"]["endpoints"][0].update(intervall="1s"), "intervall"),
        ("ExternalSecret", "postgres", lambda d: d["spec"]["data"][0].pop("remoteRef"), "remoteRef"),
        ("SparkApplication", "frames-suspicious", lambda d: d["spec"].update(sparkversion="4"), "sparkversion"),
        ("SparkApplication", "frames-suspicious", lambda d: _spark_command(d), "comand"),
        ("MPIJob", "training-suspicious", lambda d: d["spec"].update(slotsPerWorker="1"), "slotsPerWorker"),
        ("ClusterTrainingRuntime", "sightline-horovod", lambda d: d["metadata"].update(namespace="x"), "False schema"),
        ("TrainJob", "training-suspicious", lambda d: d["spec"].pop("runtimeRef"), "runtimeRef"),
    ],
)
def test_a_broken_manifest_is_found_out(rendered, kind, name, change, words):
    one = _copy(rendered, kind, name)
    assert look.faults(one, VERSIONS[-1]) == []
    change(one)
    assert any(words in fault for fault in look.faults(one, VERSIONS[-1]))


@pytest.mark.parametrize(
    "kind, name, change, words",
    [
        ("ServiceAccount", "sightline-serving", None, "no ServiceAccount sightline-serving"),
        ("PersistentVolumeClaim", "sightline-workspace", None, "no PersistentVolumeClaim sightline-workspace"),
        ("ExternalSecret", "objects", None, "no Secret objects"),
        ("ConfigMap", "mlflow", None, "no ConfigMap mlflow"),
        ("Role", "sightline-flow", None, "no Role sightline-flow"),
        ("Deployment", "serving", None, "Service/serving: selects no pod"),
        ("Service", "postgres", None, "no Service postgres"),
        ("Service", "serving", lambda s: s["spec"]["ports"][0].update(targetPort="web"), "no pod has a port web"),
        ("Service", "serving", lambda s: s["metadata"]["labels"].clear(), "no service has a port http"),
        ("Deployment", "prefect", lambda d: _pod(d)["volumes"].pop(), "no volume temporary"),
        ("Deployment", "prefect", lambda d: _pod(d)["containers"][0]["ports"].clear(), "there is no port http"),
        ("HorizontalPodAutoscaler", "serving", lambda h: h["spec"]["scaleTargetRef"].update(name="x"), "Deployment x"),
        ("Deployment", "follower", lambda d: d["spec"]["selector"]["matchLabels"].update(a="b"), "other pods"),
    ],
)
def test_a_name_that_is_nowhere_is_found_out(rendered, kind, name, change, words):
    one = _copy(rendered, kind, name)
    others = [other for other in rendered["overlays/gpu"] if look.title(other) != look.title(one)]
    if change:
        change(one)
        others.append(one)
    assert any(words in found for found in look.dangling(others))


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda pod: pod["securityContext"].update(runAsUser=0), "may be root"),
        (lambda pod: pod["securityContext"].pop("seccompProfile"), "seccomp"),
        (lambda pod: pod.pop("automountServiceAccountToken"), "asks the API"),
        (lambda pod: pod["containers"][0]["securityContext"]["capabilities"].clear(), "keeps rights"),
        (lambda pod: pod["containers"][0]["securityContext"].pop("readOnlyRootFilesystem"), "may write"),
        (lambda pod: pod["containers"][0]["resources"].pop("limits"), "what it needs"),
        (lambda pod: pod["containers"][0].update(image="sightline/service:1"), "image sightline/service:1"),
        (lambda pod: pod["containers"][0].update(image="postgres:latest"), "no version"),
    ],
)
def test_a_pod_that_may_too_much_is_found_out(rendered, change, words):
    one = _copy(rendered, "Deployment", "serving")
    change(_pod(one))
    assert any(words in found for found in look.unguarded([one]))


@pytest.mark.parametrize(
    "source, target, port, open_",
    [
        (FLOW, "prefect", 4200, True),
        (FLOW, "mlflow", 5000, True),
        (FLOW, "pushgateway", 9091, True),
        (STAGE, "pushgateway", 9091, False),
        (STAGE, "mlflow", 5000, True),
        ({"app.kubernetes.io/name": "prefect"}, "postgres", 5432, True),
        ({"app.kubernetes.io/name": "mlflow"}, "postgres", 5432, True),
        ({"app.kubernetes.io/name": "mlflow"}, "objects", 8333, True),
        ({"app.kubernetes.io/name": "follower", "sightline/role": "follower"}, "mlflow", 5000, True),
        ({"app.kubernetes.io/name": "setup", "sightline/role": "setup"}, "prefect", 4200, True),
        ({"sightline/role": "job"}, "mlflow", 5000, True),
        (STAGE, "postgres", 5432, False),
        (STAGE, "objects", 8333, False),
        (STAGE, "prefect", 4200, False),
        (FLOW, "postgres", 5432, False),
        ({"app.kubernetes.io/name": "serving"}, "mlflow", 5000, False),
        ({"app.kubernetes.io/name": "mlflow"}, "prefect", 4200, False),
        ({}, "serving", 8080, False),
    ],
)
def test_who_reaches_whom(rendered, source, target, port, open_):
    labels = {"app.kubernetes.io/name": target}
    assert look.reached(rendered["overlays/gpu"], source, labels, port) is open_


def test_the_flow_and_the_worker_may_what_they_ask_and_no_more(rendered):
    """What flows/runners/kubernetes.py asks the API (create, read, delete Jobs; list and read pods, and their logs),
    and what Prefect's worker does (creates, watches and deletes Jobs, watches pods)."""
    rules = {one["metadata"]["name"]: one["rules"] for one in rendered["overlays/gpu"] if one["kind"] == "Role"}
    may = {name: {r: set(rule["verbs"]) for rule in given for r in rule["resources"]} for name, given in rules.items()}
    assert may == {
        "sightline-flow": {"jobs": {"create", "get", "delete"}, "pods": {"get", "list"}, "pods/log": {"get"}},
        "sightline-worker": {
            "jobs": {"create", "get", "list", "watch", "delete"}, "pods": {"get", "list", "watch"}, "pods/log": {"get"},
        },
    }  # fmt: skip
    assert not [one for one in rendered["overlays/gpu"] if one["kind"].startswith("ClusterRole")]
    asks = {t["spec"]["serviceAccountName"] for one in rendered["overlays/gpu"] for _, t in look.pod_templates(one)
            if t["spec"]["automountServiceAccountToken"]}  # fmt: skip
    assert asks == {"sightline-worker"}


def test_prefect_makes_a_flows_job_of_the_work_pool(rendered):
    """By Prefect's own code, which fills the template in: a Job that the cluster takes, with names that are there."""
    job = _flow_job(rendered["overlays/gpu"])
    pod = job["spec"]["template"]["spec"]
    for word in ("parallelism", "completions"):  # Prefect wants them there; the API overlooks them
        pod.pop(word)
    job["metadata"]["name"] = "flow"
    rest = [one for one in rendered["overlays/gpu"] if look.title(one) != "Job/flow"]
    assert [look.faults(job, version) for version in VERSIONS] == [[], []]
    assert look.dangling([*rest, job]) == [] and look.unguarded([job]) == []
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert labels["sightline/role"] == "flow"
    container = pod["containers"][0]
    assert container["args"] == ["prefect", "flow-run", "execute"] and pod["serviceAccountName"] == "sightline-flow"
    assert {"name": "SIGHTLINE_NIGHT", "value": "1"} in container["env"]


def test_a_stages_pod_names_what_the_overlays_have(rendered, tmp_path, monkeypatch):
    """The Job that the flow makes in its pod, with the settings of the ConfigMap."""
    for overlay, gpu in (("overlays/local", False), ("overlays/gpu", True)):
        for name, value in _settings(rendered[overlay]).items():
            monkeypatch.setenv(name, value)
        for stage in ("ingest", "training", "promotion"):
            job = kubernetes.manifest(["python", "-m", f"components.{stage}"], f"{stage}@digits", needs(stage))
            assert [look.faults(job, version) for version in VERSIONS] == [[], []]
            there = rendered[overlay] + _made(rendered[overlay])
            assert look.dangling([*there, job]) == [] and look.unguarded([job]) == []
            (container,), pod = _pod(job)["containers"], _pod(job)
            assert container["workingDir"] == "/workspace"
            assert ("nvidia.com/gpu" in container["resources"]["limits"]) == (gpu and stage == "training")
            assert pod.get("nodeSelector") == (
                {"nvidia.com/gpu.present": "true"} if gpu and stage == "training" else None
            )
            assert ("tolerations" in pod) == (gpu and stage == "training")
        monkeypatch.undo()


@pytest.mark.parametrize("told", ["gpu", "=true", "gpu="])
def test_labels_of_gpu_nodes_that_are_none_are_refused(tmp_path, monkeypatch, told):
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path))
    monkeypatch.setenv(kubernetes.GPU_NODES, told)
    with pytest.raises(SightlineError, match="is no KEY=VALUE"):
        kubernetes.manifest(["python"], "training@digits", needs("training"))


def test_a_slice_of_a_gpu_bears_the_taint_of_its_node(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path))
    monkeypatch.setenv(kubernetes.GPU, "nvidia.com/mig-1g.10gb")
    pod = _pod(kubernetes.manifest(["python"], "training@digits", needs("training")))
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/mig-1g.10gb"] == "1"
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_jobs_ask_for_what_the_stages_need(rendered):
    training = needs("training")
    for folder in ("jobs/mpi", "jobs/trainer"):
        workers = [c for one in rendered[folder] for where, t in look.pod_templates(one) for c in look.containers(t)
                   if where in ("Worker", "node")]  # fmt: skip
        assert [c["resources"]["requests"] for c in workers] == [
            {"cpu": f"{training.cpus:g}", "memory": f"{int(training.memory_gb * 1000)}M"}
        ]


def test_a_node_that_fails_is_not_the_end_of_elastic_training(rendered):
    """What ended is begun again under the same name, however often a long training needs it."""
    mpi = _copy(rendered, "MPIJob", "training-suspicious")["spec"]
    assert mpi["mpiReplicaSpecs"]["Worker"]["restartPolicy"] == "OnFailure"
    runtime = _copy(rendered, "ClusterTrainingRuntime", "sightline-horovod")["spec"]["template"]["spec"]
    (node,) = [job["template"]["spec"] for job in runtime["replicatedJobs"] if job["name"] == "node"]
    assert node["backoffLimit"] >= 100
    assert node["template"]["spec"]["restartPolicy"] == "Never"  # a new pod, which may be put on another machine


def test_time_slicing_is_the_device_plugins(rendered):
    (one,) = [one for one in rendered["overlays/gpu"] if one["metadata"]["name"] == "sightline-time-slicing"]
    (text,) = one["data"].values()
    resources = yaml.safe_load(text)["sharing"]["timeSlicing"]["resources"]
    assert yaml.safe_load(text)["version"] == "v1" and resources == [{"name": "nvidia.com/gpu", "replicas": 4}]


@pytest.mark.slow
def test_checkov_finds_nothing(rendered, tmp_path):
    """Slow: checkov takes 15 s to start. It is not among the project's packages: its pins contradict theirs. A pod with
    a fault is looked at as well, which alone is to be found."""
    uv = Path(sys.executable).with_name("uv")
    checkov = shutil.which("checkov")
    command = [checkov] if checkov else [str(uv), "tool", "run", "--quiet", CHECKOV]
    if not checkov:
        if not uv.exists():
            pytest.skip("neither checkov nor uv is there")
        had = [str(uv), "tool", "run", "--quiet", "--from", CHECKOV, "python", "--version"]  # starts at once
        try:
            subprocess.run(had, capture_output=True, text=True, timeout=240, check=True)
        except subprocess.SubprocessError as error:
            pytest.skip(f"checkov cannot be had: {str(error.stderr or error).strip()[-200:]}")
    for folder, manifests in rendered.items():
        (tmp_path / folder.replace("/", "-")).with_suffix(".yaml").write_text(yaml.safe_dump_all(manifests))
    one = _copy(rendered, "Deployment", "serving")
    one["metadata"]["name"] = "faulty"
    _pod(one)["containers"][0]["securityContext"]["privileged"] = True
    (tmp_path / "faulty.yaml").write_text(yaml.safe_dump(one))
    command += ["--framework", "kubernetes", "--compact", "--quiet", "--skip-download", "--output", "json"]
    reply = subprocess.run([*command, "--directory", str(tmp_path)], capture_output=True, text=True, timeout=600)
    found = yaml.safe_load(reply.stdout)
    failed = [f"{one['resource']} {one['check_id']}" for one in found["results"]["failed_checks"]]
    assert failed == ["Deployment.sightline.faulty CKV_K8S_16"]
    assert found["summary"]["passed"] > 1000 and found["summary"]["parsing_errors"] == 0


@pytest.fixture(scope="module")
def engine():
    if os.geteuid() != 0:
        pytest.skip("only root can give a workspace to the group of the pods")
    try:
        client = docker.from_env()
        client.ping()
        try:
            client.images.get(BASE)
        except ImageNotFound:
            if not asked():
                raise
            client.images.pull(BASE)  # a build by BuildKit leaves it in the builder's own store
    except DockerException as error:
        absent(f"no Docker engine answers, or {BASE} is not there: {error}")
    return client


def test_a_stages_pod_is_run_by_a_container_engine(engine, tmp_path, monkeypatch):
    """The pod that the flow asks a cluster for, under its own limits and rights. The image is a bare Python: what
    counts here is what the pod lets a stage do."""
    root = tmp_path / "workspace"
    root.mkdir()
    (root / "stage.py").write_text(SAYS)
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(root))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    job = kubernetes.manifest(["python", "stage.py"], "validation@toy", needs("validation"))
    status, said = run_pod(engine, job, root)
    found = yaml.safe_load(said)
    assert status == 7, said
    assert found == {
        "user": [kubernetes.USER, kubernetes.USER], "groups": [kubernetes.USER], "capabilities": 0,
        "no_new_privileges": 1, "memory": 1_500_000_000, "written": ["/dev/shm", "/tmp", "workspace"],
        "refused": ["/etc", "/usr/local", "/var"], "cwd": "workspace", "home": "/tmp", "mlflow": "http://mlflow:5000",
    }  # fmt: skip
    assert (root / "trial").stat().st_uid == kubernetes.USER


@pytest.mark.slow
def test_a_real_stage_runs_in_its_pod_with_the_projects_image(engine, tmp_path, monkeypatch):
    """Slow: ingest of twelve pictures, by Spark, within the memory that flows/stages.yaml gives it; and the same stage
    as a process here: the same catalog, byte for byte."""
    try:
        engine.images.get(image("spark"))
    except DockerException:
        absent(f"there is no image {image('spark')} (make images)")
    monkeypatch.delenv("SIGHTLINE_MIRROR", raising=False)
    command, digests = ["python", "-m", "components.ingest", "--recipe", RECIPE], []
    for place in ("pod", "here"):
        root = make_recipe(tmp_path / place, source="pictures", task={"classes": ["a", "b"]})
        shutil.copytree(ROOT / "components", root / "components", ignore=shutil.ignore_patterns("__pycache__"))
        for number in range(12):
            folder = root / "pictures" / "ab"[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(number, 96, 64)).save(folder / f"{number}.png")
        monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(root))
        if place == "pod":
            status, said = run_pod(
                engine, kubernetes.manifest(command, f"ingest@{RECIPE}", needs("ingest")), root, True
            )
            assert status == 0, said
        else:
            env = os.environ | {"PYTHONPATH": str(root)}
            reply = subprocess.run([sys.executable, *command[1:]], cwd=root, env=env, capture_output=True, text=True)
            assert reply.returncode == 0, reply.stderr
        digests.append(tree_sha256(root / "data" / RECIPE / "catalog"))
    assert digests[0] == digests[1]


def run_pod(engine, job, root, own=False):
    """(exit code, output) of a Job's container, run as a kubelet would have it; of its `own` image, or a bare one."""
    pod = _pod(job)
    (container,), guard = pod["containers"], pod["securityContext"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    binds, memory = {}, {}
    for volume in pod["volumes"]:
        if "persistentVolumeClaim" in volume:
            binds[str(root)] = {"bind": mounts[volume["name"]], "mode": "rw"}
        else:
            size = volume["emptyDir"].get("sizeLimit", "1Gi").replace("Mi", "m").replace("Gi", "g")
            memory[mounts[volume["name"]]] = f"exec,size={size},mode=1777"
    for path in (root, *root.rglob("*")):  # as fsGroup has it done
        os.chown(path, -1, guard["fsGroup"])
        path.chmod(path.stat().st_mode | (0o2070 if path.is_dir() else 0o060))
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    running = engine.containers.create(
        container["image"] if own else BASE,
        container["command"],
        working_dir=container["workingDir"],
        environment={one["name"]: one["value"] for one in container["env"]},
        user=f"{guard['runAsUser']}:{guard['runAsGroup']}",
        group_add=[guard["fsGroup"]],
        read_only=container["securityContext"]["readOnlyRootFilesystem"],
        cap_drop=["ALL"],
        security_opt=[] if container["securityContext"]["allowPrivilegeEscalation"] else ["no-new-privileges"],
        mem_limit=int(container["resources"]["limits"]["memory"].removesuffix("M")) * 1_000_000,
        volumes=binds,
        tmpfs=memory,
        network_mode="none",
        labels={"sightline-test": "pod"},
    )
    try:
        running.start()
        return running.wait(timeout=300)["StatusCode"], running.logs().decode()
    finally:
        try:
            running.remove(force=True)
        except NotFound:
            pass


SAYS = """
import json, os, pathlib, re

def tries(folder):
    try:
        pathlib.Path(folder, "trial").write_text("x")
        return True
    except OSError:
        return False

root = os.environ["SIGHTLINE_WORKSPACE"]
places = {folder: folder for folder in ("/tmp", "/dev/shm", "/etc", "/usr/local", "/var")} | {root: "workspace"}
done = {name: tries(folder) for folder, name in places.items()}
status = dict(re.findall(r"(\\w+):\\s*(\\S+)", open("/proc/self/status").read()))
limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
limit = next(int(open(path).read()) for path in limits if os.path.exists(path))
print(json.dumps({
    "user": [os.getuid(), os.getgid()], "groups": sorted(set(os.getgroups())),
    "capabilities": int(status["CapEff"], 16),
    "no_new_privileges": int(status["NoNewPrivs"]), "memory": round(limit, -8),
    "written": sorted(name for name, able in done.items() if able),
    "refused": sorted(name for name, able in done.items() if not able),
    "cwd": places.get(os.getcwd()), "home": os.environ["HOME"], "mlflow": os.environ["MLFLOW_TRACKING_URI"],
}), flush=True)
raise SystemExit(7)
"""


def _pod(one):
    return one["spec"]["template"]["spec"]


def _copy(rendered, kind, name):
    everything = [one for folder in ("overlays/gpu", *JOBS) for one in rendered[folder]]
    return copy.deepcopy(next(one for one in everything if look.title(one) == f"{kind}/{name}"))


def _spark_command(one):
    one["spec"]["driver"]["template"]["spec"]["containers"][0]["comand"] = ["x"]


def _settings(manifests):
    return next(one for one in manifests if look.title(one) == "ConfigMap/sightline")["data"]


def _made(manifests):
    """Secrets that something else makes: what the pods of an overlay name and the overlay does not have."""
    missing = [found.rpartition(" ")[2] for found in look.dangling(manifests) if "there is no Secret" in found]
    return [{"kind": "Secret", "metadata": {"name": name}} for name in missing]


def _flow_job(manifests):
    (pool,) = [one for one in manifests if one["metadata"]["name"].startswith("work-pool")]
    template = yaml.safe_load(pool["data"]["work-pool.json"])

    async def fill():
        values = {"env": {"SIGHTLINE_NIGHT": "1"}}
        return await KubernetesWorkerJobConfiguration.from_template_and_values(template, values)

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):  # named, so that none is started; never asked
        job = asyncio.run(fill())
    job.prepare_for_flow_run(FlowRun(id=uuid.uuid4(), flow_id=uuid.uuid4(), name="quick-fox"))
    return job.job_manifest
