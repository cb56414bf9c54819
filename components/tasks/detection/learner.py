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
from components.tasks.detection.model import detector_form, new_network, starting_weights
from components.tasks.detection.samples import NOBODY, Batch, BoxStream, box_source
from components.tasks.detection.tracking.fairmot import FairMOT
from components.tasks.detection.tracking.losses import JointLoss


def streams(
    recipe: Recipe, params: Training, splits: tuple[str, ...], batch: int, judged: bool, rank: int = 0, world: int = 1
) -> tuple[BoxStream, BoxStream | None]:
    """(what a rank learns from, `batch` pictures at a time; all of what every rank is judged by, None if it is not).

    That is the validation split or, with `half_val`, the second halves of what is learned from."""
    halves = judged and params.detector.half_val
    source = box_source(recipe, *splits, half="first" if halves else None, everybody=params.detector.everybody)
    size, seed = recipe.features.size, params.seed
    stream = BoxStream(source, size, batch, seed, rank, world)
    if not judged:
        return stream, None
    held = box_source(recipe, *splits, half="second") if halves else box_source(recipe, "val")
    return stream, BoxStream(held, size, batch, seed)


class Learner:
    """A detector in training. `module` holds all tensors that a checkpoint needs besides the optimizer's: `network`,
    and where that embeds what it finds, `joint`, the loss with the classifier of identities.

    `steps`: of one epoch; `identities`: how many there are to be told apart. `form`: what `new_network` builds it from.
    """

    def __init__(self, recipe: Recipe, params: Training, steps: int, device: str = "cpu", identities: int = 0):
        self.params, self.steps, self.device = params, steps, torch.device(device)
        detector = params.detector
        self.form = detector_form(recipe, detector)
        numbers = arithmetic(detector.precision, self.device)
        self.network = new_network(self.form, starting_weights(recipe, detector), params.seed, numbers)
        self.module = nn.ModuleDict({"network": self.network})
        if isinstance(self.network, FairMOT):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(params.seed)
                weights = detector.identity_weight, detector.box_weight
                self.module["joint"] = JointLoss(self.network.dim, identities, *weights)
        self.module.to(self.device)
        body = next(name for name, part in self.network.named_children() if part is self.network.body)
        groups = parameter_groups(
            self.named_parameters(), f"network.{body}.", params.lr, detector.backbone_rate, detector.weight_decay
        )
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.parts: dict[str, float] = {}  # means of the losses that the last epoch's was made of

    def named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """The parameters that are trained."""
        return [(name, p) for name, p in self.module.named_parameters() if p.requires_grad]

    def train_epoch(self, stream: BoxStream, epoch: int) -> float:
        """One pass over the stream's share; returns its mean loss."""
        self.module.train()
        if self.params.detector.batch_norm == "frozen":
            self.network.body.eval()
        generator, total = seed_epoch(self.params.seed, epoch, stream.rank), 0.0
        self.parts = {}
        for step, batch in enumerate(stream.epoch(epoch)):
            share = rate(epoch * self.steps + step, self.params.epochs * self.steps)
            for group, base in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = base * share
            self.optimizer.zero_grad()
            loss = self.loss(batch, generator)
            loss.backward()
            self.optimizer.step()
            total += float(loss.detach())
        self.parts = {name: value / stream.steps for name, value in self.parts.items()}
        return total / stream.steps

    def loss(self, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        """The sum of the network's losses on the augmented pictures, or their joint one; a mean over pictures."""
        if not self.params.detector.soft_weights:
            batch = replace(batch, weights=(batch.weights > 0).float())
        parts = self._losses(augmented(batch.to(self.device), self.params.augment, generator))
        loss = parts.pop("loss") if "loss" in parts else torch.stack(list(parts.values())).sum()
        for name, value in parts.items():
            self.parts[name] = self.parts.get(name, 0.0) + float(value.detach())
        return loss

    def _losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        return self.network.loss(batch, self.module["joint"]) if "joint" in self.module else self.network.loss(batch)

    @torch.inference_mode()
    def losses(self, batches: Iterable[Batch]) -> dict[str, float]:
        """What the losses are made of on these pictures as they are, means over pictures; nothing without pictures.

        That of identities is left out: others are seen here than were learned.
        """
        self.module.eval()
        sums: dict[str, float] = {}
        count = 0
        for batch in batches:
            unknown = replace(batch, identities=torch.full_like(batch.identities, NOBODY))
            for name, value in self._losses(unknown.to(self.device)).items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(batch.pixels)
            count += len(batch.pixels)
        return {name: value / count for name, value in sums.items() if name not in ("loss", "id_loss")}

    @torch.inference_mode()
    def predict(self, batches: Iterable[Batch]) -> Detections:
        """What is found in these pictures as they are, in their order; numpy arrays on the CPU."""
        self.module.eval()
        parts = [self.network(batch.pixels.to(self.device)) for batch in batches]
        if not parts:  # a rank may have no share of the pictures
            blank = self.network(torch.zeros(1, 3, *self.form["size"], device=self.device))
            parts = [type(blank)(*(part[:0] for part in blank))]
        columns = zip(*parts, strict=True)
        return type(parts[0])(*(np.concatenate([part.cpu().numpy() for part in column]) for column in columns))

    def statistics(self) -> list[torch.Tensor]:
        """The running statistics of batch normalisation, which differ between ranks until they are made one."""
        frozen = set(self.network.body.modules()) if self.params.detector.batch_norm == "frozen" else set()
        return [
            t for layer in norms(self.module) if layer not in frozen for t in (layer.running_mean, layer.running_var)
        ]

    def state(self) -> dict[str, torch.Tensor]:
        """A copy of the network's tensors."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self.network.state_dict().items()}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Puts the tensors of `state()` back."""
        self.network.load_state_dict(state)
