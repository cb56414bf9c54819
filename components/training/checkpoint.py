"""Checkpoints: tensors and progress in one safetensors file, so that both are there or neither is."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from components.core.files import atomic_path
from components.tasks.classification.fit import Progress


def save(path: Path, head: torch.nn.Module, best: dict, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Writes the head, its best state so far, the optimizer's state and the progress."""
    tensors = {f"head.{name}": tensor for name, tensor in head.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    copies = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(copies, temporary, metadata={"progress": json.dumps(asdict(progress))})


def load(path: Path, head: torch.nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict, Progress]:
    """Restores head and optimizer in place; returns the best state and the progress."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        progress = Progress(**json.loads(file.metadata()["progress"]))
    head.load_state_dict(_part(tensors, "head."))
    state: dict[int, dict] = {}
    for name, tensor in _part(tensors, "optimizer.").items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return _part(tensors, "best."), progress


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
