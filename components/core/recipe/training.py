"""Tuning and training: heads, whole networks, detectors, trackers."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from components.core.recipe.section import TUNED, Section, Share, Tunable, Tuned

Searched = Literal[
    "lr", "penalty", "dropout", "batch_size", "detector.identity_weight", "detector.box_weight",
    "detector.backbone_rate",
]  # fmt: skip
COUNTS = ("batch_size",)  # of these the whole numbers are searched


class Augment(Section):
    """How far training pictures are changed at random while the whole network is trained; 0 leaves that as it is.

    `rotate`, `shear`: degrees either way; `translate`, `elastic`: shares of the picture's side; `scale`: 0.2 draws
    sizes from 1/1.2 to 1.2; `flip`: mirrored left to right as often as not; `colour`: share by which brightness,
    contrast and saturation change; `noise`: standard deviation, of white = 1; `erase`: largest share of the area.
    """

    rotate: float = Field(0.0, ge=0, le=180)
    translate: Share = 0.0
    scale: float = Field(0.0, ge=0)
    shear: float = Field(0.0, ge=0, lt=80)
    elastic: Share = 0.0
    flip: bool = False
    colour: Share = 0.0
    noise: Share = 0.0
    erase: Share = 0.0


class Mining(Section):
    """Further rounds of training in which hard negatives count for more: frames of other classes than the positive one
    that the round before scored highest, by its probability of the positive class.

    `rounds`: 0 for none. Of the negatives, the hardest first, the share `skip` is left as it is: where labels are
    wrong, what is most surely no negative is often none. The share `share` after them weighs `weight` times as much as
    the others. Negatives as a whole keep their share of the loss.
    """

    rounds: int = Field(0, ge=0, le=5)
    share: float = Field(0.2, gt=0, le=1)
    weight: float = Field(3.0, gt=1)
    skip: float = Field(0.05, ge=0, lt=1)

    @model_validator(mode="after")
    def _something_is_left(self):
        if self.share + self.skip > 1:
            raise ValueError(f"share {self.share} and skip {self.skip} are more than all negatives")
        return self


class Finetune(Section):
    """How the whole network is trained, for `head: finetune`; `loss_q` and `mining` hold for other heads too, but not
    for mllib and detector.

    `backbone_rate`: the backbone's learning rate as a share of `lr`, which is the linear head's. `weight_decay`: of
    AdamW. `smoothing`: of the labels. `average`: weight that an exponential average of the network keeps at every step
    (0: no average). `batch_norm`: `batch` normalises by each worker's batch and averages the running statistics over
    the workers after every epoch; `frozen` keeps the weights' own statistics. `precision`: of the arithmetic; `auto` is
    bfloat16 where the processor has instructions for it. `loss_q`: q of the generalised cross-entropy, for wrong
    labels; 0 is cross-entropy, 1 trusts the label least. `mining`: of hard negatives.
    """

    backbone_rate: float = Field(0.3, gt=0)
    weight_decay: float = Field(0.0001, ge=0)
    smoothing: float = Field(0.1, ge=0, lt=1)
    average: float = Field(0.0, ge=0, lt=1)
    batch_norm: Literal["batch", "frozen"] = "batch"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    loss_q: Share = 0.0
    mining: Mining = Mining()


class Detector(Section):
    """What finds boxes, for `head: detector`. Backbone, its weights and the pictures' size are those of `features`.

    `model`: `light` has one stage and is meant for processors and edge devices; `faster_rcnn` has two. `fairmot` and
    `fairmot_dla34` find boxes and say what each looks like in `embedding` numbers, so that a tracker knows it again:
    the first on any backbone, with a cell of about `stride` pixels, the second as published, on DLA-34 (plain
    convolutions, or `deformable`; its own `weights`: none, imagenet or a file), whatever `features` says. `everybody`:
    every box of a picture that belongs to no track is learned as an identity of its own. `half_val`: training sees the
    first half of every training sequence and is judged by the second, and not by the validation split.
    `identity_weight`: of FairMOT's loss of identities beside that of detection, `box_weight`: within the latter, of the
    sizes of boxes; both are factors on the published weights.
    `backbone_rate`: the backbone's learning rate as a share of `lr`. `weight_decay`: of AdamW. `soft_weights`: a box's
    share of the loss is its annotation's weight; without, every box counts once. A box of weight 0 is in both cases
    neither an object nor background. `self_training`: rounds in which the detector is trained anew on boxes without
    those that the one before disagrees with. `batch_norm`, of the backbone: `batch` normalises by each worker's batch,
    `frozen` keeps the weights' own statistics. `max_boxes`: found in one picture at most, of at least the score
    `score_floor`; of two of one class whose intersection over union is above `nms`, the better one stays. `precision`:
    of the backbone's arithmetic in training; `auto` is bfloat16 where the processor has instructions for it.
    """

    model: Literal["light", "faster_rcnn", "fairmot", "fairmot_dla34"] = "light"
    stride: Literal[4, 8] = 8
    embedding: int = Field(64, ge=8, le=512)
    deformable: bool = False
    weights: str = "none"
    everybody: bool = False
    half_val: bool = False
    identity_weight: Annotated[float, Field(ge=0)] | Tuned = 1.0
    box_weight: Annotated[float, Field(ge=0)] | Tuned = 1.0
    backbone_rate: Annotated[float, Field(gt=0)] | Tuned = 0.3
    weight_decay: float = Field(0.0001, ge=0)
    soft_weights: bool = True
    self_training: int = Field(0, ge=0, le=5)
    batch_norm: Literal["batch", "frozen"] = "batch"
    max_boxes: int = Field(20, ge=1, le=100)
    score_floor: Share = 0.05
    nms: float = Field(0.5, gt=0, le=1)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    @model_validator(mode="after")
    def _searched_by_what_uses_it(self):
        for name in ("identity_weight", "box_weight"):
            if getattr(self, name) == TUNED and not self.model.startswith("fairmot"):
                raise ValueError(f"{name} is `{TUNED}`, but model {self.model} does not use it: give a number")
        return self


class Tracker(Section):
    """How identities are carried from frame to frame, for `task.tracks` (`components.tracks`). Scores count from the
    one given on, distances below it.

    `high_score`: from here on a detection takes part in all associations but the low-score one, `low_score`: from here
    on in that one; `new_score`: from here on, if high enough, it can begin a track. `low_scores`: ByteTrack's
    association of low scores. `appearance`: embeddings are used where there are any. Largest distances:
    `appearance_distance` in the first association, cosine fused with motion; `motion_distance` there without
    embeddings, IoU fused with motion; `iou_distance` in the second; `low_iou_distance` in the low-score one;
    `unconfirmed_iou_distance` of unconfirmed tracks. `duplicate_distance`: a tracked and a lost track nearer than this
    by IoU are one (0: never). `lost_frames`: intervals between frames that are missed before a track is given up.
    `momentum`: share of the old embedding in the smoothed one. `min_hits`: frames in a row until a track is confirmed;
    those of the first frame are at once. `tuned`: `high_score`, `new_score`, `appearance_distance`, `iou_distance`,
    `min_hits` and `lost_frames` are replaced, after training, where others do better on the validation split.
    """

    tuned: bool = True
    high_score: Share = 0.4
    low_score: Share = 0.1
    new_score: Share = 0.5
    low_scores: bool = True
    appearance: bool = True
    appearance_distance: float = Field(0.4, ge=0, le=2)
    motion_distance: float = Field(0.8, ge=0, le=2)
    iou_distance: Share = 0.5
    low_iou_distance: Share = 0.5
    unconfirmed_iou_distance: Share = 0.7
    duplicate_distance: Share = 0.15
    lost_frames: float = Field(30.0, ge=0, le=100_000)
    momentum: Share = 0.9
    min_hits: int = Field(2, ge=1, le=100_000)

    @model_validator(mode="after")
    def _low_is_below_high(self):
        if self.low_score > self.high_score:
            raise ValueError(f"low_score {self.low_score} is above high_score {self.high_score}: lower it")
        return self


class Training(Section):
    """The head and how it is trained. A number that reads `tuned` is taken from the tuning stage.

    `workers`: of Horovod. `min_workers`: elastic: so many are enough to go on from the last epoch when others are lost,
    which come back when they can; null: all are needed, and what is trained does not depend on who was lost.

    `penalty` and `l1_ratio` are the elastic net's, as in Spark ML's regParam and elasticNetParam. `batch_size` is per
    worker. `balanced`: every class has the same share of the loss. `window_s`: how far before and after a frame the
    temporal head looks. `patience`: epochs without a better validation loss after which training stops (null: all
    epochs are trained and the last is kept). `refit`: train once more on train and validation assets together, for the
    number of epochs that validation found best. `max_iter`: of Spark MLlib's optimizer, for `head: mllib`, which uses
    nothing else but `penalty`, `l1_ratio` and `balanced`.
    """

    head: Literal["logistic", "mlp", "temporal", "mllib", "finetune", "detector"] = "temporal"
    workers: PositiveInt = 2
    min_workers: PositiveInt | None = None
    epochs: PositiveInt = 40
    patience: PositiveInt | None = 8
    batch_size: PositiveInt | Tuned = 64
    lr: Tunable = TUNED
    penalty: Tunable = TUNED
    l1_ratio: Share = 0.3
    dropout: Tunable = 0.0
    hidden: PositiveInt = 64
    window_s: float = Field(1.0, ge=0)
    balanced: bool = True
    refit: bool = False
    max_iter: PositiveInt = 100
    seed: int = 0
    finetune: Finetune = Finetune()
    detector: Detector = Detector()
    tracker: Tracker = Tracker()
    augment: Augment = Augment()

    @model_validator(mode="after")
    def _fewer_workers_are_enough(self):
        # Horovod starts nobody anew where too few are left to go on, and waits for ever.
        if self.min_workers is not None and self.min_workers >= self.workers:
            told = f"min_workers {self.min_workers} is not below workers {self.workers}"
            raise ValueError(f"{told}: lower it, or set it to null: a stage that fails resumes")
        return self

    @model_validator(mode="after")
    def _mllib_takes_numbers(self):
        if self.head == "mllib" and self.penalty == TUNED:
            raise ValueError(f"penalty is `{TUNED}`, but mllib's trials would need Spark within Spark: give a number")
        return self

    @model_validator(mode="after")
    def _boxes_stay_boxes(self):
        if self.head == "detector" and self.augment.elastic:
            raise ValueError("augment.elastic: a detector's boxes cannot follow it: leave it 0")
        return self

    @model_validator(mode="after")
    def _noise_is_for_what_steps(self):
        if self.head in ("mllib", "detector") and (self.finetune.loss_q or self.finetune.mining.rounds):
            raise ValueError(f"finetune.loss_q and finetune.mining are not for {self.head}: leave both 0")
        return self

    def tuned_names(self) -> list[str]:
        """Names of the parameters left to the tuning stage, those of a detector as `detector.NAME`."""
        if self.head == "mllib":
            return []
        values = dict(self)
        if self.head == "detector":  # which has neither penalty nor dropout
            values = {"lr": self.lr, "batch_size": self.batch_size}
            values |= {f"detector.{name}": value for name, value in self.detector}
        return sorted(name for name, value in values.items() if value == TUNED)

    def at(self, point: dict[str, float]) -> "Training":
        """With these values at the names of `tuned_names`, checked like any others; counts are rounded."""
        values = self.model_dump()
        for name, value in point.items():
            section, _, last = name.rpartition(".")
            (values[section] if section else values)[last] = round(value) if name in COUNTS else value
        return Training.model_validate(values)


class Range(Section):
    """A dimension of the search space: drawn uniformly, or uniformly in the logarithm."""

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self):
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"low {self.low} must be below high {self.high}, and above 0 where log is true")
        return self


class Tuning(Section):
    """Hyperopt's search: `space` names training parameters; trials run `parallelism` at a time on Spark."""

    trials: PositiveInt = 8
    parallelism: PositiveInt = 2
    startup_trials: PositiveInt = 4
    epochs: PositiveInt = 15
    seed: int = 0
    space: dict[Searched, Range] = {}
