"""A plan for people, as tables, and for programs, as one value of JSON."""

from typing import Any

from rich.console import Console
from rich.table import Table

from flows.plan import DAY, GB, HOUR, Plan
from flows.rates import Rate, machine

UNKNOWN = "not measured"
WIDTH = 120  # of what is read by others than a terminal


def as_json(plan: Plan, prices: dict[str, float]) -> dict[str, Any]:
    """The plan and its costs at these prices; None where nothing is known."""
    return {
        "cores": plan.cores,
        "gpus": plan.gpus,
        "core_hours": plan.core_hours,
        "gpu_hours": plan.gpu_hours if plan.gpus else None,
        "seconds": plan.seconds,
        "gigabytes": plan.gigabytes,
        "stages": [
            {"stage": one.stage, "amount": one.amount, "on": "gpu" if one.gpu else "core", "wall_s": plan.wall(one)}
            | _told(one.rate)
            for one in plan.work
        ],
        "storage": [
            {"kind": one.kind, "amount": one.amount, "copies": one.copies, "bytes": one.bytes} | _told(one.rate)
            for one in plan.stores
        ],
        "costs": plan.costs(**prices),
        "not_measured": plan.unknown,
        "assumptions": plan.assumptions,
        "measured_on": machine(),
    }


def _told(rate: Rate) -> dict[str, Any]:
    return {"unit": rate.unit, "rate": rate.name, "value": rate.value, "source": rate.source}


def show(plan: Plan, prices: dict[str, float]) -> None:
    """Prints the plan on standard output."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    work = Table("stage", "work", "a second of one", "core or GPU hours", "wall time", box=None)
    for one in plan.work:
        rate, wall = one.rate, plan.wall(one)
        hours = UNKNOWN if one.seconds is None else f"{one.seconds / HOUR:,.1f} {'GPU' if one.gpu else 'core'}"
        known = "" if rate.value is None else f"{rate.value:,.0f}"
        work.add_row(
            one.stage, f"{amount(one.amount)} {rate.unit}", known, hours, "" if wall is None else duration(wall)
        )
    stores = Table("kept", "amount", "bytes of one", "copies", "GB", box=None)
    for one in plan.stores:
        known = "" if one.rate.value is None else f"{one.rate.value:,.0f}"
        size = UNKNOWN if one.bytes is None else f"{one.bytes / GB:,.1f}"
        stores.add_row(one.kind, f"{amount(one.amount)} {one.rate.unit}", known, str(one.copies), size)
    console.print(work, stores, sep="\n\n")
    least = "at least " if plan.unknown else ""
    gpus = "" if plan.gpus is None else f" and {plan.gpus} GPUs ({plan.gpu_hours:,.0f} GPU hours)"
    print(f"\n{least}{plan.cores} cores ({plan.core_hours:,.0f} core hours){gpus} for {duration(plan.seconds)};")
    print(f"{least}{plan.gigabytes:,.0f} GB kept")
    if any(prices.values()):
        costs = plan.costs(**prices)
        once = costs["cores"] + costs["gpus"]
        print(f"costs: {once:,.2f} for the work, {costs['storage_a_month']:,.2f} a month to keep all")
    if plan.gpus is None:
        print(
            "GPUs: none, for no rate on one was measured; --rate features_gpu=... and training_gpu=... plan with some"
        )
    for name in plan.unknown:
        print(f"not measured, and in no sum: {name}; give it by --rate {name}=...")
    print("\ntaken for granted")
    for text in plan.assumptions:
        print(f"- {text}")
    print(f"\nmeasured on {machine()}")
    for rate in {one.rate.name: one.rate for one in [*plan.work, *plan.stores] if one.rate.value is not None}.values():
        print(f"- {rate.name}: {rate.source}")


def amount(number: float) -> str:
    """A number as people read it: 36,000,000 is 36 million."""
    for size, word in ((1e9, " billion"), (1e6, " million")):
        if number >= size:
            return f"{number / size:,.3g}{word}"
    return f"{number:,.0f}"


def duration(seconds: float) -> str:
    """Seconds in the largest unit of which there are two: days, hours, minutes or seconds."""
    for size, word in ((DAY, "days"), (HOUR, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {word}"
    return f"{seconds:,.1f} s"
