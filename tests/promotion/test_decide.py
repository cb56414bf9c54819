import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.core.errors import UsageError
from components.core.recipe import Gates
from components.promotion import compare
from components.promotion.compare import Scores
from components.promotion.decide import Champion, decide

GATES = Gates(metric="accuracy", minimum=0.6, min_improvement=0.0, confidence=0.95, max_regression=0.02)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "RESAMPLES", 100)


def accuracy(labels: np.ndarray, probabilities: np.ndarray, threshold: float) -> float:
    return float(np.mean((probabilities[:, 1] >= threshold) == labels))


def answers(right: float, seed: int = 0, assets: int = 8, frames: int = 25, first: int = 0) -> Scores:
    """A model that calls this share of the frames right."""
    keys = [(f"{asset:03d}", frame) for asset in range(first, first + assets) for frame in range(frames)]
    labels = np.array([frame % 2 for _, frame in keys], np.int64)
    called = np.where(np.random.default_rng(seed).random(len(keys)) < right, labels, 1 - labels)
    positive = (0.1 + 0.8 * called).astype(np.float32)
    return Scores(keys, labels, np.stack([1 - positive, positive], 1), 0.5)


def decided(
    challenger: Scores, champion: Champion | None = None, gates: Gates = GATES, failed: tuple = (), digest="new"
):
    metrics = {"accuracy": accuracy(challenger.labels, challenger.probabilities, 0.5), "log_loss": 0.4}
    metric = accuracy if gates.metric == "accuracy" else (lambda *given: 1 - accuracy(*given))
    return decide(gates, metrics, list(failed), challenger, digest, champion, metric)


def test_a_first_model_needs_only_the_minimum():
    decision = decided(answers(0.9))
    assert decision.promoted and decision.champion is None and decision.difference is None
    assert any("no champion yet" in reason for reason in decision.reasons)


@settings(max_examples=30, deadline=None)
@given(
    right=st.floats(0, 1), minimum=st.floats(0, 1), rival=st.none() | st.floats(0, 1), seed=st.integers(0, 9),
    improvement=st.floats(-1, 0), same=st.booleans(),
)  # fmt: skip
def test_nothing_below_the_minimum_is_ever_promoted(right, minimum, rival, seed, improvement, same):
    gates = GATES.model_copy(update={"minimum": minimum, "min_improvement": improvement, "max_regression": 1.0})
    champion = None if rival is None else Champion(3, "new" if same else "old", answers(rival, seed + 1))
    decision = decided(answers(right, seed), champion, gates)
    assert not decision.promoted or decision.metrics["accuracy"] >= minimum
    if decision.metrics["accuracy"] < minimum:
        assert "does not meet the minimum" in decision.reasons[0]


@settings(max_examples=30, deadline=None)
@given(ours=st.floats(0.5, 1), theirs=st.floats(0.5, 1), seed=st.integers(0, 50), allowed=st.floats(0, 0.2))
def test_who_is_promoted_over_a_champion_is_not_worse_than_allowed(ours, theirs, seed, allowed):
    gates = GATES.model_copy(update={"minimum": 0.0, "max_regression": allowed})
    decision = decided(answers(ours, seed), Champion(1, "old", answers(theirs, seed + 100)), gates)
    found = decision.difference
    assert decision.promoted == (found["mean"] >= 0 and found["low"] >= -allowed)
    assert found["low"] <= found["mean"] <= found["high"]


@pytest.mark.parametrize("nan", [float("nan")])
def test_an_undefined_figure_does_not_pass(nan):
    decision = decide(GATES, {"accuracy": nan}, [], answers(0.9), "new", None, accuracy)
    assert not decision.promoted


def test_better_than_the_champion():
    decision = decided(answers(0.95), Champion(4, "old", answers(0.7, 1)))
    assert decision.promoted
    assert decision.champion["version"] == 4 and decision.champion["frames"] == 200
    assert decision.champion["metrics"]["accuracy"] == pytest.approx(0.7, abs=0.1)
    assert decision.difference["low"] > 0


def test_regression_is_refused_and_says_so():
    decision = decided(answers(0.7), Champion(4, "old", answers(0.95, 1)))
    assert not decision.promoted
    assert "is below the +0.0000 asked for" in decision.reasons[0]
    assert "may be worse by" in decision.reasons[1]


def test_better_on_average_but_in_doubt_is_refused():
    """One clip far better, three slightly worse: the mean is above zero, the interval's lower end is not."""
    champion = answers(0.8, 1, assets=4)
    probabilities = champion.probabilities.copy()
    calls = (probabilities[:, 1] >= 0.5).astype(int)
    right = calls == champion.labels
    turned = np.zeros(len(calls), bool)
    turned[:25] = ~right[:25]  # all of clip 0 right
    for clip in (1, 2, 3):
        turned[np.flatnonzero(right[25 * clip : 25 * clip + 25])[:1] + 25 * clip] = True  # one frame lost
    probabilities[turned] = probabilities[turned][:, ::-1]
    challenger = Scores(champion.keys, champion.labels, probabilities, 0.5)
    decision = decided(challenger, Champion(1, "old", champion))
    assert decision.difference["mean"] >= 0 > -0.02 > decision.difference["low"]
    assert not decision.promoted and "may be worse by" in decision.reasons[0]


def test_a_demanded_improvement():
    gates = GATES.model_copy(update={"min_improvement": 0.5})
    assert not decided(answers(0.95), Champion(4, "old", answers(0.7, 1)), gates).promoted


