"""A stage as a Kubernetes Job: the workspace on a shared volume, the stage's share of a node as the pod's resources."""

import asyncio
import os
import sys
from contextlib import suppress
from typing import Any

import aiohttp
from kubernetes_asyncio import client, config
from kubernetes_asyncio.client.exceptions import ApiException

from components.core import paths
from components.core.errors import SightlineError, TransientError
from flows.needs import Needs
from flows.runners.elsewhere import container_name, image, passed_on

NAMESPACE = "SIGHTLINE_KUBERNETES_NAMESPACE"
CLAIM = "SIGHTLINE_KUBERNETES_CLAIM"  # the PersistentVolumeClaim (ReadWriteMany) with the workspace
GPU = "SIGHTLINE_KUBERNETES_GPU"  # the resource that a GPU is asked for by; empty: the cluster has none
GPU_NODES = "SIGHTLINE_KUBERNETES_GPU_NODES"  # KEY=VALUE,...: labels of the nodes where stages with GPUs are put
USER = 10001  # of the images
KEPT_S = 3600  # a finished Job, for whoever wants to look at it
POLL_S = 1.0
START_S = 1800.0  # for a node, and for an image to be pulled
CONTAINER = "stage"


def manifest(command: list[str], stage: str, needed: Needs) -> dict[str, Any]:
    """The batch/v1 Job of one attempt. It never retries by itself: retries are the flow's."""
    root, name = str(paths.workspace()), container_name(stage)
    recipe = stage.partition("@")[2] or "none"
    labels = {"app.kubernetes.io/name": "sightline", "app.kubernetes.io/component": stage.partition("@")[0]}
    labels |= {"sightline/recipe": recipe, "app.kubernetes.io/instance": name}
    limits = {"memory": f"{int(needed.memory_gb * 1000)}M"}
    gpu = os.environ.get(GPU, "nvidia.com/gpu") if needed.gpus else ""
    if gpu:
        limits[gpu] = str(needed.gpus)
    container = {
        "name": CONTAINER,
        "image": image(needed.image),
        "command": command,
        "workingDir": root,
        "env": [{"name": key, "value": value} for key, value in sorted((passed_on() | {"HOME": "/tmp"}).items())],
        "resources": {"requests": {"cpu": f"{needed.cpus:g}", "memory": limits["memory"]}, "limits": limits},
        "volumeMounts": [
            {"name": "workspace", "mountPath": root},
            {"name": "temporary", "mountPath": "/tmp"},
            {"name": "shared-memory", "mountPath": "/dev/shm"},
        ],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "restartPolicy": "Never",
        "serviceAccountName": "sightline-stage",
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "workspace", "persistentVolumeClaim": {"claimName": os.environ.get(CLAIM, "sightline-workspace")}},
            {"name": "temporary", "emptyDir": {}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "512Mi"}},
        ],
    }
    if gpu:
        pod |= _on_gpu_nodes(gpu)
    spec: dict[str, Any] = {
        "backoffLimit": 0,
        "ttlSecondsAfterFinished": KEPT_S,
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    if needed.timeout_s:
        spec["activeDeadlineSeconds"] = int(needed.timeout_s)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace(), "labels": labels},
        "spec": spec,
    }


def _on_gpu_nodes(gpu: str) -> dict[str, Any]:
    """Of a pod: the nodes that it asks for, and that it bears their taint, which is named as the resource is."""
    told = [pair for pair in os.environ.get(GPU_NODES, "").split(",") if pair]
    if wrong := [pair for pair in told if not all(pair.partition("="))]:
        raise SightlineError(f"{GPU_NODES}: {wrong[0]!r} is no KEY=VALUE", "for example nvidia.com/gpu.present=true")
    taint = f"{gpu.partition('/')[0]}/gpu" if "/" in gpu else gpu  # a slice's node (nvidia.com/mig-...) too
    selected = {"nodeSelector": dict(pair.split("=", 1) for pair in told)} if told else {}
    return selected | {"tolerations": [{"key": taint, "operator": "Exists", "effect": "NoSchedule"}]}


def namespace() -> str:
    """Where Jobs are made."""
    return os.environ.get(NAMESPACE, "sightline")


def run(command: list[str], stage: str, needed: Needs) -> int:
    """Runs the command as a Job, its lines on stdout as they come; returns its exit code.

    Raises SightlineError where the cluster refuses the Job or its pod cannot start, TransientError where it does not
    answer or the pod was lost. Interrupted, it deletes the Job before it goes on.
    """
    return asyncio.run(_run(manifest(command, stage, needed), stage))


