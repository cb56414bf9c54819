"""What the monitoring flow found, for Prometheus: pushed, because a flow is over before anybody could ask it."""

import http.client
import os
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from flows.events import FOUND

GATEWAY = "SIGHTLINE_PUSHGATEWAY"  # the URL of a Prometheus Pushgateway; not set: nothing is pushed
TIMEOUT_S = 10


def exposition(found: dict[str, Any], now: float) -> str:
    """The gauges of a check in Prometheus' text format, `now` in seconds since 1970. The recipe is the group's to say.

    sightline_drift_found{kind} 1 | 0 for each kind, sightline_drift_shift{kind,name} and
    sightline_drift_p_value{kind,name} for each test, sightline_champion_age_days, sightline_drift_checked_seconds.
    """
    there = {*found["drifted"], *(["stale"] if found["stale"] else [])}
    tests = [({"kind": test["kind"], "name": test["name"]}, test) for test in found["tests"]]
    lines = _family("drift_found", "1: the last check found this kind", [({"kind": k}, int(k in there)) for k in FOUND])
    lines += _family("drift_shift", "How far new footage lies from the old", [(at, t["shift"]) for at, t in tests])
    lines += _family("drift_p_value", "Of each test of the last check", [(at, t["p_value"]) for at, t in tests])
    lines += _family("champion_age_days", "Since the champion was registered", [({}, found["age_days"])])
    lines += _family("drift_checked_seconds", "When it was looked for, since 1970", [({}, now)])
    return "".join(f"{line}\n" for line in lines)


def push(recipe: str, found: dict[str, Any], now: float) -> str:
    """Puts a check's gauges in the place of the recipe's last ones; "", or why the gateway does not have them."""
    gateway = os.environ.get(GATEWAY, "")
    if not gateway:
        return ""
    url = f"{gateway.rstrip('/')}/metrics/job/sightline-drift/recipe/{urllib.parse.quote(recipe, safe='')}"
    headers = {"Content-Type": "text/plain; version=0.0.4"}
    try:
        request = urllib.request.Request(url, exposition(found, now).encode(), headers, method="PUT")
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            return ""
    except (OSError, ValueError, http.client.HTTPException) as error:  # HTTP errors are among the first
        return f"{GATEWAY}={gateway}: {error}"


def _family(name: str, text: str, values: list[tuple[dict[str, str], float]]) -> list[str]:
    head = [f"# HELP sightline_{name} {text}", f"# TYPE sightline_{name} gauge"]
    return head + [f"sightline_{name}{_labels(labels)} {float(value)!r}" for labels, value in values]


def _labels(labels: dict[str, str]) -> str:
    told = []
    for name, value in labels.items():
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        told.append(f'{name}="{escaped}"')
    return "{" + ",".join(told) + "}" if told else ""
