"""The first steps of a head's training by two ranks of Horovod, and by one process on the union of their batches.

As a script, a rank: `python -m tests.training.steps FILE`; the first one writes the head. Nothing here needs pytest,
which images have not.
"""

import sys

import horovod.torch as hvd
import torch
from safetensors.torch import save_file

from components.core.recipe import load_recipe
from components.tasks.classification.fit import batch_loss, class_weights, standardise
from components.tasks.classification.model import head_form, new_head
from components.tasks.classification.samples import split_source
from components.tasks.classification.stream import Batch, Stream
from tests.workspaces import DIMENSION, RECIPE

STEPS, RANKS = 5, 2


def pieces():
    """The same head, both ranks' streams, class weights and parameters, for whoever trains them."""
    recipe = load_recipe(RECIPE)
    params = recipe.training
    source = split_source(recipe, "train")
    head = new_head(head_form(recipe, params, DIMENSION), params.seed)
    whole = Stream(source, head.reach, params.batch_size, params.seed)
    standardise(head, *whole.moments())
    streams = [Stream(source, head.reach, params.batch_size, params.seed, rank, RANKS) for rank in range(RANKS)]
    return head, streams, class_weights(whole.counts, params.balanced), params


def of_one_process() -> dict[str, torch.Tensor]:
    """The head after STEPS steps, each on what the ranks' batches are together."""
    head, streams, weights, params = pieces()
    optimizer = _sgd(head)
    epochs = [stream.epoch(0) for stream in streams]
    for _ in range(STEPS):
        parts = [next(epoch) for epoch in epochs]
        union = Batch(*(torch.cat([getattr(p, n) for p in parts]) for n in ("windows", "present", "labels", "weights")))
        optimizer.zero_grad()
        batch_loss(head, union, weights, params).backward()
        optimizer.step()
    return head.state_dict()


def of_this_rank() -> dict[str, torch.Tensor]:
    """The head after STEPS steps on this rank's batches, with gradients averaged over all ranks."""
    head, streams, weights, params = pieces()
    optimizer = hvd.DistributedOptimizer(_sgd(head), named_parameters=head.named_parameters())
    batches = streams[hvd.rank()].epoch(0)
    for _ in range(STEPS):
        optimizer.zero_grad()
        batch_loss(head, next(batches), weights, params).backward()
        optimizer.step()
    return head.state_dict()


def _sgd(head: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(head.parameters(), 0.5, momentum=0.9)


if __name__ == "__main__":
    hvd.init()
    assert hvd.size() == RANKS
    found = of_this_rank()
    if hvd.rank() == 0:
        save_file(found, sys.argv[1])
