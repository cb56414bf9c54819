"""What one of Horovod's processes trains: a head on vectors, or a whole network on pictures. All look alike."""

from collections.abc import Iterator

import horovod.torch as hvd
import numpy as np
import torch
from torch import nn

from components.core.errors import SightlineError
from components.core.recipe import Recipe, Training
from components.tasks.classification import finetune
from components.tasks.classification.fit import (
    class_weights,
    figures_of,
    predict,
    predict_batches,
    standardise,
    train_epoch,
)
from components.tasks.classification.mining import mined
from components.tasks.classification.model import head_form, new_head
from components.tasks.classification.pictures import Pictures, PictureStream
from components.tasks.classification.samples import load_samples, split_source
from components.tasks.classification.stream import Stream
from components.tasks.detection import judged as boxed
from components.tasks.detection import learner as detection
from components.tasks.detection.boxes import Detections
from components.tasks.detection.metrics import coco_precision
from components.tasks.detection.samples import Boxes, frame_class
from components.tasks.detection.selftrain import AGREE, corrected
from components.training.outcome import threshold_of

Scored = tuple[np.ndarray, np.ndarray]  # labels (N,), probabilities (N, C)


class Judged:
    """What the validation split says of a model, by the classes of its frames."""

    recipe: Recipe

    def scored(self) -> Scored:
        """The validation frames' labels and probabilities, on every rank."""
        raise NotImplementedError

    def parts(self) -> dict[str, float]:
        """What this rank's losses of the last epoch were made of, on its shares of both splits."""
        return {}

    def figures(self) -> dict[str, float]:
        """What an epoch is judged by, on every rank."""
        return figures_of(*self.scored(), self.recipe.task.positive_index)

    def threshold(self) -> float | None:
        """From which score on the positive class is called; None where the likeliest class is."""
        return threshold_of(self.recipe, *self.scored())


class HeadLearner(Judged):
    """A head on the vectors of these splits' assets. `judged`: it will be asked how it does on the validation split.

    `form`: the head's keyword arguments; `module` and `optimizer`: what a checkpoint holds.
    """

    def __init__(self, recipe: Recipe, params: Training, splits: tuple[str, ...], judged: bool):
        self.recipe, self.params = recipe, params
        self.validation = load_samples(recipe, "val") if judged else None
        source = split_source(recipe, *splits)
        self.form = head_form(recipe, params, source.read(source.groups[0]).vectors.shape[1])
        self.module = new_head(self.form, params.seed)
        self.stream = Stream(source, self.module.reach, params.batch_size, params.seed, hvd.rank(), hvd.size())
        standardise(self.module, *_summed(*self.stream.moments()))
        self.weights = class_weights(self.stream.counts, params.balanced)
        self.optimizer = hvd.DistributedOptimizer(
            torch.optim.Adam(self.module.parameters(), params.lr), named_parameters=self.module.named_parameters()
        )

    def train(self, epoch: int) -> float:
        """One epoch; its mean loss on this rank."""
        return train_epoch(self.module, self.stream, self.optimizer, self.weights, self.params, epoch)

    def revise(self, threshold: float | None) -> None:
        """Weights its own share's hard negatives up, by what the head as it now is says of them."""
        self.stream.weigh(_mined(*predict_batches(self.module, self.stream.once()), self.recipe, self.params))

    def scored(self) -> Scored:
        """The validation frames' labels and probabilities, on every rank."""
        return self.validation.labels, predict(self.module, self.validation)

    def agreement(self) -> None:
        """Rounds of a head are not compared."""

    def state(self) -> dict[str, torch.Tensor]:
        """A copy of the model's tensors, named head.*."""
        return {f"head.{name}": tensor.detach().clone() for name, tensor in self.module.state_dict().items()}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Puts the tensors of `state()` back."""
        self.module.load_state_dict({name.removeprefix("head."): tensor for name, tensor in state.items()})


class WholeLearner(Judged):
    """A whole network on the pictures of a stream; on a GPU where there is one.

    Gradients are averaged over the ranks. Batch normalisation uses each rank's own batches, and its running statistics
    are averaged after every epoch, so that all ranks judge and keep the same network.
    """

    def __init__(self, learner: finetune.Learner | detection.Learner, stream: PictureStream):
        self.learner, self.stream = learner, stream
        learner.optimizer = hvd.DistributedOptimizer(learner.optimizer, named_parameters=learner.named_parameters())
        self.form = learner.form
        self.module: nn.Module = learner.module
        self.optimizer = learner.optimizer
        self.state, self.restore = learner.state, learner.restore

    def train(self, epoch: int) -> float:
        """One epoch; its mean loss on this rank."""
        loss = self.learner.train_epoch(self.stream, epoch)
        if statistics := self.learner.statistics():
            means = hvd.grouped_allreduce([own.cpu() for own in statistics], op=hvd.Average, name="statistics")
            for own, mean in zip(statistics, means, strict=True):
                own.copy_(mean)
        return loss

    def agreement(self) -> float | None:
        """Where rounds of training are compared: how well it agrees with what the validation split's frames show."""


