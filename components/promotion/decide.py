"""The decision: gates in, promoted or not and why out. Nothing here reads or writes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.core.errors import UsageError
from components.core.recipe import Gates, nearest
from components.promotion.compare import DECIMALS, Difference, Metric, Pairs, Scores, measure, pair, paired_bootstrap

LOWER_IS_BETTER = frozenset({"log_loss"})
SLICE_ASSETS = 10  # in both models' scores: of fewer a slice is too small to speak against a model


@dataclass(frozen=True)
class Champion:
    """The model in the champion's place. `scores` is None, with the reason in `missing`, where it left none behind.

    `note`: why it was not asked about held-out footage that is newer than it, where it was not.
    """

    version: int
    digest: str | None
    scores: Scores | None
    missing: str = ""
    note: str = ""


@dataclass(frozen=True)
class Decision:
    """`reasons` are sentences, those that speak against first. `champion` and `difference` are None without one.

    `champion`: {version, metrics, assets, frames}, its metrics being those on the frames that both models scored.
    """

    promoted: bool
    reasons: tuple[str, ...]
    metrics: dict[str, float]
    champion: dict | None
    difference: dict[str, float] | None


def decide(
    gates: Gates,
    metrics: dict[str, float],
    failed_checks: list[str],
    challenger: Scores,
    digest: str,
    champion: Champion | None,
    metric: Metric,
    slices: Mapping[tuple[str, str], set[str]] | None = None,
    gaps: Sequence[str] = (),
) -> Decision:
    """Whether the challenger takes the champion's place.

    It must pass the data checks, have no `gaps` in its lineage, and reach `gates.minimum` of `gates.metric`. Where
    there is a champion, the difference between the two on the frames that both scored (`paired_bootstrap` with
    `metric`) must on average reach `min_improvement`, and the lower end of its interval must not be below
    -`max_regression`. Nor may it be worse beyond doubt, by more than `max_regression` on average, on any of the
    `slices`, {(dimension, name): assets}, of at least SLICE_ASSETS assets. The champion's own model is equal to itself.
    `metric` is the function that `gates.metric` names. Raises UsageError where `metrics` lacks it.
    """
    if gates.metric not in metrics:
        raise UsageError(f"promotion.gates.metric: no metric {gates.metric!r}", nearest(gates.metric, list(metrics)))
    against = [f"the data check `{check}` failed" for check in failed_checks]
    against += [f"its lineage has a gap: {gap}" for gap in gaps]
    in_favour = []
    (in_favour if _reaches(gates, metrics[gates.metric]) else against).append(_minimum(gates, metrics[gates.metric]))
    compared, difference = None, None
    if champion is None:
        in_favour.append("there is no champion yet: a first model needs only the minimum")
    elif champion.digest == digest:
        compared = {"version": champion.version, "metrics": metrics, "assets": None, "frames": None}
        in_favour.append(f"it is equal to the champion: version {champion.version} is this same model")
    else:
        compared, difference, objections, merits = _compare(gates, challenger, champion, metric, slices or {})
        against += objections
        in_favour += merits
    body = difference and {"mean": difference.mean, "low": difference.low, "high": difference.high}
    return Decision(not against, tuple(against + in_favour), dict(metrics), compared, body)


def _reaches(gates: Gates, value: float) -> bool:
    sign = -1 if gates.metric in LOWER_IS_BETTER else 1
    return sign * value >= sign * gates.minimum  # False for NaN too


def _minimum(gates: Gates, value: float) -> str:
    bound = "maximum" if gates.metric in LOWER_IS_BETTER else "minimum"
    verb = "meets" if _reaches(gates, value) else "does not meet"
    return f"{gates.metric} {value:.4f} {verb} the {bound} of {gates.minimum:.4f}"


def _compare(
    gates: Gates, challenger: Scores, champion: Champion, metric: Metric, slices: Mapping[tuple[str, str], set[str]]
) -> tuple[dict, Difference | None, list[str], list[str]]:
    """(what the champion is and scored, the difference, reasons against, reasons in favour)."""
    name = f"champion version {champion.version}"
    nothing = {"version": champion.version, "metrics": None, "assets": 0, "frames": 0}
    if champion.scores is None:
        return nothing, None, [f"it cannot be compared with {name}: {champion.missing}"], []
    pairs = pair(challenger, champion.scores)
    if not pairs.frames:
        return nothing, None, [f"it cannot be compared with {name}: no labelled frame was scored by both"], []
    figure = measure(metric, pairs.champion)
    compared = {
        "version": champion.version,
        "metrics": {gates.metric: round(float(figure), DECIMALS)} if math.isfinite(figure) else None,
        "assets": pairs.assets,
        "frames": pairs.frames,
    }
    ground = f"the same {pairs.frames} frames of {pairs.assets} {pairs.challenger.UNITS}"
    if pairs.assets < 2:
        return compared, None, [f"it cannot be compared with {name}: {ground} give no interval; hold out more"], []
    sign = -1 if gates.metric in LOWER_IS_BETTER else 1

    def higher_is_better(*scored) -> float:
        return sign * metric(*scored)

    found = paired_bootstrap(pairs, higher_is_better, gates.confidence)
    if found is None:
        return compared, None, [f"it cannot be compared with {name}: {gates.metric} is undefined on {ground}"], []
    interval = f"{gates.confidence:.0%} interval {found.low:+.4f} to {found.high:+.4f}"
    objections = []
    if found.mean < gates.min_improvement:
        objections.append(f"the mean difference {found.mean:+.4f} is below the {gates.min_improvement:+.4f} asked for")
    if found.low < -gates.max_regression:
        objections.append(f"it may be worse by {-found.low:.4f}, and {gates.max_regression:.4f} is the most allowed")
    objections += _worse_slices(gates, pairs, higher_is_better, slices)
    verdict = f"{gates.metric} against {name} on {ground}: {found.mean:+.4f} ({interval})"
    verdict += f"; on those alone, as {champion.note}" if champion.note else ""
    return compared, found, objections + [verdict] if objections else [], [] if objections else [verdict]


def _worse_slices(gates: Gates, pairs: Pairs, metric: Metric, slices: Mapping[tuple[str, str], set[str]]) -> list[str]:
    """An objection for each slice on which the challenger is worse beyond doubt and by more than is allowed.

    An interval over few assets is wide: that it may be worse there is true of nearly every slice, so here its upper
    end must be below zero.
    """
    objections = []
    for (dimension, name), assets in sorted(slices.items()):
        part = pair(pairs.challenger.of_assets(assets), pairs.champion.of_assets(assets))
        if part.assets < SLICE_ASSETS or part.assets == pairs.assets:
            continue
        difference = measure(metric, part.challenger) - measure(metric, part.champion)
        if not difference < -gates.max_regression:  # nor where it is undefined; spares the draws
            continue
        found = paired_bootstrap(part, metric, gates.confidence)
        if found and found.high < 0 and found.mean < -gates.max_regression:
            objections.append(
                f"on {dimension} {name} ({part.assets} {part.challenger.UNITS}) it is worse by {-found.mean:.4f} "
                f"(interval {found.low:+.4f} to {found.high:+.4f}), and {gates.max_regression:.4f} is the most allowed"
            )
    return objections
