"""`params.yaml`, typed: a section per stage, validated once; an unknown key is refused with the nearest right name."""

import difflib
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from components.core import paths
from components.core.errors import UsageError

TUNED = "tuned"
WHOLE = ("finetune", "detector")  # values of training.head that train the backbone too


class Section(BaseModel):
    """A section of a recipe: unknown keys are errors, values cannot be changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _fraction(value: Any) -> Any:
    """Rates are written as 5, 12.5 or '30000/1001' and are never rounded."""
    return Fraction(str(value)) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else value


def _text_keys(value: Any) -> Any:
    """YAML reads the labels 0 and 1 as numbers; a file of labels holds text."""
    return {str(key): name for key, name in value.items()} if isinstance(value, dict) else value


Rate = Annotated[Fraction, BeforeValidator(_fraction), Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Task(Section):
    """The learning problem. `classes` in the order of the model's outputs; `positive` is the class ranked by.

    For detection, which finds where in a frame the others are, the first class is the background.

    Without a positive class all are of one rank: the likeliest is called, and a frame's score is its probability.
    `tracks`: of detection, whether what is found in a frame is also known again in the next ones.
    """

    kind: Literal["classification", "detection"] = "classification"
    classes: tuple[str, ...] = Field(min_length=2)
    positive: str | None = None
    tracks: bool = False

    @property
    def positive_index(self) -> int | None:
        """The positive class's place in `classes`, or None."""
        return None if self.positive is None else self.classes.index(self.positive)

    @model_validator(mode="after")
    def _positive_is_a_class(self):
        if self.positive is not None and self.positive not in self.classes:
            raise ValueError(f"positive: {self.positive!r} is not one of classes {list(self.classes)}")
        return self

    @model_validator(mode="after")
    def _what_is_tracked_is_detected(self):
        if self.tracks and self.kind != "detection":
            raise ValueError("tracks: only what is detected can be tracked: set kind detection")
        return self


class Scenes(Section):
    """Generated footage, for `source: scenes`."""

    seed: int = 11
    train_clips: PositiveInt = 24
    val_clips: PositiveInt = 8
    test_clips: PositiveInt = 12
    seconds: float = Field(8.0, ge=1, le=600)


class Cameras(Section):
    """Generated pictures of edge cameras with EXIF, for `source: cameras`: by day and by night, mostly empty."""

    seed: int = 5
    sites: int = Field(4, ge=2, le=26)
    pictures: PositiveInt = 90  # per site
    animals: float = Field(0.25, gt=0, lt=1)  # share of the pictures that show one


class Digits(Section):
    """Generated pictures of handwritten-like digits, a folder per class, for `source: digits`."""

    seed: int = 3
    per_class: PositiveInt = 50
    size: int = Field(32, ge=16, le=256)


class Wild(Section):
    """Generated pictures of animals in the open, for `source: wild`: with one to three of them, or with none.

    `empty`: share of the pictures without an animal, of which many show what looks like one; `several`: share of the
    others that show two or three; `camouflage`: share of the animals whose coat has the tone of what is behind them.
    """

    seed: int = 9
    pictures: int = Field(360, ge=20)
    empty: float = Field(0.45, gt=0, lt=1)
    several: Share = 0.35
    camouflage: Share = 0.25


class Search(Section):
    """Pictures gathered by image search, for `source: search`. The query that found a picture is its only label.

    `provider`: who is asked; `endpoint`: its address if it is not the public one, for `json` a template with {query},
    {page} and {per_page}, for `folder` the folder below which a query names a folder of pictures. `fields`: for `json`,
    where an answer holds what (dotted paths: items, url, and if there are any page, licence, author, title).
    `positive`: queries for the positive class; `negative`: for what is not it, look-alikes above all; `random`: so many
    further queries of one random word, drawn by `seed`, as in noise-contrastive estimation. `pictures`,
    `negative_pictures`, `random_pictures`: wanted at most of one such query. `rate`: requests a second to one host;
    `retries` of what may pass, with backoff; `robots`: whether a host's robots.txt is obeyed. `max_mb`, `min_side`: of
    one picture; `near`: of 64 bits of the perceptual hash, how many may differ between near-duplicates (-1: none are
    looked for). `licences`: those that are taken, by the words of the provider (empty: any).
    """

    provider: Literal["openverse", "wikimedia", "json", "folder"] = "openverse"
    endpoint: str | None = None
    fields: dict[Literal["items", "url", "page", "licence", "author", "title"], str] = {}
    positive: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    random: int = Field(0, ge=0)
    pictures: PositiveInt = 400
    negative_pictures: PositiveInt = 200
    random_pictures: PositiveInt = 10
    per_page: PositiveInt = 20
    rate: float = Field(2.0, gt=0)
    timeout_s: float = Field(30.0, gt=0)
    retries: int = Field(3, ge=0)
    robots: bool = True
    max_mb: float = Field(20.0, gt=0)
    min_side: PositiveInt = 64
    near: int = Field(4, ge=-1, le=16)
    licences: tuple[str, ...] = ()
    seed: int = 0


