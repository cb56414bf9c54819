"""What one of Horovod's processes trains: a head on vectors, or a whole network on pictures. Both look alike."""

from collections.abc import Iterator

import horovod.torch as hvd
import numpy as np
import torch
from torch import nn

from components.core.recipe import Recipe, Training
from components.tasks.classification import finetune
from components.tasks.classification.fit import class_weights, predict, standardise, train_epoch
from components.tasks.classification.model import head_form, new_head
from components.tasks.classification.pictures import Pictures, PictureStream
from components.tasks.classification.samples import load_samples, split_source
from components.tasks.classification.stream import Stream

Scored = tuple[np.ndarray, np.ndarray]  # labels (N,), probabilities (N, C)


class HeadLearner:
    """A head on the vectors of these splits' assets. `judged`: it will be asked how it does on the validation split.

    `form`: the head's keyword arguments; `module` and `optimizer`: what a checkpoint holds.
    """

    def __init__(self, recipe: Recipe, params: Training, splits: tuple[str, ...], judged: bool):
        self.params = params
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

    def scored(self) -> Scored:
        """The validation frames' labels and probabilities, on every rank."""
        return self.validation.labels, predict(self.module, self.validation)

    def state(self) -> dict[str, torch.Tensor]:
        """A copy of the model's tensors, named head.*."""
        return {f"head.{name}": tensor.detach().clone() for name, tensor in self.module.state_dict().items()}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Puts the tensors of `state()` back."""
        self.module.load_state_dict({name.removeprefix("head."): tensor for name, tensor in state.items()})


class NetworkLearner:
    """Backbone and head on the pictures of these splits' assets; on a GPU where there is one.

    Gradients are averaged over the ranks. Batch normalisation uses each rank's own batches, and its running statistics
    are averaged after every epoch, so that all ranks judge and keep the same network.
    """

    def __init__(self, recipe: Recipe, params: Training, splits: tuple[str, ...], judged: bool):
        size, seed = recipe.features.size, params.seed
        frames = split_source(recipe, *splits, table="frames")
        self.stream = PictureStream(frames, size, params.batch_size, seed, hvd.rank(), hvd.size())
        self.validation = None
        if judged:
            self.validation = PictureStream(split_source(recipe, "val", table="frames"), size, params.batch_size, seed)
        weights = class_weights(self.stream.counts, params.balanced)
        device = f"cuda:{hvd.local_rank()}" if torch.cuda.is_available() else "cpu"
        self.learner = finetune.Learner(recipe, params, weights, self.stream.steps, device)
        self.learner.optimizer = hvd.DistributedOptimizer(
            self.learner.optimizer, named_parameters=self.learner.named_parameters()
        )
        self.form = self.learner.form
        self.module: nn.Module = self.learner.module
        self.optimizer = self.learner.optimizer
        self.state, self.restore = self.learner.state, self.learner.restore

    def train(self, epoch: int) -> float:
        """One epoch; its mean loss on this rank."""
        loss = self.learner.train_epoch(self.stream, epoch)
        if statistics := self.learner.statistics():
            means = hvd.grouped_allreduce([own.cpu() for own in statistics], op=hvd.Average, name="statistics")
            for own, mean in zip(statistics, means, strict=True):
                own.copy_(mean)
        return loss

    def scored(self) -> Scored:
        """The validation frames' labels and probabilities, on every rank; each works out its share of them."""
        share: Iterator[Pictures] = self.validation.once(hvd.rank(), hvd.size())
        labels, probabilities = (torch.from_numpy(part) for part in self.learner.predict(share))
        return hvd.allgather(labels, name="labels").numpy(), hvd.allgather(probabilities, name="scores").numpy()


def _summed(count: int, *tensors: torch.Tensor) -> tuple:
    """Sums over the ranks of the count and of float64 tensors."""
    parts = [hvd.allreduce(t, op=hvd.Sum, name=f"moments.{i}") for i, t in enumerate(tensors)]
    return float(hvd.allreduce(torch.tensor(float(count), dtype=torch.float64), op=hvd.Sum, name="moments")), *parts
