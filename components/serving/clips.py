"""Clips: a video in, a job out. Each is scored by batch scoring in a process of its own, one after another.

A decoder that crashes, hangs or eats memory on a stranger's video costs that job only, and what a request waits for is
never behind a video: jobs run at the lowest priority. What they make lies in a temporary folder of the service, bounded
in number and time, and ends with it.
"""

import asyncio
import json
import math
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from components.core.distributed import die_with_parent
from components.serving.pictures import Refusal

MOST = 8  # jobs that are remembered; the oldest that ended makes room for another whose clip has arrived
LOOK_S = 60.0  # between two looks for jobs that ended too long ago
MEMORY_BYTES = 16 << 30  # of addresses that a job may have: the runtimes reserve far more than they use
FILE_BYTES = 2 << 30  # of one file that it makes
KEEP_S = 3600.0  # how long what a job made can be fetched
LONGEST_S = 3600.0  # one job
CLIP_BYTES = 200_000_000
QUEUED, RUNNING, DONE, FAILED = "queued", "running", "done", "failed"
ENDED = (DONE, FAILED)
PROGRESS = re.compile(r"scoring: (\d+)/(\d+) frames")
# What a job may make, as batch scoring calls it.
RESULTS = {
    "predictions": "predictions/*.parquet", "moments": "moments.csv", "boxes": "boxes/*.parquet",
    "tracks": "tracks/*.parquet", "mot": "mot/*.txt", "drawn": "drawn/*.mp4",
}  # fmt: skip
NO_JOB = "it has ended over an hour ago, made room for others, or never was"


@dataclass
class Job:
    """A clip and what becomes of it. `progress`: frames done and how many there are, None where nobody knows."""

    name: str
    folder: Path
    state: str = QUEUED
    progress: tuple[int, int] | None = None
    error: str | None = None
    summary: dict | None = None
    ended: float = math.inf
    process: asyncio.subprocess.Process | None = None

    @property
    def results(self) -> dict[str, Path]:
        """The files that it made, by their names in RESULTS; none before it is done."""
        found = {name: sorted((self.folder / "out").glob(pattern)) for name, pattern in RESULTS.items()}
        return {name: files[0] for name, files in found.items() if files} if self.state == DONE else {}


