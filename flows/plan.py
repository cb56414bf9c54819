"""How much a load of footage needs: cores, GPUs, hours and bytes, calculated from what was measured and nothing else.

All of it is proportional: to the hours of video, and to the cores. What each start costs (half a minute for ingest,
frames and features) is not counted, nor what takes seconds whatever the load (validation, promotion, deployment).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from components.core import paths
from components.core.errors import UsageError
from components.core.recipe import Recipe
from flows.rates import Rate

HOUR, DAY = 3600.0, 86400.0
GB = 1e9
OTHER_HEADS = ("mllib", "finetune", "detector")  # than those on the features
MOST = 1e9  # of hours, and of frames a second: beyond, numbers end before the plan does
COPIES = 2  # of a table: in data/ and in DVC's cache, on a disk that cannot share blocks between files


@dataclass(frozen=True)
class Load:
    """What is to be worked on.

    `hours` of video with `source_fps` frames a second, `fps` of which are kept; `labelled`: the share of them that is
    trained on; `versions`: of the model that are kept; `days`: in which all is to be done; `cores`: None, as many as
    that takes, or how many there are.
    """

    hours: float
    fps: float
    source_fps: float = 25.0
    labelled: float = 1.0
    versions: int = 30
    days: float = 7.0
    cores: int | None = None


@dataclass(frozen=True)
class Work:
    """One stage: `amount` of work at a rate; `seconds` of one core, or of one GPU where `gpu`; None: not measured."""

    stage: str
    amount: float
    rate: Rate
    gpu: bool = False

    @property
    def seconds(self) -> float | None:
        """Seconds that one core or GPU works for it; None where the rate is not known."""
        return None if self.rate.value is None else self.amount / self.rate.value


@dataclass(frozen=True)
class Store:
    """One kind of what is kept: `amount` units of so many bytes, `copies` times; None bytes: not measured."""

    kind: str
    amount: float
    rate: Rate
    copies: int

    @property
    def bytes(self) -> float | None:
        """All of its bytes; None where a unit's are not known."""
        return None if self.rate.value is None else self.amount * self.rate.value * self.copies


@dataclass(frozen=True)
class Plan:
    """The answer. `cores` work all the time for `seconds`; `gpus` are None where no stage's rate on one is known.

    `unknown`: names of rates that nobody measured and nobody gave: what they are for is not in any sum.
    """

    load: Load
    work: list[Work]
    stores: list[Store]
    cores: int
    gpus: int | None
    seconds: float
    unknown: list[str]
    assumptions: list[str]

    @property
    def core_hours(self) -> float:
        """Hours of one core, of all stages that are known."""
        return sum(one.seconds for one in self.work if one.seconds and not one.gpu) / HOUR

    @property
    def gpu_hours(self) -> float:
        """Hours of one GPU, of the stages that have one."""
        return sum(one.seconds for one in self.work if one.seconds and one.gpu) / HOUR

    @property
    def gigabytes(self) -> float:
        """What is kept, in units of 10^9 bytes, of all kinds that are known."""
        return sum(one.bytes for one in self.stores if one.bytes) / GB

    def wall(self, work: Work) -> float | None:
        """Seconds that a stage takes on the plan's cores, or on its GPUs."""
        return None if work.seconds is None else work.seconds / ((self.gpus or 1) if work.gpu else self.cores)

    def costs(self, core_hour: float, gpu_hour: float, gb_month: float) -> dict[str, float]:
        """Cost of each kind at these prices: of the work once, of what is kept every month."""
        return {
            "cores": self.core_hours * core_hour,
            "gpus": self.gpu_hours * gpu_hour,
            "storage_a_month": self.gigabytes * gb_month,
        }


def is_explained(recipe: str) -> bool:
    """Whether params.yaml names the recipe among those whose models are explained."""
    return recipe in (yaml.safe_load((paths.workspace() / "params.yaml").read_text()).get("explained") or [])


def make_plan(recipe: Recipe, load: Load, rates: Mapping[str, Rate], explained: bool = False) -> Plan:
    """What `load` needs when it goes through the recipe's stages once; `explained`: by LIME too.

    Raises UsageError where the load has a number that cannot be.
    """
    _check(load)
    work, stores = _work(recipe, load, rates, explained), _stores(recipe, load, rates)
    spent = sum(one.seconds for one in work if one.seconds and not one.gpu)
    on_gpus = sum(one.seconds for one in work if one.seconds and one.gpu)
    cores = load.cores or max(1, math.ceil(spent / (load.days * DAY)))
    gpus = max(1, math.ceil(on_gpus / (load.days * DAY))) if on_gpus else None
    unknown = sorted({one.rate.name for one in [*work, *stores] if one.rate.value is None and one.amount})
    return Plan(
        load, work, stores, cores, gpus, spent / cores + on_gpus / (gpus or 1), unknown, _assumptions(recipe, load)
    )


