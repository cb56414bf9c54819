"""One recipe: all sections, and what must hold between them."""

from pydantic import model_validator

from components.core.recipe.data import Features, Frames, Ingest, Validation
from components.core.recipe.operation import Deployment, Evaluation, Explain, Monitoring, Promotion
from components.core.recipe.section import TUNED, Section
from components.core.recipe.sources import Task
from components.core.recipe.training import Training, Tuning

WHOLE = ("finetune", "detector")  # values of training.head that train the backbone too


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
