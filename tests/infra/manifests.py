"""Manifests looked at as a cluster would: rendered, held to the API's schemas, and every name that they name looked up.

Each check returns what is wrong, a line each, so that a test can show that it finds something.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "infra" / "kubernetes"
OVERLAYS = ("overlays/local", "overlays/gpu")
JOBS = ("jobs/spark", "jobs/mpi", "jobs/trainer")
VERSIONS = ("1.32", "1.37")  # of Kubernetes: the oldest and the newest that the manifests are for
SCHEMAS = KUBERNETES / "schemas"
IMAGES = {"spark", "train", "serve", "edge", "flows"}  # the project's own, sightline/NAME
Manifest = dict[str, Any]


def render(folder: Path) -> list[Manifest]:
    """What `kubectl kustomize` makes of a folder; skips the test where there is no kubectl."""
    kubectl = shutil.which("kubectl")
    if not kubectl:
        pytest.skip("there is no kubectl")
    reply = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True)
    assert reply.returncode == 0, reply.stderr
    return [document for document in yaml.safe_load_all(reply.stdout) if document]


def title(manifest: Manifest) -> str:
    """Kind and name."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def faults(manifest: Manifest, version: str) -> list[str]:
    """What a cluster of this version, or the operator whose kind it is, would refuse; unknown fields too."""
    found = []
    schema = SCHEMAS / f"{manifest['kind']}.yaml"
    if schema.is_file():
        validator = jsonschema.Draft202012Validator(yaml.safe_load(schema.read_text()))
        found += [f"{'.'.join(map(str, e.path))}: {e.message}" for e in validator.iter_errors(manifest)]
    else:
        found += _core(manifest, version)
    for _, template in pod_templates(manifest):
        whole = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": template}
        found += _core(whole, version)
    return [f"{title(manifest)}: {one}" for one in found]


def _core(manifest: Manifest, version: str) -> list[str]:
    try:
        kubernetes_validate.validate(manifest, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'.'.join(map(str, error.path))}: {error.message}"]
    except kubernetes_validate.SchemaNotFoundError as error:
        return [f"no schema: {error.message}"]
    return []


def pod_templates(manifest: Manifest) -> Iterator[tuple[str, Manifest]]:
    """(where it stands, the template) of every pod that the manifest has made."""
    spec = manifest.get("spec", {})
    match manifest["kind"]:
        case "Deployment" | "StatefulSet" | "Job":
            yield "template", spec["template"]
        case "MPIJob":
            for name, replica in spec["mpiReplicaSpecs"].items():
                yield name, replica["template"]
        case "ClusterTrainingRuntime":
            for job in spec["template"]["spec"]["replicatedJobs"]:
                yield job["name"], job["template"]["spec"]["template"]
        case "SparkApplication":
            for role in ("driver", "executor"):
                pod = spec[role]
                template = {"metadata": {"labels": pod.get("labels", {}) | {"spark-role": role}}}
                template["spec"] = dict(pod["template"]["spec"])
                containers = [dict(one, image=spec["image"]) for one in template["spec"]["containers"]]
                account = {"serviceAccountName": pod["serviceAccount"]} if "serviceAccount" in pod else {}
                yield role, template | {"spec": template["spec"] | {"containers": containers} | account}


def containers(template: Manifest) -> list[Manifest]:
    """Those of a pod, those that run first among them."""
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def dangling(manifests: list[Manifest]) -> list[str]:
    """Names that a manifest names and that are nowhere, volumes that are not there, selectors that select nothing."""
    there = {(one["kind"], one["metadata"]["name"]) for one in manifests}
    there |= {("Secret", one["spec"]["target"]["name"]) for one in manifests if one["kind"] == "ExternalSecret"}
    there |= {("ServiceAccount", "default")}
    pods = [(title(one), template) for one in manifests for _, template in pod_templates(one)]
    found = []

    def need(who: str, kind: str, name: str) -> None:
        if (kind, name) not in there:
            found.append(f"{who}: there is no {kind} {name}")

    for who, template in pods:
        spec = template["spec"]
        need(who, "ServiceAccount", spec.get("serviceAccountName", "default"))
        own = {volume["name"] for volume in spec.get("volumes", [])}
        for volume in spec.get("volumes", []):
            for key, kind, name in (("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName"),
                                    ("persistentVolumeClaim", "PersistentVolumeClaim", "claimName")):  # fmt: skip
                if key in volume:
                    need(who, kind, volume[key][name])
        for container in containers(template):
            found += _inside(who, container, own | _claimed(manifests, who))
            for source in container.get("envFrom", []):
                need(who, "ConfigMap", source["configMapRef"]["name"])
    for one in manifests:
        found += _of_one(one, manifests, [template for _, template in pods], need)
    return found


def _claimed(manifests: list[Manifest], who: str) -> set[str]:
    (owner,) = [one for one in manifests if title(one) == who]
    return {claim["metadata"]["name"] for claim in owner["spec"].get("volumeClaimTemplates", [])}


def _inside(who: str, container: Manifest, volumes: set[str]) -> list[str]:
    found = []
    for mount in container.get("volumeMounts", []):
        if mount["name"] not in volumes:
            found.append(f"{who}: there is no volume {mount['name']}")
    ports = {port["name"] for port in container.get("ports", [])}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        for action in ("httpGet", "tcpSocket"):
            port = container.get(probe, {}).get(action, {}).get("port")
            if port is not None and port not in ports:
                found.append(f"{who}: {probe}: there is no port {port}")
    return found


