"""Hyperopt's TPE in generations: suggestions are made from finished generations only, so the search is repeatable.

SparkTrials runs a generation's trials at the same time. Left to itself it would suggest the next point whenever a
trial happens to end, and two runs of the same search would differ; with generations they do not, and a search that was
killed goes on after the trials that are on record.
"""

import contextlib
import math
from collections.abc import Callable

import numpy as np
from hyperopt import JOB_STATE_DONE, JOB_STATE_NEW, STATUS_OK, Trials, fmin, hp, space_eval, tpe
from hyperopt.base import Domain
from hyperopt.exceptions import AllTrialsFailed

from components.core.errors import SightlineError
from components.core.recipe import Range, Tuning

REMEDY = "the trial's own message stands above; see the ranges in tuning.space"


def hyperopt_space(space: dict[str, Range]) -> dict:
    """The recipe's space as Hyperopt's expressions."""
    return {
        name: hp.loguniform(name, math.log(r.low), math.log(r.high)) if r.log else hp.uniform(name, r.low, r.high)
        for name, r in sorted(space.items())
    }


def suggest(
    space: dict, finished: list[dict], count: int, params: Tuning, known: int | None = None
) -> list[dict[str, float]]:
    """The next `count` points, given the finished trials ({"params": {...}, "loss": float}) in order.

    `known`: of how many of these the suggestions may know: those of earlier generations (None: all)."""
    trials = _history(space, finished[:known])
    domain = Domain(lambda point: 0.0, space)
    points = []
    for number in range(len(finished), len(finished) + count):
        seed = int(np.random.SeedSequence([params.seed, number]).generate_state(1)[0])
        suggested = tpe.suggest([number], domain, trials, seed, n_startup_jobs=params.startup_trials)
        values = {name: value[0] for name, value in suggested[0]["misc"]["vals"].items()}
        points.append({name: float(value) for name, value in space_eval(space, values).items()})
    return points


def evaluate(space: dict, points: list[dict], objective: Callable[[dict], dict], make_trials: Callable) -> list[dict]:
    """Runs `objective(point)` for these points through Hyperopt and returns its results in the points' order.

    `objective` gives at least {"loss": float, "status": "ok"}. `make_trials()` gives a SparkTrials, or Trials. Raises
    SightlineError where a trial failed.
    """

    def given(ids: list[int], domain: Domain, trials: Trials, seed: int) -> list[dict]:
        return [_document(i, points[i], domain.new_result()) for i in ids]

    trials = make_trials()
    with contextlib.suppress(AllTrialsFailed):  # said below, with the reason
        fmin(
            objective, space, algo=given, max_evals=len(points), trials=trials, rstate=np.random.default_rng(0),
            show_progressbar=False, verbose=False, return_argmin=False,
        )  # fmt: skip
    results = []
    for trial in sorted(trials.trials, key=lambda trial: trial["tid"]):
        if "loss" not in trial["result"]:
            reason = trial["misc"].get("error", ("no reason given",))[-1]
            raise SightlineError(f"trial {points[trial['tid']]}: {str(reason).strip().splitlines()[-1]}", REMEDY)
        results.append(trial["result"])
    return results


def _history(space: dict, finished: list[dict]) -> Trials:
    trials = Trials()
    for number, trial in enumerate(finished):
        result = {"loss": trial["loss"], "status": STATUS_OK}
        trials.insert_trial_doc(_document(number, trial["params"], result) | {"state": JOB_STATE_DONE})
    trials.refresh()
    return trials


def _document(number: int, point: dict[str, float], result: dict) -> dict:
    """One trial as Hyperopt writes it down."""
    misc = {
        "tid": number, "cmd": ("domain_attachment", "FMinIter_Domain"), "workdir": None,
        "idxs": {name: [number] for name in point}, "vals": {name: [value] for name, value in point.items()},
    }  # fmt: skip
    blank = {"spec": None, "owner": None, "version": 0, "book_time": None, "refresh_time": None, "exp_key": None}
    return {"state": JOB_STATE_NEW, "tid": number, "result": result, "misc": misc} | blank
