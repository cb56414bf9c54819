"""`sightline plan`: its arithmetic against figures that were calculated by hand, and what must hold of any load."""

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bench.__main__ import MEASUREMENTS
from components.core.errors import UsageError
from components.core.recipe import Recipe, load_recipe, recipe_names
from flows import rates
from flows.plan import Load, Plan, make_plan
from flows.plan_shown import amount, duration
from tests.flows import toy

PROJECT = Path(__file__).resolve().parents[2]
PARAMS = PROJECT / "params.yaml"
# Chosen so that every figure below can be seen at a glance.
OWN = {
    "ingest": 500, "frames": 1000, "frames_dense": 100, "features_sightline_small": 10, "training_head": 1000,
    "scoring_sightline_small": 20, "bytes_video": 2e9, "bytes_frame": 40_000, "bytes_features_sightline_small": 1000,
    "bytes_score": 100, "bytes_model": 2e6, "bytes_registry": 1e6,
}  # fmt: skip


@cache
def suspicious() -> Recipe:
    """8 trials of 15 epochs, then 40 epochs of a head on sightline_small's features."""
    return load_recipe("suspicious", PARAMS)


@cache
def measured() -> dict[str, rates.Rate]:
    return rates.read_rates()


def plan(load: Load, own: dict[str, float] | None = None, recipe: Recipe | None = None, **more) -> Plan:
    given = {name: replace(measured()[name], value=value) for name, value in (OWN if own is None else own).items()}
    return make_plan(recipe or suspicious(), load, measured() | given, **more)


def stages(made: Plan) -> dict[str, float | None]:
    return {one.stage: one.seconds for one in made.work}


def test_by_hand():
    """Ten hours at 25 frames a second are 900,000 frames; at one a second 36,000 of them are kept."""
    made = plan(Load(10, 1, labelled=0.5, versions=3, days=0.5))
    assert stages(made) == {
        "ingest": 900_000 / 500,  # 1,800 s
        "frames": 900_000 / 1000,  # 900 s
        "features": 36_000 / 10,  # 3,600 s
        "tuning": 18_000 * 8 * 15 / 1000,  # 2,160 s
        "training": 18_000 * 40 / 1000,  # 720 s
        "scoring": 36_000 / 20,  # 1,800 s
    }
    assert made.core_hours == pytest.approx(10_980 / 3600) and made.cores == 1 and made.seconds == 10_980
    assert {one.kind: one.bytes for one in made.stores} == {
        "source video": 20e9, "frames": 36_000 * 40_000 * 2, "features": 36_000 * 1000 * 2, "scores": 3_600_000,
        "models": 6e6, "registry": 3e6,
    }  # fmt: skip
    assert made.gigabytes == pytest.approx(20 + 2.88 + 0.072 + 0.0036 + 0.006 + 0.003)
    assert made.costs(2.0, 9.0, 0.5) == {
        "cores": pytest.approx(6.1), "gpus": 0, "storage_a_month": pytest.approx(made.gigabytes / 2),
    }  # fmt: skip
    assert made.unknown == [] and made.gpus is None


def test_cores_are_as_many_as_the_days_take_or_as_there_are():
    load = Load(10, 1, labelled=0.5, days=1 / 24)
    assert plan(load).cores == 4  # 10,980 s within 3,600 s
    assert plan(load).seconds == 10_980 / 4
    assert plan(replace(load, cores=2)).seconds == 5_490
    assert plan(load).wall(plan(load).work[0]) == 450


def test_more_than_one_frame_a_second_is_another_measurement():
    assert stages(plan(Load(1, 5)))["frames"] == 18_000 / 100
    assert stages(plan(Load(1, 0.5)))["frames"] == 90_000 / 1000


def test_a_gpu_whose_rate_is_given_takes_work_from_the_cores():
    made = plan(Load(10, 1, days=1 / 96), OWN | {"features_gpu": 20, "training_gpu": 1440})
    on_gpu = {one.stage: one.seconds for one in made.work if one.gpu}
    assert on_gpu == {"features": 1800, "training": 1000}
    assert made.gpus == math.ceil(2800 / 900) and made.gpu_hours == pytest.approx(2800 / 3600)
    assert made.core_hours == pytest.approx((1800 + 900 + 4320 + 1800) / 3600)
    assert made.costs(0, 3.6, 0)["gpus"] == pytest.approx(2.8)


def test_lime_is_planned_for_the_frames_and_samples_that_the_recipe_names():
    recipe = load_recipe("sightings", PARAMS)
    explain = recipe.explain
    known = OWN | {"explain": 100, "training_finetune": 1, "bytes_features_other": 1}
    made = plan(Load(1, 1), known, recipe, explained=True)
    frames = explain.pictures or 3600
    samples = len(explain.superpixels) * explain.samples * explain.rounds
    assert stages(made)["explain"] == frames * samples / 100
    assert "explain" not in stages(plan(Load(1, 1), known, recipe))