def _of_one(one: Manifest, manifests: list[Manifest], pods: list[Manifest], need) -> list[str]:
    who, spec, found = title(one), one.get("spec", {}), []
    if one["kind"] in ("Deployment", "StatefulSet"):
        if not _selects(spec["selector"], spec["template"]["metadata"]["labels"]):
            found.append(f"{who}: selects other pods than its own")
    if one["kind"] == "StatefulSet":
        need(who, "Service", spec["serviceName"])
    if one["kind"] == "Service":
        chosen = [pod for pod in pods if _selects({"matchLabels": spec["selector"]}, pod["metadata"]["labels"])]
        if not chosen:
            found.append(f"{who}: selects no pod")
        named = {port["name"] for pod in chosen for container in containers(pod) for port in container.get("ports", [])}
        found += [f"{who}: no pod has a port {p['targetPort']}" for p in spec["ports"] if p["targetPort"] not in named]
    if one["kind"] == "PodDisruptionBudget" and not _any(spec["selector"], pods):
        found.append(f"{who}: selects no pod")
    if one["kind"] == "HorizontalPodAutoscaler":
        need(who, spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"])
    if one["kind"] == "RoleBinding":
        need(who, one["roleRef"]["kind"], one["roleRef"]["name"])
        for subject in one["subjects"]:
            need(who, subject["kind"], subject["name"])
    if one["kind"] == "ExternalSecret":
        need(who, spec["secretStoreRef"]["kind"], spec["secretStoreRef"]["name"])
    if one["kind"] == "SecretStore":
        need(who, "ServiceAccount", spec["provider"]["vault"]["auth"]["kubernetes"]["serviceAccountRef"]["name"])
    if one["kind"] == "TrainJob":
        need(who, spec["runtimeRef"]["kind"], spec["runtimeRef"]["name"])
    if one["kind"] == "ServiceMonitor":
        services = [
            s
            for s in manifests
            if s["kind"] == "Service" and _selects(spec["selector"], s["metadata"].get("labels", {}))
        ]
        ports = {port["name"] for service in services for port in service["spec"]["ports"]}
        found += [f"{who}: no service has a port {e['port']}" for e in spec["endpoints"] if e["port"] not in ports]
        for endpoint in spec["endpoints"]:
            if "authorization" in endpoint:
                need(who, "Secret", endpoint["authorization"]["credentials"]["name"])
    return found


def _any(selector: Manifest, pods: list[Manifest]) -> bool:
    return any(_selects(selector, pod["metadata"]["labels"]) for pod in pods)


def _selects(selector: Manifest, labels: dict[str, str]) -> bool:
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for one in selector.get("matchExpressions", []):
        value = labels.get(one["key"])
        if one["operator"] == "Exists" and value is None or one["operator"] == "In" and value not in one["values"]:
            return False
    return True


def unguarded(manifests: list[Manifest]) -> list[str]:
    """Pods that may do more than they need: as root, with capabilities, without limits, with an unknown image."""
    found = []
    for one in manifests:
        for where, template in pod_templates(one):
            who, pod = f"{title(one)} {where}", template["spec"].get("securityContext", {})
            if not pod.get("runAsNonRoot") or pod.get("runAsUser", 0) < 10000:
                found.append(f"{who}: may be root, or a user of the node's")
            if pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
                found.append(f"{who}: no seccomp profile")
            if "automountServiceAccountToken" not in template["spec"]:
                found.append(f"{who}: does not say whether it asks the API anything")
            for container in containers(template):
                guard = container.get("securityContext", {})
                if guard.get("allowPrivilegeEscalation") is not False or guard.get("capabilities") != {"drop": ["ALL"]}:
                    found.append(f"{who}: {container['name']} keeps rights")
                if not guard.get("readOnlyRootFilesystem"):
                    found.append(f"{who}: {container['name']} may write its image's files")
                resources = container.get("resources", {})
                if one["kind"] != "SparkApplication" and not (
                    {"cpu", "memory"} <= set(resources.get("requests", {})) and "memory" in resources.get("limits", {})
                ):
                    found.append(f"{who}: {container['name']} says not what it needs")
                name, _, tag = container["image"].partition(":")
                if not tag or name.startswith("sightline/") and name.removeprefix("sightline/") not in IMAGES:
                    found.append(f"{who}: image {container['image']}")
                elif not name.startswith("sightline/") and not re.search(r"\d", tag):
                    found.append(f"{who}: image {container['image']} has no version")
    return found


def reached(manifests: list[Manifest], source: dict[str, str], target: dict[str, str], port: int) -> bool:
    """Whether the policies let pods with the labels `source` ask those with `target` at a TCP port."""
    policies = [one["spec"] for one in manifests if one["kind"] == "NetworkPolicy"]
    out = [p for p in policies if "Egress" in p["policyTypes"] and _selects(p["podSelector"], source)]
    into = [p for p in policies if "Ingress" in p["policyTypes"] and _selects(p["podSelector"], target)]
    leaves = not out or any(_lets(rule, "to", target, port) for p in out for rule in p.get("egress", []))
    enters = not into or any(_lets(rule, "from", source, port) for p in into for rule in p.get("ingress", []))
    return leaves and enters


def _lets(rule: Manifest, side: str, other: dict[str, str], port: int) -> bool:
    if "ports" in rule and not any(p["protocol"] == "TCP" and p["port"] == port for p in rule["ports"]):
        return False
    return any("podSelector" in peer and _selects(peer["podSelector"], other) for peer in rule.get(side, []))