def test_the_champion_against_itself_is_equal():
    decision = decided(
        answers(0.9), Champion(4, "new", answers(0.9)), GATES.model_copy(update={"min_improvement": 0.3})
    )
    assert decision.promoted and decision.difference is None
    assert any("equal to the champion: version 4" in reason for reason in decision.reasons)


def test_another_model_that_answers_the_same_differs_by_nothing():
    decision = decided(answers(0.9), Champion(4, "old", answers(0.9)))
    assert decision.promoted
    assert decision.difference == {"mean": 0.0, "low": 0.0, "high": 0.0}


def test_failed_data_checks_refuse_the_best_model():
    decision = decided(answers(1.0), failed=["frames: pts grow"])
    assert not decision.promoted and decision.reasons[0] == "the data check `frames: pts grow` failed"


@pytest.mark.parametrize(
    ("champion", "reason"),
    [
        (Champion(2, "old", None, "its run holds no predictions"), "champion version 2: its run holds no predictions"),
        (Champion(2, "old", answers(0.7, first=50)), "no labelled frame was scored by both"),
        (Champion(2, "old", answers(0.7, assets=1)), "25 frames of 1 assets give no interval"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(champion, reason):
    decision = decided(answers(1.0), champion)
    assert not decision.promoted and decision.difference is None
    assert "cannot be compared" in decision.reasons[0] and reason in decision.reasons[0]


def test_an_undefined_comparison_is_refused():
    metrics = {"accuracy": 0.9}
    champion = Champion(2, "old", answers(0.7, 1))
    decision = decide(GATES, metrics, [], answers(0.9), "new", champion, lambda *_: float("nan"))
    assert not decision.promoted and "is undefined on the same 200 frames" in decision.reasons[0]


def test_of_log_loss_less_is_better():
    gates = GATES.model_copy(update={"metric": "log_loss", "minimum": 0.5})
    better, worse = answers(0.95), answers(0.7, 1)
    up = decided(better, Champion(1, "old", worse), gates)
    down = decided(worse, Champion(1, "old", better), gates)
    assert up.promoted and up.difference["mean"] > 0
    assert not down.promoted and down.difference["mean"] < 0
    strict = decided(better, None, gates.model_copy(update={"minimum": 0.3}))
    assert not strict.promoted and "does not meet the maximum of 0.3" in strict.reasons[0]


def test_an_unknown_metric_names_the_nearest():
    with pytest.raises(UsageError, match="accuracy"):
        decided(answers(0.9), gates=GATES.model_copy(update={"metric": "acuracy"}))


def slices_of(scores: Scores, size: int) -> dict:
    """The assets in two sites: the first `size`, and the rest."""
    assets = sorted({asset for asset, _ in scores.keys})
    return {("site", "a"): set(assets[:size]), ("site", "b"): set(assets[size:])}


def worse_on_some(assets: int, worse: int) -> tuple[Scores, Scores]:
    """(challenger, champion): better on the whole, but wrong throughout on the first `worse` assets."""
    champion = answers(0.6, 1, assets=assets)
    labels = champion.labels
    right = np.array([int(asset) >= worse for asset, _ in champion.keys])
    positive = np.where(right, labels, 1 - labels).astype(np.float32) * 0.8 + 0.1
    return Scores(champion.keys, labels, np.stack([1 - positive, positive], 1), 0.5), champion


@pytest.mark.parametrize(("worse", "refused"), [(10, True), (9, False)])
def test_a_slice_that_gets_worse_is_refused_if_it_is_large_enough(worse, refused):
    challenger, champion = worse_on_some(50, worse)
    metrics = {"accuracy": accuracy(challenger.labels, challenger.probabilities, 0.5)}
    slices = slices_of(challenger, worse)
    rival = Champion(1, "old", champion)
    assert decide(GATES, metrics, [], challenger, "new", rival, accuracy).promoted, "better on the whole"
    decision = decide(GATES, metrics, [], challenger, "new", rival, accuracy, slices)
    assert decision.promoted is not refused and decision.difference["low"] > 0
    if refused:
        assert decision.reasons[0].startswith("on site a (10 assets) it is worse by 0.")
    lenient = GATES.model_copy(update={"max_regression": 1.0})
    assert decide(lenient, metrics, [], challenger, "new", rival, accuracy, slices).promoted


def test_a_slice_that_may_be_worse_by_chance_is_let_pass():
    """On one of the slice's twelve assets it is worse, on the others as good: on average by more than is allowed."""
    champion = answers(1.0, assets=40)
    probabilities = champion.probabilities.copy()
    rows = np.array([asset == "000" for asset, _ in champion.keys])
    probabilities[rows] = probabilities[rows][:, ::-1]
    probabilities[0] = champion.probabilities[0]
    challenger = Scores(champion.keys, champion.labels, probabilities, 0.5)
    gates = GATES.model_copy(update={"max_regression": 0.05, "min_improvement": -0.05, "confidence": 0.5})
    metrics = {"accuracy": 0.98}
    decision = decide(
        gates, metrics, [], challenger, "new", Champion(1, "old", champion), accuracy, slices_of(challenger, 12)
    )
    assert decision.promoted


def test_of_log_loss_a_slice_gets_worse_by_more():
    challenger, champion = worse_on_some(50, 10)
    gates = GATES.model_copy(update={"metric": "log_loss", "minimum": 1.0})
    metrics = {"log_loss": 0.2}

    def loss(labels, probabilities, threshold):
        return 1 - accuracy(labels, probabilities, threshold)

    rival = Champion(1, "old", champion)
    decision = decide(gates, metrics, [], challenger, "new", rival, loss, slices_of(challenger, 10))
    assert not decision.promoted and "on site a" in decision.reasons[0]