def _check(load: Load) -> None:
    wrong = {
        "--hours-of-video": 0 < load.hours <= MOST, "--source-fps": 0 < load.source_fps <= MOST,
        "--fps": 0 < load.fps <= load.source_fps,
        "--labelled": 0 <= load.labelled <= 1, "--versions": 0 <= load.versions <= MOST,
        "--days": load.days >= 1 / MOST,
        "--cores": load.cores is None or load.cores > 0,
    }  # fmt: skip
    for option, good in wrong.items():
        if not good:
            raise UsageError(
                f"{option}: cannot be", f"above 0, at most {MOST:g}; --fps at most --source-fps, --labelled from 0 to 1"
            )


def _work(recipe: Recipe, load: Load, rates: Mapping[str, Rate], explained: bool) -> list[Work]:
    seconds = load.hours * HOUR
    source, kept = seconds * load.source_fps, seconds * load.fps
    trained = kept * load.labelled
    head = recipe.training.head if recipe.training.head in OTHER_HEADS else "head"
    work = [
        Work("ingest", source, rates["ingest"]),
        Work("frames", source, rates["frames"]) if load.fps <= 1 else Work("frames", kept, rates["frames_dense"]),
        _work_of("features", kept, _known(rates, f"features_{recipe.features.backbone}"), rates),
        Work("tuning", trained * recipe.tuning.trials * recipe.tuning.epochs, rates[f"training_{head}"]),
        _work_of("training", trained * recipe.training.epochs, rates[f"training_{head}"], rates),
    ]
    if explained:
        samples = len(recipe.explain.superpixels) * recipe.explain.samples * recipe.explain.rounds
        work.append(Work("explain", (recipe.explain.pictures or trained) * samples, rates["explain"]))
    model = "tracks" if recipe.task.tracks else "boxes" if recipe.task.kind == "detection" else recipe.features.backbone
    return [*work, Work("scoring", kept, _known(rates, f"scoring_{model}"))]


def _known(rates: Mapping[str, Rate], name: str) -> Rate:
    """The rate of this name; of a network that nobody measured, the one that is to be given."""
    return rates.get(name) or rates[f"{name.partition('_')[0]}_other"]


def _work_of(stage: str, units: float, by_core: Rate, rates: Mapping[str, Rate]) -> Work:
    """The stage's work on GPUs where their rate is known, else on cores."""
    by_gpu = rates[f"{stage}_gpu"]
    return Work(stage, units, by_core) if by_gpu.value is None else Work(stage, units, by_gpu, gpu=True)


def _stores(recipe: Recipe, load: Load, rates: Mapping[str, Rate]) -> list[Store]:
    kept = load.hours * HOUR * load.fps
    return [
        Store("source video", load.hours, rates["bytes_video"], 1),
        Store("frames", kept, rates["bytes_frame"], COPIES),
        Store("features", kept, _known(rates, f"bytes_features_{recipe.features.backbone}"), COPIES),
        Store("scores", kept, rates["bytes_score"], 1),
        Store("models", load.versions, rates["bytes_model"], 1),
        Store("registry", load.versions, rates["bytes_registry"], 1),
    ]


def _assumptions(recipe: Recipe, load: Load) -> list[str]:
    """What was taken for granted, in sentences."""
    return [
        f"{load.source_fps:g} frames of video a second, {load.fps:g} of them kept; all goes through every stage once",
        f"{load.labelled:.0%} of the frames are trained on, {recipe.training.epochs} epochs, after "
        f"{recipe.tuning.trials} trials of {recipe.tuning.epochs} (early stopping saves some of both)",
        "twice the cores take half the time: measured on 2; start-up (half a minute a run) and what takes seconds "
        "whatever the load (validation, promotion, deployment) are not counted, nor is evaluation's report",
        f"tables are on the disk {COPIES} times, in data/ and in DVC's cache (once where the disk has reflinks); "
        f"{load.versions} versions of the model are kept",
        "pictures are as those measured: decoding takes longer, and frames more bytes, of larger ones",
    ]
