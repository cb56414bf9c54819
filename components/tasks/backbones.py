"""Backbones by name: what turns a picture into a feature map, and where its weights come from.

Nothing falls back in silence: weights that cannot be had are an error that says where to put them.
"""

import hashlib
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from components.core import paths
from components.core.errors import SightlineError, UsageError
from components.core.files import CHUNK, atomic_path, file_sha256
from components.core.recipe import nearest
from components.core.torchvision_compat import import_torchvision

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DOWNLOAD = "https://download.pytorch.org/models/"
SHIPPED = Path(__file__).with_name("weights")


class SmallBackbone(nn.Module):
    """`sightline_small`: a plain residual network of 0.5 M parameters for CPUs; (N, 3, H, W) -> (N, 128, H/16, W/16).

    Pre-trained on generated footage; `components/tasks/weights/sightline_small.md` is its model card.
    """

    channels = 128

    def __init__(self):
        super().__init__()
        self.stem = _unit(3, 16, stride=2)
        self.body = nn.Sequential(
            _unit(16, 32, stride=2), _unit(32, 64, stride=2), Residual(64), _unit(64, 128, stride=2), Residual(128)
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(self.stem(x))


class Residual(nn.Module):
    """x + conv(conv(x)), then ReLU; the first convolution is as wide, the second grouped to stay cheap."""

    def __init__(self, channels: int):
        super().__init__()
        self.inner = nn.Sequential(
            _unit(channels, channels),
            nn.Conv2d(channels, channels, 3, padding=1, groups=4, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.inner(x))


def _unit(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU(inplace=True))


@dataclass(frozen=True)
class BackboneKind:
    """How a named backbone is made: `build()` gives its map-producing module; `file` is the published weights' name.

    The name ends in the first hex digits of the file's SHA-256, which a download is checked against.
    """

    build: Callable[[], nn.Module]
    channels: int
    file: str | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


def _torchvision(name: str) -> nn.Module:
    # Random initialisation is skipped where torchvision allows it (inception's takes a minute).
    options = {"init_weights": False, "aux_logits": True} if name == "inception_v3" else {}
    return getattr(import_torchvision().models, name)(weights=None, **options)


class _Trunk(nn.Module):
    """A torchvision network cut before its pooling and classifier; keeps the published state-dict keys."""

    def __init__(self, network: nn.Module, steps: Callable[[nn.Module], list[nn.Module]]):
        super().__init__()
        self.network = network
        self._steps = steps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for step in self._steps(self.network):
            x = step(x)
        return x


def _resnet_steps(net: nn.Module) -> list[nn.Module]:
    return [net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4]


def _inception_steps(net: nn.Module) -> list[nn.Module]:
    names = (
        "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 maxpool1 Conv2d_3b_1x1 Conv2d_4a_3x3 maxpool2 Mixed_5b Mixed_5c "
        "Mixed_5d Mixed_6a Mixed_6b Mixed_6c Mixed_6d Mixed_6e Mixed_7a Mixed_7b Mixed_7c"
    )
    return [getattr(net, name) for name in names.split()]


def _features_steps(net: nn.Module) -> list[nn.Module]:
    return [net.features]


def _published(name: str, steps: Callable, channels: int, file: str, **normalisation) -> BackboneKind:
    return BackboneKind(lambda: _Trunk(_torchvision(name), steps), channels, file, **normalisation)


KINDS: dict[str, BackboneKind] = {
    "sightline_small": BackboneKind(SmallBackbone, SmallBackbone.channels),
    "mobilenet_v2": _published("mobilenet_v2", _features_steps, 1280, "mobilenet_v2-b0353104.pth"),
    "squeezenet1_1": _published("squeezenet1_1", _features_steps, 512, "squeezenet1_1-b8a52dc0.pth"),
    "resnet50": _published("resnet50", _resnet_steps, 2048, "resnet50-0676ba61.pth"),
    "inception_v3": _published(
        "inception_v3", _inception_steps, 2048, "inception_v3_google-0cc3c7bd.pth", mean=(0.5,) * 3, std=(0.5,) * 3
    ),
}


def load_backbone(name: str, weights: str, seed: int = 0) -> tuple[nn.Module, BackboneKind, str]:
    """(module in evaluation mode: normalised (N, 3, H, W) RGB -> (N, channels, h, w), its kind, digest of its weights).

    `weights`: `shipped` (sightline_small), `imagenet` (found in SIGHTLINE_MIRROR/weights or downloaded once, with its
    checksum), `none` (random, seeded) or a .safetensors or .pth file. Raises UsageError for an unknown name,
    SightlineError for weights that cannot be had or do not fit.
    """
    if name not in KINDS:
        raise UsageError(f"features.backbone: no backbone {name!r}", nearest(name, list(KINDS)))
    kind = KINDS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = kind.build().eval()
        if weights == "none":
            for layer in module.modules():
                if isinstance(layer, (nn.Conv2d, nn.Linear)):
                    layer.reset_parameters()
            return module, kind, f"random-{seed}"
    file = weights_file(name, weights)
    _fill(module, _state(file), file)
    return module, kind, file_sha256(file)


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
    published = KINDS[name].file
    if published is None:
        raise UsageError(f"features.weights: {name} has no ImageNet weights", "use shipped or none")
    if (root := paths.mirror()) is not None:
        for candidate in (root / "weights" / published, root / "weights" / f"{name}.pth"):
            if candidate.is_file():
                return candidate
    return _downloaded(published)


def _downloaded(name: str) -> Path:
    target = paths.user_cache("weights", name)
    if target.is_file():
        return target
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(DOWNLOAD + name, timeout=60) as answer, atomic_path(target) as temporary:
            with open(temporary, "wb") as out:
                while block := answer.read(CHUNK):
                    digest.update(block)
                    out.write(block)
            expected = name.rsplit("-", 1)[1].split(".")[0]
            if not digest.hexdigest().startswith(expected):
                raise SightlineError(f"{DOWNLOAD}{name}: SHA-256 does not begin with {expected}", "download it again")
    except OSError as error:
        raise SightlineError(
            f"{DOWNLOAD}{name}: cannot be downloaded ({error})",
            f"put the file at {target}, or at SIGHTLINE_MIRROR/weights/{name}",
        ) from None
    return target


def _state(file: Path) -> dict[str, torch.Tensor]:
    if file.suffix == ".safetensors":
        return load_file(file)
    # Published .pth files are zip archives of tensors; weights_only refuses anything that is not a tensor.
    return torch.load(file, map_location="cpu", weights_only=True)


def _fill(module: nn.Module, state: dict[str, torch.Tensor], file: Path) -> None:
    target = module.network if isinstance(module, _Trunk) else module
    missing, unexpected = target.load_state_dict(state, strict=False)
    tail = ("classifier.", "fc.", "AuxLogits.")  # not used: the trunk ends before them
    missing = [key for key in missing if not key.startswith(tail) and not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise SightlineError(
            f"{file}: the weights do not fit: missing {missing[:3]}, unknown {list(unexpected)[:3]}",
            "name the weights of this backbone",
        )