def test_what_nobody_measured_is_said_and_is_in_no_sum():
    body = yaml.safe_load(rates.FILE.read_text())["rates"]
    blank = {name for name, entry in body.items() if "bench" not in entry}
    assert {"features_gpu", "training_gpu"} <= blank, "there is no GPU to measure on"
    recipe = load_recipe("wildlife", PARAMS)
    made = plan(Load(1, 1), {}, recipe)
    assert stages(made)["training"] is None and "training_detector" in made.unknown
    known = [one.seconds for one in made.work if one.seconds is not None]
    assert made.core_hours == pytest.approx(sum(known) / 3600)
    assert "training_detector" not in plan(Load(1, 1), {"training_detector": 5}, recipe).unknown


def test_every_rate_names_a_bench_that_there_is():
    body = yaml.safe_load(rates.FILE.read_text())
    measured = {name: entry for name, entry in body["rates"].items() if "bench" in entry}
    assert len(measured) >= 8
    for name, entry in measured.items():
        assert entry["bench"].removeprefix("python -m bench ").split()[0] in MEASUREMENTS, name
        assert entry["of"] and entry["date"] and entry["unit"]
        assert rates.read_rates()[name].value > 0
    for name, entry in body["rates"].items():
        assert set(entry) <= {"unit", "count", "seconds", "cores", "bytes", "bench", "date", "of"}, name


@pytest.mark.parametrize("recipe", recipe_names(PARAMS))
def test_every_recipe_has_a_plan(recipe):
    made = make_plan(load_recipe(recipe, PARAMS), Load(100, 1), rates.read_rates())
    assert made.core_hours > 0 and made.gigabytes > 0


@given(
    hours=st.floats(0.01, 1e6), fps=st.sampled_from([0.1, 1.0, 2.0, 25.0]), times=st.integers(2, 50),
    labelled=st.floats(0, 1),
)  # fmt: skip
def test_everything_is_proportional_to_the_hours(hours, fps, times, labelled):
    load = Load(hours, fps, labelled=labelled, cores=4, versions=0)
    one, many = plan(load), plan(replace(load, hours=hours * times))
    assert many.core_hours == pytest.approx(times * one.core_hours)
    assert many.gigabytes == pytest.approx(times * one.gigabytes)
    assert many.seconds == pytest.approx(times * one.seconds)


@given(hours=st.floats(1, 1e5), more=st.floats(1, 100), days=st.floats(0.1, 100), cores=st.integers(1, 500))
def test_more_never_takes_less(hours, more, days, cores):
    load = Load(hours, 1, days=days)
    least = plan(load)
    assert plan(replace(load, hours=hours * more)).cores >= least.cores
    assert plan(replace(load, days=days * more)).cores <= least.cores
    assert least.seconds <= days * 86400 * (1 + 1e-9)
    assert plan(replace(load, cores=cores + 1)).seconds < plan(replace(load, cores=cores)).seconds
    assert plan(replace(load, fps=5)).gigabytes > least.gigabytes
    assert plan(load, OWN | {"ingest": 1000}).core_hours < least.core_hours


@pytest.mark.parametrize(
    ("load", "says"),
    [
        (Load(0, 1), "--hours-of-video"), (Load(1, 30), "--fps"), (Load(1, 0), "--fps"),
        (Load(1, 1, labelled=2), "--labelled"), (Load(1, 1, days=0), "--days"), (Load(1, 1, cores=0), "--cores"),
        (Load(math.inf, 1), "--hours-of-video"), (Load(math.nan, 1), "--hours-of-video"), (Load(1e308, 1), "at most"),
        (Load(1, 1, source_fps=math.inf), "--source-fps"), (Load(1, 1, days=1e-320), "--days"),
    ],
)  # fmt: skip
def test_a_load_that_cannot_be_is_refused(load, says):
    with pytest.raises(UsageError, match=says):
        plan(load)


def test_a_rate_that_cannot_be_is_refused():
    with pytest.raises(UsageError, match=r"(?s)feature_gpu.*did you mean 'features_gpu'"):
        rates.read_rates({"feature_gpu": 1})
    with pytest.raises(UsageError, match="not a number above 0"):
        rates.read_rates({"features_gpu": 0})
    with pytest.raises(UsageError, match="not NAME=NUMBER"):
        rates.given(["features_gpu"])


def test_numbers_as_people_read_them():
    assert [amount(one) for one in (36_000_000, 1.44e9, 30)] == ["36 million", "1.44 billion", "30"]
    assert [duration(one) for one in (5, 150, 7300, 400_000)] == ["5.0 s", "2.5 min", "2.0 h", "4.6 days"]


def test_the_command(monkeypatch):
    load = ["--hours-of-video", "10000", "--fps", "1"]
    reply = toy.sightline(PROJECT, "plan", *load, "--price-core-hour", "1", "--json")
    assert reply.returncode == 0, reply.stderr
    body = json.loads(reply.stdout)
    ingest = next(one for one in body["stages"] if one["stage"] == "ingest")
    assert ingest["amount"] == 900e6 and "bench frames" in ingest["source"]
    assert body["costs"]["cores"] == pytest.approx(body["core_hours"])
    shown = toy.sightline(PROJECT, "plan", *load, "--rate", "features_gpu=2000", "--price-gpu-hour", "2")
    assert shown.returncode == 0 and "1 GPUs (5 GPU hours)" in shown.stdout and "taken for granted" in shown.stdout
    wrong = toy.sightline(PROJECT, "plan", *load, "--rate", "features=1")
    assert wrong.returncode == 2 and "there is no such rate" in wrong.stderr
