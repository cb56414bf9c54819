"""Where a backbone's weights come from: shipped, a mirror, a download checked by its digest, or a file."""

import hashlib
import urllib.request
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from components.core import paths
from components.core.errors import SightlineError, UsageError
from components.core.files import CHUNK, atomic_path, file_sha256
from components.tasks.backbones.kinds import KINDS, BackboneKind

SHIPPED = Path(__file__).parents[1] / "weights"
RANDOM = "none"


def weights_digest(name: str, weights: str, seed: int = 0) -> str:
    """What identifies the weights: the SHA-256 of their file, or `random-SEED`. Raises as `weights_file`."""
    return f"random-{seed}" if weights == RANDOM else file_sha256(weights_file(name, weights))


def weights_file(name: str, weights: str) -> Path:
    """The local file of a backbone's weights, downloaded where need be. Raises SightlineError with the remedy."""
    if weights == "shipped":
        file = SHIPPED / f"{name}.safetensors"
        if not file.is_file():
            raise UsageError(f"features.weights: none are shipped for {name}", "use imagenet, none, or a file")
        return file
    if weights != "imagenet":
        file = paths.resolve(weights)
        if not file.is_file():
            raise UsageError(f"features.weights: {weights}: no such file", "use shipped, imagenet, none, or a file")
        return file
    kind = KINDS[name]
    if kind.file is None:
        raise UsageError(f"features.weights: {name} has no ImageNet weights", "use shipped or none")
    if (root := paths.mirror()) is not None:
        for candidate in (root / "weights" / kind.file, root / "weights" / f"{name}.pth"):
            if candidate.is_file():
                return candidate
    return downloaded(kind)


def downloaded(kind: BackboneKind) -> Path:
    """The published weights in the user's cache, downloaded once. Raises SightlineError where the digest is another."""
    address, target = kind.address + kind.file, paths.user_cache("weights", kind.file)
    if target.is_file():
        return target
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(address, timeout=60) as answer, atomic_path(target) as temporary:
            with open(temporary, "wb") as out:
                while block := answer.read(CHUNK):
                    digest.update(block)
                    out.write(block)
            if not digest.hexdigest().startswith(kind.sha256):
                raise SightlineError(f"{address}: SHA-256 does not begin with {kind.sha256}", "download it again")
    except OSError as error:
        raise SightlineError(
            f"{address}: cannot be downloaded ({error})",
            f"put the file at {target}, or at SIGHTLINE_MIRROR/weights/{kind.file}",
        ) from None
    return target


def fill(module: nn.Module, kind: BackboneKind, file: Path) -> None:
    """Loads the weights of `file` into a backbone. Raises SightlineError where they are not its own."""
    state = _state(file)
    if hasattr(module, "fitted"):
        state = module.fitted(state)
    tail = tuple(f"{part}." for part in kind.tail)
    state = {name: value for name, value in state.items() if not name.startswith(tail)}
    try:
        missing, unexpected = getattr(module, "network", module).load_state_dict(state, strict=False)
    except RuntimeError as error:  # a tensor of another shape
        raise _misfit(file, str(error).splitlines()[-1].strip()) from None
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise _misfit(file, f"missing {missing[:3]}, unknown {list(unexpected)[:3]}")


def _misfit(file: Path, reason: str) -> SightlineError:
    return SightlineError(f"{file}: the weights do not fit: {reason}", "name the weights of this backbone")


def _state(file: Path) -> dict[str, torch.Tensor]:
    if file.suffix == ".safetensors":
        return load_file(file)
    # Published .pth files hold tensors only; weights_only refuses anything that is not a tensor.
    return torch.load(file, map_location="cpu", weights_only=True)
