"""Rates and sizes that a plan is calculated from: as the benches measured them (rates.yaml), or as they are given."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components.core.errors import UsageError
from components.core.recipe.read import nearest

FILE = Path(__file__).with_name("rates.yaml")


@dataclass(frozen=True)
class Rate:
    """`value`: units of work per second of one core or GPU, or bytes of one unit; None: neither measured nor given.

    `source`: the command that measured it, when and on what; or that it was given, or how to.
    """

    name: str
    unit: str
    value: float | None
    source: str


def machine() -> str:
    """What the rates were measured on."""
    return yaml.safe_load(FILE.read_text())["machine"]


def given(texts: list[str]) -> dict[str, float]:
    """NAME=VALUE, as on a command line. Raises UsageError."""
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            raise UsageError(f"--rate {text!r}: not NAME=NUMBER", "such as --rate features_gpu=2000") from None
    return found


def read_rates(own: Mapping[str, float] | None = None) -> dict[str, Rate]:
    """Every rate by its name: as measured, or as one's `own`. Raises UsageError for a name that is not known."""
    own, body = own or {}, yaml.safe_load(FILE.read_text())
    for name, value in own.items():
        if name not in body["rates"]:
            raise UsageError(f"--rate {name}: there is no such rate", nearest(name, list(body["rates"])))
        if not (math.isfinite(value) and value > 0):
            raise UsageError(f"--rate {name}={value:g}: not a number above 0", body["rates"][name]["unit"])
    return {name: _rate(name, entry, own.get(name)) for name, entry in body["rates"].items()}


def _rate(name: str, entry: dict[str, Any], own: float | None) -> Rate:
    if own is not None:
        return Rate(name, entry["unit"], own, "given")
    if "bench" not in entry:
        return Rate(name, entry["unit"], None, f"not measured; --rate {name}=...")
    if "bytes" in entry:
        value = entry["bytes"] / entry["count"]
    else:
        value = entry["count"] / (entry["seconds"] * entry["cores"])
    return Rate(name, entry["unit"], value, f"{entry['bench']}, {entry['date']}: {entry['of']}")
