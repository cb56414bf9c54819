"""A real Spark standalone cluster on loopback: one master, workers of one core each, every one a process of its own."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyspark

from components.core.java import java_home
from tests.flows.toy import free_port


class Cluster:
    """`master` is what SPARK_MASTER is set to; `workers` are the processes, in the order in which they started."""

    def __init__(self, root: Path):
        self.root, self.workers = root, []
        self._port, self._page = free_port(), free_port()
        self.master = f"spark://127.0.0.1:{self._port}"
        self._master = self._start(
            "master.Master", "--host", "127.0.0.1", "--port", str(self._port), "--webui-port", str(self._page)
        )

    def add_worker(self) -> subprocess.Popen:
        """Starts one more worker and waits until the master knows it."""
        known = len(self.state()["workers"])
        worker = self._start(
            "worker.Worker", "--host", "127.0.0.1", "--cores", "1", "--memory", "2g", "--webui-port", "0",
            "--work-dir", str(self.root / f"work{len(self.workers)}"), self.master,
        )  # fmt: skip
        self.workers.append(worker)
        self.wait(lambda: len(self.state()["workers"]) > known)
        return worker

    def state(self) -> dict:
        """What the master says of itself: `workers`, `activeapps` and so on."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._page}/json/", timeout=30) as answer:
            return json.load(answer)

    def wait(self, condition, seconds: float = 60) -> None:
        """Returns once `condition()` is true; a master that does not answer yet counts as false."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(OSError, ValueError):
                if condition():
                    return
            time.sleep(0.1)
        raise AssertionError(f"not within {seconds} s; logs in {self.root}")

    def stop(self) -> None:
        """Ends every process of the cluster that still runs."""
        for process in [*self.workers, self._master]:
            if process.poll() is None:
                process.terminate()
        for process in [*self.workers, self._master]:
            process.wait(30)

    def _start(self, name: str, *arguments: str) -> subprocess.Popen:
        environment = os.environ | {
            "JAVA_HOME": str(java_home()), "SPARK_HOME": str(Path(pyspark.__file__).parent),
            "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m", "SPARK_NO_DAEMONIZE": "1",
            "PYSPARK_PYTHON": sys.executable,
        }  # fmt: skip
        command = [f"{environment['SPARK_HOME']}/bin/spark-class", f"org.apache.spark.deploy.{name}", *arguments]
        log = (self.root / f"{name}.{len(self.workers)}.log").open("w")
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.root)


@contextmanager
def standalone(root: Path, workers: int = 2) -> Iterator[Cluster]:
    """A running cluster, its files below `root`; ended on leaving."""
    root.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(root)
    try:
        cluster.wait(lambda: cluster.state() is not None)
        for _ in range(workers):
            cluster.add_worker()
        yield cluster
    finally:
        cluster.stop()
