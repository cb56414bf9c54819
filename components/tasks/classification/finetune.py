"""Fine-tuning: backbone, pooling and linear head trained as one network on augmented pictures."""

import copy
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from components.core.recipe import Recipe, Training
from components.tasks.classification.augment import augmented
from components.tasks.classification.fit import seed_epoch
from components.tasks.classification.heads import Head, elastic_net
from components.tasks.classification.losses import row_losses
from components.tasks.classification.model import head_form, new_head
from components.tasks.classification.pictures import Pictures, PictureStream
from components.tasks.featurizer import Featurizer, build_featurizer

BACKBONE = "featurizer.backbone."
WARM_UP = 0.05  # of all steps: the learning rate rises, then falls along half a cosine (Loshchilov and Hutter, 2017)


class Network(nn.Module):
    """Pixels (N, 3, H, W) float32 RGB in [0, 1] -> logits (N, C) float32; the vectors between are the featurizer's.

    Convolutions work in `arithmetic`, channels last; pooling, head and all weights are float32, and the weights lie
    as they always do: Horovod sends only those that are contiguous.
    """

    def __init__(self, featurizer: Featurizer, head: Head, arithmetic: torch.dtype):
        super().__init__()
        self.featurizer, self.head, self.arithmetic = featurizer, head, arithmetic

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.head(self.vectors(pixels))

    def vectors(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the featurizer gives for these pictures, (N, dimension) float32."""
        made = self.featurizer
        inputs = ((pixels - made.mean) / made.std).contiguous(memory_format=torch.channels_last)
        with torch.autocast(pixels.device.type, self.arithmetic, enabled=self.arithmetic != torch.float32):
            maps = made.backbone(inputs)
        maps = maps.float()
        pooled = {"mean": maps.mean((2, 3)), "max": maps.amax((2, 3))}
        return torch.cat([pooled[part] for part in made.parts], dim=-1)


class Learner:
    """A network in training. `module` holds all tensors that a checkpoint needs besides the optimizer's.

    `weights`: of the classes in the loss, (C,) float32; `steps`: of one epoch. `form`: the head's keyword arguments.
    """

    def __init__(self, recipe: Recipe, params: Training, weights: torch.Tensor, steps: int, device: str = "cpu"):
        self.params, self.steps, self.device = params, steps, torch.device(device)
        featurizer = build_featurizer(recipe.features)
        self.form = head_form(recipe, params, featurizer.dimension)
        head = new_head(self.form, params.seed)
        network = Network(featurizer, head, arithmetic(params.finetune.precision, self.device))
        _mark_used(network, recipe.features.size)
        self.network = network.to(self.device)
        self.module = nn.ModuleDict({"network": network})
        self.average = None
        if params.finetune.average:
            self.average = self.module["average"] = copy.deepcopy(network).requires_grad_(False)
        self.weights = weights.to(self.device)
        tuned, named = params.finetune, self.named_parameters()
        groups = parameter_groups(named, "featurizer.", params.lr, tuned.backbone_rate, tuned.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]

    def named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """The parameters that are trained."""
        return [(name, p) for name, p in self.network.named_parameters() if p.requires_grad]

    def train_epoch(self, stream: PictureStream, epoch: int) -> float:
        """One pass over the stream's share; returns its mean loss."""
        self.network.train()
        if self.params.finetune.batch_norm == "frozen":
            for layer in norms(self.network):
                layer.eval()
        generator, total = seed_epoch(self.params.seed, epoch, stream.rank), 0.0
        for step, batch in enumerate(stream.epoch(epoch)):
            share = rate(epoch * self.steps + step, self.params.epochs * self.steps)
            for group, base in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = base * share
            self.optimizer.zero_grad()
            loss = self.loss(batch, generator)
            loss.backward()
            self.optimizer.step()
            self._averaged()
            total += float(loss.detach())
        return total / stream.steps

    def loss(self, batch: Pictures, generator: torch.Generator) -> torch.Tensor:
        """The losses of the augmented pictures times their classes' weights and their own, a mean over rows, plus the
        elastic net of the head."""
        params, labels = self.params, batch.labels.to(self.device)
        logits = self.network(augmented(batch.pixels.to(self.device), params.augment, generator))
        rows = row_losses(logits, labels, params.finetune.loss_q, params.finetune.smoothing)
        net = elastic_net(self.network.head, params.penalty, params.l1_ratio)
        return (rows * self.weights[labels] * batch.weights.to(self.device)).mean() + net

    @torch.inference_mode()
    def predict(self, batches: Iterator[Pictures]) -> tuple[np.ndarray, np.ndarray]:
        """(labels (N,) int64, probabilities (N, C) float32) of these pictures, as they are."""
        network = self.best().eval()
        classes = len(self.weights)
        labels, parts = [np.empty(0, np.int64)], [np.empty((0, classes), np.float32)]
        for batch in batches:
            labels.append(batch.labels.numpy())
            parts.append(network(batch.pixels.to(self.device)).softmax(-1).cpu().numpy())
        return np.concatenate(labels), np.concatenate(parts)

    def best(self) -> Network:
        """The network to judge and keep: the average where there is one."""
        return self.average or self.network

    def statistics(self) -> list[torch.Tensor]:
        """The running statistics of batch normalisation, which differ between ranks until they are made one."""
        if self.params.finetune.batch_norm == "frozen":
            return []
        return [t for layer in norms(self.module) for t in (layer.running_mean, layer.running_var)]

    def state(self) -> dict[str, torch.Tensor]:
        """A copy of the tensors to keep, named backbone.* (by the keys that `load_backbone` reads) and head.*."""
        return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in self._kept().items()}

    @torch.no_grad()
    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Puts the tensors of `state()` back."""
        for name, tensor in self._kept().items():
            tensor.copy_(state[name])

    def _kept(self) -> dict[str, torch.Tensor]:
        best, trained = self.best(), {name for name, _ in self.named_parameters()}
        tensors = {f"head.{name}": tensor for name, tensor in best.head.state_dict().items()}
        known = dict(best.named_parameters())
        for name, tensor in best.state_dict().items():
            if name.startswith(BACKBONE) and (name in trained or name not in known):
                tensors[f"backbone.{name.removeprefix(BACKBONE).removeprefix('network.')}"] = tensor
        return tensors

    @torch.no_grad()
    def _averaged(self) -> None:
        if self.average is None:
            return
        kept = self.params.finetune.average
        for mean, now in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            mean.lerp_(now, 1 - kept) if mean.is_floating_point() else mean.copy_(now)


def parameter_groups(
    named: list[tuple[str, nn.Parameter]], backbone: str, lr: float, backbone_rate: float, decay: float
) -> list[dict]:
    """AdamW's groups: parameters whose names begin with `backbone` at their own share of `lr`, then the others; weights
    decay, biases and the norms' scales do not."""
    groups = []
    for of_backbone, base in ((True, lr * backbone_rate), (False, lr)):
        own = [parameter for name, parameter in named if name.startswith(backbone) == of_backbone]
        groups.append({"params": [p for p in own if p.ndim > 1], "lr": base, "weight_decay": decay})
        groups.append({"params": [p for p in own if p.ndim == 1], "lr": base, "weight_decay": 0.0})
    return groups


def norms(module: nn.Module) -> list[nn.Module]:
    """Its layers of batch normalisation."""
    return [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]


def rate(step: int, total: int) -> float:
    """The share of the learning rate at this step of `total`: up in a line, then down to 0 along half a cosine."""
    warm = max(1, round(WARM_UP * total))
    return min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / total))


def arithmetic(precision: str, device: torch.device) -> torch.dtype:
    """The type convolutions work in: for `auto` bfloat16 where the device has instructions for it, else float32."""
    if precision == "auto":
        native = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
        precision = "bfloat16" if native else "float32"
    return getattr(torch, precision)


def _mark_used(network: Network, size: tuple[int, int]) -> None:
    """Lets only those parameters be trained that the logits depend on: published networks carry classifiers along."""
    network.eval()
    parameters = list(network.featurizer.backbone.parameters())
    found = torch.autograd.grad(network.vectors(torch.zeros(2, 3, *size)).sum(), parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, found, strict=True):
        parameter.requires_grad_(gradient is not None)