class NetworkLearner(WholeLearner):
    """Backbone and head on the pictures of these splits' assets."""

    def __init__(self, recipe: Recipe, params: Training, splits: tuple[str, ...], judged: bool):
        size, seed = recipe.features.size, params.seed
        self.recipe, self.params = recipe, params
        frames = split_source(recipe, *splits, table="frames")
        stream = PictureStream(frames, size, params.batch_size, seed, hvd.rank(), hvd.size())
        self.validation = None
        if judged:
            self.validation = PictureStream(split_source(recipe, "val", table="frames"), size, params.batch_size, seed)
        weights = class_weights(stream.counts, params.balanced)
        super().__init__(finetune.Learner(recipe, params, weights, stream.steps, _device()), stream)

    def revise(self, threshold: float | None) -> None:
        """As a head's: by what the network as it now is says of the pictures as they are."""
        self.stream.weigh(_mined(*self.learner.predict(self.stream.once()), self.recipe, self.params))

    def scored(self) -> Scored:
        """The validation frames' labels and probabilities, on every rank; each works out its share of them."""
        share: Iterator[Pictures] = self.validation.once(hvd.rank(), hvd.size())
        labels, probabilities = (torch.from_numpy(part) for part in self.learner.predict(share))
        return hvd.allgather(labels, name="labels").numpy(), hvd.allgather(probabilities, name="scores").numpy()


class DetectorLearner(WholeLearner):
    """A detector on the pictures of these splits' assets and their boxes.

    `by_boxes`: whether it is judged by the boxes of the validation split; else by its frames.
    """

    def __init__(self, recipe: Recipe, params: Training, splits: tuple[str, ...], judged: bool):
        self.recipe = recipe
        share = hvd.rank(), hvd.size()
        stream, self.validation = detection.streams(recipe, params, splits, params.batch_size, judged, *share)
        self.by_boxes = judged and boxed.by_boxes(self.validation.source, self.validation.known)
        identities = len(stream.identities)
        super().__init__(detection.Learner(recipe, params, stream.steps, _device(), identities), stream)

    def revise(self, threshold: float | None) -> None:
        """Takes from its own share of the boxes those that the detector as it now is, which was trained on them, does
        not confirm, and adds what it is sure of. `threshold`: of its scores, from where on it calls a frame."""
        found = self.learner.predict(self.stream.once())
        agree = AGREE if threshold is None else min(AGREE, threshold)
        known = corrected(self.stream.known, found, agree=agree)
        left = torch.tensor(sum(one is not None for one in known))
        if not int(hvd.allreduce(left, op=hvd.Sum, name="confirmed")):
            raise SightlineError(
                "self-training: the detector confirms none of the boxes it learned from",
                "set training.detector.self_training=0, or see whether the boxes are any good",
            )
        if left:  # a share of which nothing is left is learned from as it was: every worker needs one
            self.stream.correct(known)

    def scored(self) -> Scored:
        """As a network's: a frame's label is that of its weightiest box, its probabilities those of the best boxes."""
        share = hvd.rank(), hvd.size()
        found = torch.from_numpy(self.learner.predict(self.validation.once(*share)).probabilities)
        labels = torch.tensor([frame_class(truth) for truth in self.validation.shown(*share)], dtype=torch.int64)
        return hvd.allgather(labels, name="labels").numpy(), hvd.allgather(found, name="scores").numpy()

    def boxes(self) -> tuple[list[Boxes], Detections]:
        """What the validation frames show and what is found in them, on every rank; each works out its share of it."""
        found = self.learner.predict(self.validation.once(hvd.rank(), hvd.size()))[: len(Detections._fields)]
        every = [hvd.allgather(torch.from_numpy(part), name=f"found.{at}").numpy() for at, part in enumerate(found)]
        shown = [truth for rank in range(hvd.size()) for truth in self.validation.shown(rank, hvd.size())]
        return shown, Detections(*every)

    def figures(self) -> dict[str, float]:
        """As a network's, or those of the boxes that it finds."""
        return boxed.box_figures(*self.boxes(), self.form["classes"]) if self.by_boxes else super().figures()

    def threshold(self) -> float | None:
        """As a network's, or from which score on boxes are called."""
        return boxed.box_threshold(*self.boxes(), self.form["classes"]) if self.by_boxes else super().threshold()

    def parts(self) -> dict[str, float]:
        """Of training the losses as they were, of validation those of the network as it is now; the mean over the
        ranks' shares is nearly that over pictures."""
        found = {f"train_{name}": value for name, value in self.learner.parts.items()}
        if self.validation is None:
            return found
        held = self.learner.losses(self.validation.once(hvd.rank(), hvd.size()))
        return found | {f"val_{name}": held.get(name, 0.0) for name in self.learner.parts if name != "id_loss"}

    def agreement(self) -> float:
        """Average precision (IoU .5) against the validation split's boxes, whoever drew them, on every rank; 0 where
        there are none."""
        precision = coco_precision(*self.boxes(), self.form["classes"])["ap50"]
        return precision if precision == precision else 0.0


LEARNERS = {"finetune": NetworkLearner, "detector": DetectorLearner}  # by training.head; of the others: HeadLearner


def _mined(labels: np.ndarray, probabilities: np.ndarray, recipe: Recipe, params: Training) -> np.ndarray:
    positive = recipe.task.positive_index
    return mined(labels, probabilities[:, positive], positive, params.finetune.mining)


def _device() -> str:
    return f"cuda:{hvd.local_rank()}" if torch.cuda.is_available() else "cpu"


def _summed(count: int, *tensors: torch.Tensor) -> tuple:
    """Sums over the ranks of the count and of float64 tensors."""
    parts = [hvd.allreduce(t, op=hvd.Sum, name=f"moments.{i}") for i, t in enumerate(tensors)]
    return float(hvd.allreduce(torch.tensor(float(count), dtype=torch.float64), op=hvd.Sum, name="moments")), *parts
