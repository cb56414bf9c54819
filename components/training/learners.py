"""What one of Horovod's processes trains: a head on vectors, or a whole network on pictures. All look alike."""

from collections.abc import Iterator

import horovod.torch as hvd
import numpy as np
import torch
from torch import nn

from components.core.errors import SightlineError
from components.core.recipe import Recipe, Training
from components.tasks.classification import finetune
from components.tasks.classification.fit import class_weights, predict, predict_batches, standardise, train_epoch
from components.tasks.classification.mining import mined
from components.tasks.classification.model import head_form, new_head
from components.tasks.classification.pictures import Pictures, PictureStream
from components.tasks.classification.samples import load_samples, split_source
from components.tasks.classification.stream import Stream
from components.tasks.detection import learner as detection
from components.tasks.detection.samples import BoxStream, box_source, frame_class
from components.tasks.detection.selftrain import AGREE, corrected

Scored = tuple[np.ndarray, np.ndarray]  # labels (N,), probabilities (N, C)


class HeadLearner:
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

    def state(self) -> dict[str, torch.Tensor]:
        """A copy of the model's tensors, named head.*."""
        return {f"head.{name}": tensor.detach().clone() for name, tensor in self.module.state_dict().items()}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Puts the tensors of `state()` back."""
        self.module.load_state_dict({name.removeprefix("head."): tensor for name, tensor in state.items()})


class WholeLearner:
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
    """A detector on the pictures of these splits' assets and their boxes."""

    def __init__(self, recipe: Recipe, params: Training, splits: tuple[str, ...], judged: bool):
        size, seed = recipe.features.size, params.seed
        stream = BoxStream(box_source(recipe, *splits), size, params.batch_size, seed, hvd.rank(), hvd.size())
        self.validation = BoxStream(box_source(recipe, "val"), size, params.batch_size, seed) if judged else None
        super().__init__(detection.Learner(recipe, params, stream.steps, _device()), stream)

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