class Explained(Section):
    """The boxes that another recipe's explained classifier gave, for `source: explained`.

    `recipe`: that recipe, which params.yaml lists under `explained`. `truth`: a file of human boxes, below its source's
    folder or of the workspace, which are used for the held-out assets alone, to measure by; null where there are none.
    """

    recipe: str = "sightings"
    truth: str | None = None


class Limits(Section):
    """What one file may cost while it is looked at; a file above a limit is quarantined with that reason."""

    seconds: float = Field(600.0, gt=0)
    pixels: PositiveInt = 200_000_000
    memory_mb: PositiveInt = 4096


class Split(Section):
    """Which assets are held out, where the source does not say. `test` and `val` are globs over asset names."""

    test: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    test_fraction: Share = 0.2
    val_fraction: Share = 0.2
    seed: int = 7


class Ingest(Section):
    """How a source is read.

    `labels`: a file or folder below the source folder, `folders` (each picture's folder names its class), or `auto`.
    `label_format`: how it is written. `label_map`: the source's words -> the task's classes. `uncovered`: the class of
    frames that no label speaks of. `site`: a regular expression on an asset's name, whose first group is its site.
    """

    labels: str = "auto"
    label_format: Literal["auto", "csv", "folders", "mot", "voc", "coco", "cvml", "openimages"] = "auto"
    label_map: Annotated[dict[str, str], BeforeValidator(_text_keys)] = {}
    uncovered: str | None = None
    site: str | None = None
    split: Split = Split()
    limits: Limits = Limits()
    scenes: Scenes = Scenes()
    cameras: Cameras = Cameras()
    digits: Digits = Digits()
    wild: Wild = Wild()
    search: Search = Search()
    explained: Explained = Explained()


class Frames(Section):
    """`fps`: samples per second of footage (null: every frame); `max_side`: longer pictures are scaled down to it."""

    fps: Rate | None = Fraction(5)
    max_side: PositiveInt | None = 640
    jpeg_quality: int = Field(92, ge=1, le=100)


class Features(Section):
    """Backbone, where its weights come from, and what one frame's vector is made of.

    `size`: (height, width) in pixels that every picture is scaled to. `parts`, in the vector's order: `mean` and
    `max` of the backbone's last feature map, `motion` against the sampled frame before (none of a backbone in it).
    `engine`: what runs the network; `auto` is the fastest sound one here. `precision`: of the network's arithmetic.
    """

    backbone: str = "sightline_small"
    weights: str = "shipped"
    size: tuple[PositiveInt, PositiveInt] = (192, 256)
    parts: tuple[Literal["mean", "max", "motion"], ...] = Field(("mean", "max", "motion"), min_length=1)
    batch_size: PositiveInt = 16
    engine: Literal["auto", "torch", "compiled", "onnxruntime", "openvino"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"


class Validation(Section):
    """Bounds that the Great Expectations suites hold the data to."""

    min_assets: PositiveInt = 2
    min_frames_per_class: PositiveInt = 10
    max_quarantined: Share = 0.2
    max_labels_refused: Share = 0.05
    min_labelled: Share = 0.5


Tunable = float | Literal["tuned"]


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
    `identity_weight`: of the loss of identities beside that of detection.
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
    identity_weight: float = Field(1.0, ge=0)
    backbone_rate: float = Field(0.3, gt=0)
    weight_decay: float = Field(0.0001, ge=0)
    soft_weights: bool = True
    self_training: int = Field(0, ge=0, le=5)
    batch_norm: Literal["batch", "frozen"] = "batch"
    max_boxes: int = Field(20, ge=1, le=100)
    score_floor: Share = 0.05
    nms: float = Field(0.5, gt=0, le=1)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"


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
    those of the first frame are at once. `tuned`: `high_score` and `new_score` are replaced, after training, by those
    that do best on the validation split.
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

    `penalty` and `l1_ratio` are the elastic net's, as in Spark ML's regParam and elasticNetParam. `batch_size` is per
    worker. `balanced`: every class has the same share of the loss. `window_s`: how far before and after a frame the
    temporal head looks. `patience`: epochs without a better validation loss after which training stops (null: all
    epochs are trained and the last is kept). `refit`: train once more on train and validation assets together, for the
    number of epochs that validation found best. `max_iter`: of Spark MLlib's optimizer, for `head: mllib`, which uses
    nothing else but `penalty`, `l1_ratio` and `balanced`.
    """

    head: Literal["logistic", "mlp", "temporal", "mllib", "finetune", "detector"] = "temporal"
    workers: PositiveInt = 2
    epochs: PositiveInt = 40
    patience: PositiveInt | None = 8
    batch_size: PositiveInt = 64
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
    def _a_detector_takes_numbers(self):
        if self.head == "detector" and self.lr == TUNED:
            raise ValueError(f"lr is `{TUNED}`, but trials train no detector: give a number")
        return self

    @model_validator(mode="after")
    def _noise_is_for_what_steps(self):
        if self.head in ("mllib", "detector") and (self.finetune.loss_q or self.finetune.mining.rounds):
            raise ValueError(f"finetune.loss_q and finetune.mining are not for {self.head}: leave both 0")
        return self

    def tuned_names(self) -> list[str]:
        """Names of the parameters left to the tuning stage."""
        return [] if self.head in ("mllib", "detector") else sorted(name for name, value in self if value == TUNED)


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
    space: dict[Literal["lr", "penalty", "dropout"], Range] = {}


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


class Recipe(Section):
    """One learning problem from its source to its service: a section for each stage, and monitoring.

    `made_from`: what DVC counts as the source's maker, a generator's code or the output of another recipe's stage.
    """

    name: str
    task: Task
    source: str
    made_from: str = "components/ingest/sources"
    ingest: Ingest = Ingest()
    frames: Frames = Frames()
    features: Features = Features()
    validation: Validation = Validation()
    tuning: Tuning = Tuning()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    promotion: Promotion = Promotion()
    deployment: Deployment = Deployment()
    monitoring: Monitoring = Monitoring()
    explain: Explain = Explain()

    @model_validator(mode="after")
    def _tuned_have_a_range(self):
        missing = [name for name in self.training.tuned_names() if name not in self.tuning.space]
        if missing:
            raise ValueError(f"training.{missing[0]} is `{TUNED}` but tuning.space has no range for it")
        return self

    @model_validator(mode="after")
    def _motion_is_not_trained(self):
        if self.training.head in WHOLE and "motion" in self.features.parts:
            head = self.training.head
            raise ValueError(f"features.parts has motion, which {head} cannot train: leave mean, max or both")
        return self

    @model_validator(mode="after")
    def _mining_needs_negatives(self):
        if self.training.finetune.mining.rounds and self.task.positive is None:
            raise ValueError("training.finetune.mining: without task.positive no frame is a negative: leave rounds 0")
        return self

    @model_validator(mode="after")
    def _detection_needs_a_detector(self):
        if (self.task.kind == "detection") != (self.training.head == "detector"):
            raise ValueError("task.kind detection and training.head detector go together: set both or neither")
        return self

    @model_validator(mode="after")
    def _background_is_not_positive(self):
        if self.task.kind == "detection" and self.task.positive_index == 0:
            raise ValueError("task.positive: a detection task's first class is the background: name another")
        return self

    @property
    def learns_from_frames(self) -> bool:
        """Whether the whole network is trained on the frames' pixels, not a head on their features."""
        return self.training.head in WHOLE

    @property
    def finds_boxes(self) -> bool:
        """Whether the model says where in a frame a class is."""
        return self.task.kind == "detection"

    @property
    def registered_name(self) -> str:
        """The model's name in the registry."""
        return self.promotion.registered_name or self.name


def nearest(name: str, names: list[str]) -> str:
    """`did you mean ...?` for the closest of `names`, else the list of them."""
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(names))}"


