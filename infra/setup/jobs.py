"""Set-up's child processes: a log for each, errors shown from it, none left running. Standard library only."""

import contextlib
import os
import signal
import subprocess

from horovod_wheel import first_errors
from toolchain import SetupError

AGAIN = "look at the log, then run make setup again"


class Jobs:
    """Child processes of one set-up. They inherit its lock, so that a next call waits for what a killed one left."""

    def __init__(self, logs, lock, cwd):
        self.cwd = cwd
        self.logs, self.lock, self.running = logs, lock, []
        os.makedirs(logs, exist_ok=True)

    def start(self, name, command, env):
        """Start a command that writes to logs/setup-NAME.log; return the job (a Popen with its `log`)."""
        log = os.path.join(self.logs, "setup-{}.log".format(name))
        with open(log, "w") as handle:
            job = subprocess.Popen(
                command, stdout=handle, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env, cwd=self.cwd,
                start_new_session=True, pass_fds=[self.lock],
            )  # fmt: skip
        job.log = log
        self.running.append(job)
        return job

    def run(self, name, command, env, what, remedy=AGAIN):
        """Run a command to its end; return its log, or raise SetupError as `done` does."""
        job = self.start(name, command, env)
        job.wait()
        return self.done(job, what, remedy)

    def done(self, job, what, remedy=AGAIN):
        """Raise SetupError with the log's first errors where the finished job failed, else return its log."""
        self.running.remove(job)
        if job.returncode:
            errors = "\n    ".join(first_errors(job.log))
            if "No space left" in errors:
                remedy = "free some disk (infra/setup/README.md says what is where), then run make setup again"
            raise SetupError("{} failed:\n    {}\n  log: {}".format(what, errors, job.log), remedy)
        return job.log

    def stop(self):
        """End every job that still runs, with its children."""
        alive = [job for job in self.running if job.poll() is None]
        for job in alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGTERM)
        for job in alive:
            try:
                job.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(job.pid, signal.SIGKILL)
        self.running = []
