"""Cancelling a flow run in Prefect's page: the run's own process sees it and ends its stages."""

import contextvars
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect import get_client
from prefect.client.schemas.objects import StateType
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run

from flows.runners import local

WATCH_S = 3.0  # between two looks whether somebody cancelled the run


@contextmanager
def watched(*all_stages: local.Stages) -> Iterator[None]:
    """Ends the stages when somebody cancels the flow run that goes on, and when the context is left by an exception."""
    run, done = flow_run.id, threading.Event()

    def stop() -> None:
        for stages in all_stages:
            stages.stop()

    def watch() -> None:
        while not done.wait(WATCH_S):
            if is_cancelling(run):
                return stop()

    threading.Thread(target=contextvars.copy_context().run, args=(watch,), daemon=True).start()
    try:
        yield
    except BaseException:
        stop()
        raise
    finally:
        done.set()


def is_cancelling(run: str | None = None) -> bool:
    """Whether somebody cancelled the flow run (without an id: the one that goes on)."""
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(run or flow_run.id).state
    except (httpx.HTTPError, PrefectException):  # a server that is away for a moment cancels nothing
        return False
    return bool(state) and state.type in (StateType.CANCELLING, StateType.CANCELLED)