def recipe_names(path: Path | None = None) -> list[str]:
    """Names of the recipes in params.yaml, in its order."""
    return list(_read(path or paths.workspace() / "params.yaml"))


def load_recipe(name: str, path: Path | None = None) -> Recipe:
    """The recipe `name` of `path` (default: the workspace's params.yaml), checked whole.

    Raises UsageError for an unreadable file, an unknown recipe or key (naming the nearest right one), a wrong value.
    """
    path = path or paths.workspace() / "params.yaml"
    recipes = _read(path)
    if name not in recipes:
        raise UsageError(f"{path.name}: no recipe {name!r}", nearest(name, list(recipes)))
    return parse_recipe(name, recipes[name], path.name)


def parse_recipe(name: str, body: Any, origin: str = "params.yaml") -> Recipe:
    """The recipe written as the mapping `body`; errors name `origin`, the key and the remedy."""
    if not isinstance(body, dict):
        raise UsageError(f"{origin}: recipes.{name} is not a mapping", "give it the keys task and source")
    try:
        return Recipe(name=name, **body)
    except ValidationError as error:
        raise UsageError(*_explain(error, origin, name)) from None


def _read(path: Path) -> dict:
    try:
        document = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UsageError(f"{path}: not there", "run inside a Sightline checkout") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not valid YAML: {error}", "correct the line it names") from None
    if not isinstance(document, dict) or not isinstance(document.get("recipes"), dict):
        raise UsageError(f"{path}: no mapping `recipes` in it", "see params.yaml of the project for the form")
    return document["recipes"]


def _explain(error: ValidationError, origin: str, name: str) -> tuple[str, str]:
    # A key that is missing may only be misspelt: the unknown one says more.
    errors = sorted(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    first = errors[0]
    where = [str(part) for part in first["loc"]]
    key = ".".join(["recipes", name, *where])
    if first["type"] == "extra_forbidden":
        section = _section(where[:-1])
        known = [field for field in section.model_fields if field != "name"] if section else []
        return f"{origin}: unknown parameter {key}", nearest(where[-1], known)
    value = "" if isinstance(first["input"], dict) else f" = {first['input']!r}"
    return f"{origin}: {key}{value}: {first['msg']}", "give it a value of that form"


def _section(where: list[str]) -> type[Section] | None:
    model: Any = Recipe
    for part in where:
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return model if model is not Recipe else None
        model = field.annotation
    return model if isinstance(model, type) and issubclass(model, Section) else None
