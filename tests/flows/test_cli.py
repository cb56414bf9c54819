"""The command: help with an example everywhere, exit codes, errors in one sentence, and a quick start."""

import json
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from flows.cli import app
from tests.flows import toy

COMMANDS = ["demo", "run", "up", "down", "status", "serve", "data", "catalog", "quarantine", "edge", "doctor"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command):
    reply = CliRunner().invoke(app, [command, "--help"])
    assert reply.exit_code == 0
    assert f"Example: sightline {command}" in reply.stdout


def test_the_list_of_commands_is_whole():
    reply = CliRunner().invoke(app, ["--help"])
    assert all(f" {command} " in reply.stdout for command in COMMANDS)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["run", "toi"], "did you mean 'toy'?"),
        (["run", "toy", "--from", "frame"], "did you mean 'frames'?"),
        (["run", "toy", "--set", "training.epoch=3"], "did you mean 'epochs'?"),
        (["run", "toy", "--set", "training.epochs"], "no KEY=VALUE"),
        (["run", "toy", "--runner", "teleport"], "teleport"),
        (["run"], "RECIPE"),
        (["serve", "toi"], "did you mean 'toy'?"),
        (["rnu", "toy"], "Did you mean"),
        (["up", "--prefect-port", "many"], "prefect-port"),
    ],
)
def test_a_wrong_request_ends_with_2_and_the_nearest_right_one(root, arguments, said):
    before = (root / "params.yaml").read_text()
    reply = toy.sightline(root, *arguments)
    assert reply.returncode == 2, reply.stdout + reply.stderr
    assert said in reply.stderr
    assert "Traceback" not in reply.stderr
    assert (root / "params.yaml").read_text() == before


def test_outside_a_workspace_the_remedy_is_said(tmp_path):
    env = toy.environment(tmp_path)
    del env["SIGHTLINE_WORKSPACE"]
    command = [sys.executable, "-m", "flows.cli", "run", "toy"]
    reply = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert reply.returncode == 1
    assert "no dvc.yaml here or above" in reply.stderr and "Traceback" not in reply.stderr


def test_data_sets_are_listed_and_a_wrong_name_ends_with_2(root):
    reply = toy.sightline(root, "data", "--list", "--json")
    assert reply.returncode == 0 and {"caviar", "ped2", "mot17"} <= {row["name"] for row in json.loads(reply.stdout)}
    reply = toy.sightline(root, "data", "pde2")
    assert reply.returncode == 2 and "did you mean 'ped2'?" in reply.stderr and reply.stdout == ""


def test_debugging_shows_the_traceback(root):
    reply = toy.sightline(root, "run", "toi", SIGHTLINE_DEBUG="1")
    assert reply.returncode == 2 and "Traceback" in reply.stderr


def test_doctor_finds_what_is_wrong(root):
    (root / "params.yaml").write_text("recipes: {toy: {tsk: 1}}\n")
    reply = toy.sightline(root, "doctor", SIGHTLINE_MIRROR="/not/there")
    assert reply.returncode == 1
    assert "/not/there" in reply.stdout and "tsk" in reply.stdout


def test_help_imports_neither_prefect_nor_dvc():
    """What makes the command answer at once."""
    code = (
        "import sys, flows.cli\n"
        "sys.argv = ['sightline', '--help']\n"
        "try: flows.cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'prefect', 'dvc', 'mlflow', 'torch', 'pyspark', 'pyarrow'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    began = time.monotonic()
    command = [sys.executable, "-c", code]
    reply = subprocess.run(command, cwd=toy.PROJECT, env=toy.environment(toy.PROJECT), capture_output=True, text=True)
    assert reply.returncode == 0, reply.stderr
    assert time.monotonic() - began < 5  # .3 s on an idle machine