async def _run(job: dict[str, Any], stage: str) -> int:
    try:
        await _configure()
        async with client.ApiClient() as api:
            batch, core = client.BatchV1Api(api), client.CoreV1Api(api)
            name = job["metadata"]["name"]
            await _delete(batch, name)  # what a killed flow left of this stage
            await batch.create_namespaced_job(namespace(), job)
            try:
                pod = await _started(core, name, stage)
                await _logs(core, pod)
                return await _exit_code(core, pod, stage)
            finally:
                with suppress(ApiException, aiohttp.ClientError):  # how the stage ended counts, not how it was removed
                    await asyncio.shield(_delete(batch, name))
    except ApiException as error:
        answer = f"{stage}: Kubernetes answers {error.status} {error.reason}"
        if error.status in (429, 500, 502, 503, 504):
            raise TransientError(answer, "see the cluster") from None
        raise SightlineError(
            f"{answer}: {error.body}", f"see the rights and quotas of namespace {namespace()}"
        ) from None
    except (OSError, aiohttp.ClientError, config.ConfigException) as error:
        raise TransientError(
            f"{stage}: Kubernetes: {error}", "see that KUBECONFIG names a cluster that answers"
        ) from None


async def _configure() -> None:
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        config.load_incluster_config()
    else:
        await config.load_kube_config()


async def _started(core: client.CoreV1Api, name: str, stage: str) -> str:
    """The name of the Job's pod, once its container runs or has run. Raises SightlineError where it cannot start."""
    waited = 0.0
    while waited < START_S:
        pods = (await core.list_namespaced_pod(namespace(), label_selector=f"job-name={name}")).items
        for pod in pods:
            if pod.status.phase in ("Running", "Succeeded", "Failed"):
                return pod.metadata.name
            for status in pod.status.container_statuses or ():
                waiting = status.state.waiting
                if waiting and waiting.reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName"):
                    problem = f"{stage}: image {status.image}: {waiting.reason}: {waiting.message}"
                    raise SightlineError(problem, "push it, or name another: SIGHTLINE_IMAGES, SIGHTLINE_IMAGE_TAG")
                if waiting and waiting.reason in ("CreateContainerConfigError", "CreateContainerError"):
                    raise SightlineError(f"{stage}: {waiting.reason}: {waiting.message}", "correct what it names")
        await asyncio.sleep(POLL_S)
        waited += POLL_S
    raise SightlineError(f"{stage}: no node took its pod in {START_S:.0f} s", "see `kubectl describe pod` for why")


async def _logs(core: client.CoreV1Api, pod: str) -> None:
    reply = await core.read_namespaced_pod_log(
        pod, namespace(), container=CONTAINER, follow=True, _preload_content=False, _request_timeout=0
    )
    async with reply:
        if reply.status != 200:
            print(f"its log cannot be read: {reply.status} {await reply.text()}", file=sys.stderr)
            return
        try:
            async for block in reply.content.iter_any():
                sys.stdout.buffer.write(block)
                sys.stdout.buffer.flush()
        except aiohttp.ClientError as error:  # the pod goes on; its end is asked for next
            print(f"its log broke off: {error}", file=sys.stderr)


async def _exit_code(core: client.CoreV1Api, pod: str, stage: str) -> int:
    while True:
        try:
            status = (await core.read_namespaced_pod(pod, namespace())).status
        except ApiException as error:
            if error.status == 404:
                raise TransientError(f"{stage}: its pod {pod} is gone", "its node was lost or drained") from None
            raise
        for container in status.container_statuses or ():
            if ended := container.state.terminated:
                if ended.reason == "OOMKilled":
                    print(f"{stage}: out of memory: see flows/stages.yaml", file=sys.stderr)
                return ended.exit_code
        if status.phase == "Failed":  # evicted, say: the container never said how it ended
            raise TransientError(f"{stage}: its pod failed: {status.reason}: {status.message}", "it may pass")
        await asyncio.sleep(POLL_S)


async def _delete(batch: client.BatchV1Api, name: str) -> None:
    """Deletes the Job and its pods, and waits until the name is free."""
    try:
        await batch.delete_namespaced_job(name, namespace(), propagation_policy="Foreground")
        while True:
            await batch.read_namespaced_job(name, namespace())
            await asyncio.sleep(POLL_S)
    except ApiException as error:
        if error.status != 404:
            raise
