"""Tests that need a container engine, the project's images or compose: whoever asks for them is told what is missing.

`make containers` asks, by SIGHTLINE_CONTAINERS: there a test without them fails. Anywhere else it is skipped.
"""

import os
from typing import NoReturn

import pytest

ASKED = "SIGHTLINE_CONTAINERS"


def asked() -> bool:
    """Whether tests of containers were asked for."""
    return bool(os.environ.get(ASKED))


def absent(reason: str) -> NoReturn:
    """Ends the test for want of what `reason` names: it fails where containers were asked for, else it is skipped."""
    if asked():
        raise pytest.fail.Exception(f"{reason} ({ASKED} is set)", pytrace=False) from None
    pytest.skip(reason)