class Clips:
    """The jobs of one recipe. Of one event loop; `start` and `stop` frame its life.

    `turn`: held while a job runs, so that those who share it run one after another.
    """

    def __init__(
        self, recipe: str, deployed: Path, turn: asyncio.Lock | None = None, clip_bytes: int = CLIP_BYTES
    ):  # fmt: skip
        self.recipe, self.deployed, self.clip_bytes = recipe, deployed, clip_bytes
        self._turn = turn or asyncio.Lock()
        self._jobs: dict[str, Job] = {}  # the oldest first
        self._waiting: asyncio.Queue[Job] = asyncio.Queue()
        self._folder: Path | None = None
        self._worker: asyncio.Task | None = None

    def start(self) -> None:
        """Begins to work on jobs. The folder comes with the first: who takes no clips needs no disk."""
        self._worker = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Ends the job under way, and forgets all."""
        self._worker.cancel()
        with suppress(asyncio.CancelledError):
            await self._worker
        if self._folder:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def add(self, content: AsyncIterator[bytes]) -> Job:
        """A job for the clip whose bytes these are.

        Raises Refusal: 400 where there are none, 413 where they are too many, 429 where too many jobs wait, 503 where
        the disk does not take them.
        """
        self._forget_old()
        if sum(job.state not in ENDED for job in self._jobs.values()) >= MOST:
            raise Refusal(429, f"{MOST} clips are waiting", "ask again in a minute", "busy", 60)
        job = Job(uuid.uuid4().hex, Path())
        self._jobs[job.name] = job  # from here on it has its place
        try:
            await self._receive(job, content)
        except OSError as error:
            self._forget(job)
            why = error.strerror or str(error)
            raise Refusal(503, f"the clip cannot be kept: {why}", "see the service's disk", "no_room") from None
        except BaseException:
            self._forget(job)
            raise
        ended = [one for one in self._jobs.values() if one.state in ENDED]
        for one in ended[: max(0, len(self._jobs) - MOST)]:
            self._forget(one)
        self._waiting.put_nowait(job)
        return job

    def job(self, name: str) -> Job:
        """The job of this name. Raises Refusal (404)."""
        self._forget_old()
        if name not in self._jobs:
            raise Refusal(404, f"there is no job {name[:64]!r}", NO_JOB)
        return self._jobs[name]

    def end(self, name: str) -> Job:
        """Ends a job and forgets what it made. Raises Refusal (404)."""
        job = self.job(name)
        if job.process is not None:
            _kill(job.process)
        self._forget(job)
        return job

    async def _receive(self, job: Job, content: AsyncIterator[bytes]) -> None:
        if self._folder is None or not self._folder.is_dir():  # one that lies idle may have been cleaned away
            self._folder = Path(tempfile.mkdtemp(prefix="sightline-clips-"))
        job.folder = self._folder / job.name
        job.folder.mkdir()
        read = 0
        with open(job.folder / "clip.mp4", "wb") as file:  # decoders go by the content; the name says: a video
            async for chunk in content:
                read += len(chunk)
                if read > self.clip_bytes:
                    raise Refusal(413, f"the clip is larger than {self.clip_bytes} bytes", "cut it, or scale it down")
                await asyncio.to_thread(file.write, chunk)
        if not read:
            raise Refusal(400, "the body is empty", "send a video as the body")

    async def _work(self) -> None:
        while True:
            self._forget_old()
            try:
                job = await asyncio.wait_for(self._waiting.get(), LOOK_S)
            except TimeoutError:
                continue
            if job.name not in self._jobs:
                continue  # ended before it began
            try:
                async with self._turn:
                    if job.name in self._jobs:
                        await self._run(job)
            except Exception as error:  # the next job has nothing to do with it
                job.state, job.error = FAILED, f"it could not be run: {error}"
            job.ended = time.monotonic()
            with suppress(OSError):
                (job.folder / "clip.mp4").unlink()
            if job.name not in self._jobs:  # ended meanwhile: what its process still wrote goes too
                self._forget(job)

    async def _run(self, job: Job) -> None:
        given = [
            "--recipe",
            self.recipe,
            "--deployed",
            str(self.deployed),
            "--output",
            str(job.folder / "out"),
            "--json",
        ]
        job.state = RUNNING
        job.process = process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "components.serving.batch", *given, str(job.folder / "clip.mp4"),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, preexec_fn=_humble,
        )  # fmt: skip
        try:
            async with asyncio.timeout(LONGEST_S):
                said, summary = await asyncio.gather(_listen(job, process.stderr), process.stdout.read())
                await process.wait()
        except TimeoutError:
            job.state, job.error = FAILED, f"not done within {LONGEST_S:.0f} s"
            return
        finally:
            _kill(process)
            await process.wait()
            job.process = None
        if process.returncode:
            said = said if process.returncode > 0 else ""  # a signal leaves no last word
            job.state, job.error = FAILED, said or f"its process ended with code {process.returncode}"
            return
        job.summary = json.loads(summary)
        job.error = await asyncio.to_thread(_refused, job.folder / "out" / "quarantine.parquet")
        job.state = FAILED if job.error else DONE
        if job.state == DONE:
            job.progress = job.summary["frames"], job.summary["frames"]

    def _forget_old(self) -> None:
        now = time.monotonic()
        for job in [job for job in self._jobs.values() if job.state in ENDED and now - job.ended > KEEP_S]:
            self._forget(job)

    def _forget(self, job: Job) -> None:
        self._jobs.pop(job.name, None)
        if job.folder != Path():
            remove = partial(shutil.rmtree, job.folder, ignore_errors=True)
            asyncio.get_running_loop().run_in_executor(None, remove)  # gigabytes, maybe: no request waits for that


async def _listen(job: Job, stderr: asyncio.StreamReader) -> str:
    """Notes how far the job is; returns what it said last of other things."""
    last = ""
    while True:
        try:
            line = await stderr.readline()
        except ValueError:  # over 64 KiB: that piece is dropped, the rest is read
            continue
        if not line:
            return last
        text = line.decode(errors="replace").strip()
        if found := PROGRESS.search(text):
            job.progress = int(found[1]), int(found[2])
        elif text:
            last = text


def _refused(file: Path) -> str | None:
    """Why the clip could not be scored, None where it was."""
    import pyarrow.parquet as pq  # the service starts without it

    rows = pq.read_table(file, columns=["reason"])["reason"].to_pylist()
    return rows[0] if rows else None


def _humble() -> None:
    """For the child: behind all requests, the first to go where memory is short, and no longer than the service."""
    os.nice(19)
    for kind, most in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_FSIZE, FILE_BYTES)):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, hard))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    die_with_parent()


def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
