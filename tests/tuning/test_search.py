"""Tuning: repeatable suggestions, trials on Spark, a killed search that goes on where it stopped."""

import json
import subprocess
import sys

from components.core.recipe import Range, Tuning
from components.tuning import search
from tests.workspaces import RECIPE, kill_when, make_workspace, write_params

SPACE = search.hyperopt_space({"lr": Range(low=1e-4, high=1.0, log=True), "dropout": Range(low=0, high=0.5)})
PARAMS = Tuning(trials=12, startup_trials=4, parallelism=2, seed=5)


def run_search(generations: int, finished: list[dict]) -> list[dict]:
    for _ in range(generations):
        for point in search.suggest(SPACE, finished, 2, PARAMS):
            finished = [*finished, {"params": point, "loss": (point["dropout"] - 0.2) ** 2 + abs(point["lr"] - 0.01)}]
    return finished


def test_suggestions_depend_on_finished_trials_only():
    whole = run_search(6, [])
    assert whole == run_search(3, run_search(3, []))
    assert len({trial["params"]["lr"] for trial in whole}) == 12
    assert all(1e-4 <= t["params"]["lr"] <= 1 and 0 <= t["params"]["dropout"] <= 0.5 for t in whole)


def test_a_search_that_is_extended_is_the_search_of_as_many():
    """Where fewer trials ended within a generation, the rest of it knows no more than the whole would have known."""
    whole = run_search(3, [])
    begun = whole[:5]
    (sixth,) = search.suggest(SPACE, begun, 1, PARAMS, known=4)
    assert sixth == whole[5]["params"] != search.suggest(SPACE, begun, 1, PARAMS)[0]


def test_tpe_closes_in_on_the_best():
    losses = [trial["loss"] for trial in run_search(20, [])]
    assert sorted(losses[20:])[10] < sorted(losses[:8])[4]


def test_stage_runs_trials_on_spark_and_is_repeatable_after_a_kill(tmp_path, monkeypatch):
    """The whole stage twice: killed after its first generation and run again; and undisturbed. Slow: two Sparks."""
    outputs = []
    for name in ("killed", "whole"):
        root = make_workspace(tmp_path / name)
        write_params(root, lr="tuned")
        monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(root))
        command = [sys.executable, "-m", "components.tuning", "--recipe", RECIPE]
        if name == "killed":
            kill_when(command, root, ".sightline/work/tuning/*/*.json")
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        outputs.append((root / "data" / RECIPE / "tuning.json").read_text())
    assert outputs[0] == outputs[1]
    found = json.loads(outputs[0])
    assert len(found["trials"]) == 4
    assert found["best"] == min(found["trials"], key=lambda t: t["loss"])["params"]
    from components.core import tracking
    from components.core.recipe import load_recipe

    runs = tracking.client().search_runs([tracking.experiment_id(load_recipe(RECIPE).name)])
    nested = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(nested) == 4 and all("loss" in run.data.metrics and "lr" in run.data.params for run in nested)


def test_nothing_to_tune_starts_nothing(workspace):
    command = [sys.executable, "-m", "components.tuning", "--recipe", RECIPE]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "nothing to tune" in done.stdout
    assert json.loads((workspace / "data" / RECIPE / "tuning.json").read_text())["best"] == {}
