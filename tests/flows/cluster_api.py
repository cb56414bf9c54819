"""The part of the Kubernetes API that a Job needs, over HTTP; its kubelet runs the pod's command as a process here.

A cluster cannot run beside the tests; this speaks its protocol: create, list, watch by polling, follow the log, delete.
"""

import json
import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

JOBS = re.compile(r"/apis/batch/v1/namespaces/([^/]+)/jobs(?:/([^/?]+))?")
PODS = re.compile(r"/api/v1/namespaces/([^/]+)/pods(?:/([^/?]+))?(/log)?")


class Cluster:
    """Jobs by name, each with its pod's process. `trouble`: what befalls the next pod, see `Handler`."""

    def __init__(self):
        self.jobs: dict[str, dict] = {}
        self.made: list[dict] = []
        self.trouble: str | None = None
        self.guard = threading.Lock()

    def create(self, job: dict) -> None:
        name = job["metadata"]["name"]
        with self.guard:
            if name in self.jobs:
                raise FileExistsError(name)
            self.made.append(job)
            container = job["spec"]["template"]["spec"]["containers"][0]
            env = {one["name"]: one["value"] for one in container["env"]}
            env |= {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
            command = [sys.executable if word == "python" else word for word in container["command"]]
            process = None
            if self.trouble not in ("no image", "refused"):
                process = subprocess.Popen(
                    command, cwd=container["workingDir"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                    start_new_session=True,
                )  # fmt: skip
            self.jobs[name] = {"job": job, "process": process, "image": container["image"], "trouble": self.trouble}
            self.trouble = None

    def delete(self, name: str) -> None:
        with self.guard:
            entry = self.jobs.pop(name)
        if entry["process"]:
            with suppress(ProcessLookupError):
                os.killpg(entry["process"].pid, 9)
            entry["process"].wait()

    def pod(self, name: str) -> dict:
        entry = self.jobs[name]
        process, state, phase = entry["process"], {}, "Pending"
        if entry["trouble"] == "no image":
            state = {"waiting": {"reason": "ErrImagePull", "message": "not found"}}
        elif process.poll() is None:
            state, phase = {"running": {}}, "Running"
        else:
            code = process.returncode if process.returncode >= 0 else 128 - process.returncode
            state, phase = {"terminated": {"exitCode": code}}, "Succeeded" if code == 0 else "Failed"
        statuses = [{
            "name": "stage", "image": entry["image"], "imageID": "", "ready": False, "restartCount": 0, "state": state,
        }]  # fmt: skip
        status = {"phase": phase, "containerStatuses": statuses}
        if entry["trouble"] == "evicted" and phase != "Running":
            status = {"phase": "Failed", "reason": "Evicted", "message": "the node was low on memory"}
        return {"metadata": {"name": f"{name}-x"}, "status": status}


def _handler(cluster: Cluster) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args) -> None:
            pass

        def answer(self, code: int, body: dict) -> None:
            content = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if cluster.trouble == "refused":
                return self.answer(403, {"kind": "Status", "message": "exceeded quota"})
            if cluster.trouble == "busy":
                return self.answer(503, {"kind": "Status", "message": "try later"})
            try:
                cluster.create(job)
            except FileExistsError:
                return self.answer(409, {"kind": "Status", "message": "already exists"})
            self.answer(201, job)

        def do_DELETE(self) -> None:
            _, name = JOBS.match(self.path).groups()
            if name not in cluster.jobs:
                return self.answer(404, {"kind": "Status"})
            cluster.delete(name)
            self.answer(200, {"kind": "Status"})

        def do_GET(self) -> None:
            if found := JOBS.match(self.path):
                entry = cluster.jobs.get(found[2])
                return self.answer(200, entry["job"]) if entry else self.answer(404, {"kind": "Status"})
            _, pod, log = PODS.match(self.path).groups()
            if pod is None:
                return self.answer(200, {"items": [cluster.pod(name) for name in list(cluster.jobs)]})
            name = pod.removesuffix("-x")
            if name not in cluster.jobs:
                return self.answer(404, {"kind": "Status"})
            if not log:
                return self.answer(200, cluster.pod(name))
            self.send_response(200)
            self.end_headers()
            process = cluster.jobs[name]["process"]
            for line in process.stdout:
                self.wfile.write(line)
                self.wfile.flush()
            process.wait()

    return Handler


@contextmanager
def cluster(folder: Path):
    """Yields a running Cluster and the path of a kubeconfig that names it."""
    made = Cluster()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(made))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "users": [{"name": "test", "user": {}}],
    }  # fmt: skip
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    try:
        yield made, path
    finally:
        for name in list(made.jobs):
            made.delete(name)
        server.shutdown()
        server.server_close()
