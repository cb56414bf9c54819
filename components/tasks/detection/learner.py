"""A detector in training, as one of several workers or alone."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from components.core.recipe import Recipe, Training
from components.tasks.classification.finetune import arithmetic, norms, parameter_groups, rate
from components.tasks.classification.fit import seed_epoch
from components.tasks.detection.augment import augmented
from components.tasks.detection.boxes import Detections
from components.tasks.detection.model import detector_form, new_network
from components.tasks.detection.samples import Batch, BoxStream

BODY = "body."


class Learner:
    """A detector in training. `module` holds all tensors that a checkpoint needs besides the optimizer's.

    `steps`: of one epoch. `form`: what `new_network` builds it from.
    """

    def __init__(self, recipe: Recipe, params: Training, steps: int, device: str = "cpu"):
        self.params, self.steps, self.device = params, steps, torch.device(device)
        self.form = detector_form(recipe, params.detector)
        numbers = arithmetic(params.detector.precision, self.device)
        self.module = new_network(self.form, recipe.features.weights, params.seed, numbers).to(self.device)
        detector = params.detector
        groups = parameter_groups(
            self.named_parameters(), BODY, params.lr, detector.backbone_rate, detector.weight_decay
        )
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]

    def named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """The parameters that are trained."""
        return [(name, p) for name, p in self.module.named_parameters() if p.requires_grad]

    def train_epoch(self, stream: BoxStream, epoch: int) -> float:
        """One pass over the stream's share; returns its mean loss."""
        self.module.train()
        if self.params.detector.batch_norm == "frozen":
            self.module.body.eval()
        generator, total = seed_epoch(self.params.seed, epoch, stream.rank), 0.0
        for step, batch in enumerate(stream.epoch(epoch)):
            share = rate(epoch * self.steps + step, self.params.epochs * self.steps)
            for group, base in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = base * share
            self.optimizer.zero_grad()
            loss = self.loss(batch, generator)
            loss.backward()
            self.optimizer.step()
            total += float(loss.detach())
        return total / stream.steps

    def loss(self, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        """The sum of the network's losses on the augmented pictures, a mean over pictures."""
        if not self.params.detector.soft_weights:
            batch = replace(batch, weights=(batch.weights > 0).float())
        parts = self.module.loss(augmented(batch.to(self.device), self.params.augment, generator))
        return torch.stack(list(parts.values())).sum()

    @torch.inference_mode()
    def predict(self, batches: Iterable[Batch]) -> Detections:
        """What is found in these pictures as they are, in their order; numpy arrays on the CPU."""
        self.module.eval()
        parts = [self.module(batch.pixels.to(self.device)) for batch in batches]
        if not parts:  # a rank may have no share of the pictures
            blank = self.module(torch.zeros(1, 3, *self.form["size"], device=self.device))
            parts = [Detections(*(part[:0] for part in blank))]
        return Detections(
            *(np.concatenate([part.cpu().numpy() for part in column]) for column in zip(*parts, strict=True))
        )

    def statistics(self) -> list[torch.Tensor]:
        """The running statistics of batch normalisation, which differ between ranks until they are made one."""
        frozen = set(self.module.body.modules()) if self.params.detector.batch_norm == "frozen" else set()
        return [
            t for layer in norms(self.module) if layer not in frozen for t in (layer.running_mean, layer.running_var)
        ]

    def state(self) -> dict[str, torch.Tensor]:
        """A copy of the network's tensors."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self.module.state_dict().items()}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Puts the tensors of `state()` back."""
        self.module.load_state_dict(state)
