"""The stages from a trained model to one that is watched."""

from pydantic import Field, PositiveInt

from components.core.recipe.section import Section, Share


class Evaluation(Section):
    """What the report shows: the `moments` highest ranked stretches, at least `gap_s` seconds apart within a video."""

    moments: PositiveInt = 12
    gap_s: float = Field(2.0, ge=0)


class Gates(Section):
    """A challenger must reach these on the held-out assets. `min_improvement` is over the champion's own metric."""

    metric: str = "frame_auc"
    minimum: float = 0.5
    min_improvement: float = 0.0
    confidence: float = Field(0.95, gt=0, lt=1)
    max_regression: float = Field(0.02, ge=0)


class Promotion(Section):
    """Name in the registry (null: the recipe's own) and the gates."""

    registered_name: str | None = None
    gates: Gates = Gates()


class Deployment(Section):
    """`parity`: the largest difference in probability allowed between the ONNX graph and the trained model."""

    parity: float = Field(1e-4, gt=0)


class Explain(Section):
    """LIME for pictures, for recipes whose name stands in params.yaml under `explained`.

    `pictures`: at most so many frames, those the model is surest of (null: all). A frame is explained once for each
    number of `superpixels`, by `samples` changed pictures each, `batch` at a time; `compactness`: of the superpixels;
    `kernel_width`, `penalty`: of LIME's proximity kernel and ridge regression. Of the sum of these maps, smoothed by
    `smooth` of the shorter side, what reaches a share of the highest value is boxed: the share is the one of
    `thresholds` that does best by the classifier itself. Regions with less than `min_share` of the weight are left out.
    What is called the class with its boxes hidden has more of it: that is explained anew, in at most `rounds`.
    """

    pictures: PositiveInt | None = None
    superpixels: tuple[PositiveInt, ...] = Field((25, 50, 100), min_length=1)
    compactness: float = Field(10.0, gt=0)
    samples: int = Field(300, ge=10)
    batch: PositiveInt = 32
    kernel_width: float = Field(0.25, gt=0)
    penalty: float = Field(1.0, gt=0)
    rounds: int = Field(2, ge=1, le=10)
    smooth: Share = 0.07
    thresholds: tuple[Share, ...] = Field((0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5), min_length=1)
    min_share: Share = 0.1
    seed: int = 0


class Monitoring(Section):
    """A check compares the newest `window` assets that the champion has not seen; `alpha` is its chance of any false
    alarm. Drift, or a champion older than `stale_days` while there are new labels, has the recipe retrained, at most
    every `cooldown_h` hours and `per_day` times in 24 hours."""

    alpha: float = Field(0.001, gt=0, lt=1)
    window: int = Field(200, ge=8)
    cooldown_h: float = Field(6.0, ge=0)
    per_day: PositiveInt = 2
    stale_days: float = Field(30.0, gt=0)
