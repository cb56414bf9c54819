"""How far a stage is, as an artifact of its task run: read from the lines that it prints."""

import re
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectException

COUNTED = re.compile(r"(?P<label>[^:]+): (?P<done>\d+)/(?P<total>\d+) .*\(.*\)")  # as core/progress.py prints it


class Shown:
    """The artifact of one stage's run: made at the first line that counts something, brought along by every other."""

    def __init__(self, key: str):
        self._key, self._artifact = key, None

    def line(self, text: str) -> None:
        """Takes a line of the stage's output."""
        found = COUNTED.fullmatch(text.strip())
        if found and int(found["total"]):
            self._show(100.0 * int(found["done"]) / int(found["total"]), text.strip())

    def done(self) -> None:
        """The stage has ended well."""
        if self._artifact:
            self._show(100.0, "done")

    def _show(self, percent: float, text: str) -> None:
        try:
            if self._artifact is None:
                self._artifact: UUID = create_progress_artifact(percent, key=self._key, description=text)
            else:
                update_progress_artifact(self._artifact, percent, description=text)
        except (httpx.HTTPError, PrefectException):  # a server that is away for a moment: the stage goes on
            pass
