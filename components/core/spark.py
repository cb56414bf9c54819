"""Spark for the data-parallel work: one session per stage, the same code on a laptop and on a cluster."""

import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.core import paths
from components.core.errors import SightlineError, TransientError
from components.core.java import java_home
from components.core.progress import progress

MASTER = "SPARK_MASTER"
# What Spark says where not the work failed but who did it.
LOST = re.compile(
    r"ExecutorLostFailure|Python worker exited unexpectedly|SparkContext was shut down|All masters are unresponsive"
    r"|FetchFailed|Answer from Java side is empty|errors\.TransientError"
)


@contextmanager
def spark_session(name: str, cores: int | None = None) -> Iterator[Any]:
    """Yields a SparkSession: SPARK_MASTER where it is set, else this machine's cores (at most `cores`)."""
    os.environ["JAVA_HOME"] = str(java_home())
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread per Python worker: the cores are Spark's to give
    os.environ.setdefault("SPARK_CONF_DIR", str(Path(__file__).with_name("spark_conf")))
    master = os.environ.get(MASTER) or f"local[{cores or os.cpu_count()}]"
    if master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    from pyspark.sql import SparkSession

    local = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        # The work is done by the Python workers: a JVM that optimises less starts on half the CPU time (14 s -> 8 s).
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    }
    builder = SparkSession.builder.appName(f"sightline-{name}").master(master)
    options = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.memory": os.environ.get("SIGHTLINE_SPARK_MEMORY", "1g"),
        "spark.local.dir": str(paths.state("spark")),
        "spark.sql.warehouse.dir": str(paths.state("spark", "warehouse")),
        "spark.executorEnv.OMP_NUM_THREADS": "1",
        **{f"spark.executorEnv.{name}": value for name, value in _for_workers().items()},
        "spark.python.worker.reuse": "true",
        **(local if master.startswith("local") else {}),
    }
    for key, value in options.items():
        builder = builder.config(key, value)
    paths.state("spark").mkdir(parents=True, exist_ok=True)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    try:
        yield session
    finally:
        session.stop()


def _for_workers() -> dict[str, str]:
    """What workers elsewhere must know too: where the workspace, its mirror and caches lie on the shared disk."""
    told = {name: value for name, value in os.environ.items() if name.startswith("SIGHTLINE_")}
    return told | {"SIGHTLINE_WORKSPACE": str(paths.workspace())}


def map_items(
    session, items: list[dict], work: Callable[[dict], dict], label: str, unit: str, weight: str | None = None
) -> list[dict]:
    """`work(item)` for every item on Spark's workers; results in the order of `items`.

    An RDD, not a DataFrame: there is nothing to query, and Spark SQL's own start takes four seconds of every stage.
    Items and results are JSON-able. `work` is a module-level function that may be run again for the same item (a
    lost worker's tasks are repeated), so its side effects are files that appear whole. `weight` names the item's
    field by which the heaviest are started first. Raises SightlineError where `work` raised, TransientError
    where the workers were lost.
    """
    if not items:
        return []
    order = sorted(range(len(items)), key=lambda i: -float(items[i][weight]) if weight else i)
    rows = [(index, json.dumps(items[index])) for index in order]
    context = session.sparkContext
    partitions = min(len(rows), max(64, 16 * context.defaultParallelism))
    spread = context.parallelize(rows, partitions).map(_worker(work))
    with progress(label, len(items), unit) as ticker, _watched(context, ticker, len(items)):
        try:
            done = spread.collect()
        except Exception as error:
            kind = TransientError if LOST.search(str(error)) else SightlineError
            raise kind(f"{label}: {_cause(error)}", "see the stage's log; the work done so far is kept") from error
    return [json.loads(result) for _, result in sorted(done)]


def task_cores() -> int:
    """The cores that Spark gives one task; 1 outside of a task. For its workers."""
    from pyspark import TaskContext

    context = TaskContext.get()
    return context.cpus() if context else 1


def _worker(work: Callable[[dict], dict]) -> Callable[[tuple[int, str]], tuple[int, str]]:
    return lambda row: (row[0], json.dumps(work(json.loads(row[1]))))


@contextmanager
def _watched(context, ticker, total: int) -> Iterator[None]:
    """Moves `ticker` with the share of the running job's tasks that are complete."""
    stop = threading.Event()

    def watch():
        tracker = context.statusTracker()
        while not stop.wait(0.5):
            stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
            done = sum(info.numCompletedTasks for info in stages if info)
            tasks = sum(info.numTasks for info in stages if info)
            if tasks:
                ticker.update(total * done // tasks)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
        ticker.update(total)
    finally:
        stop.set()
        thread.join()


def _cause(error: Exception) -> str:
    """The last line of a Python worker's traceback inside Spark's error, else the error's first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    raised = [line for line in lines if "Error: " in line and not line.startswith(("at ", "org.", "Caused"))]
    return raised[-1] if raised else (lines[0] if lines else repr(error))
