"""The backbones by name: how each is made, what it asks of a picture, and where its published weights lie."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from components.core.errors import UsageError
from components.core.torchvision_compat import import_torchvision
from components.tasks.backbones.small import SmallBackbone

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TORCHVISION = "https://download.pytorch.org/models/"
TIMM = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-cadene/"
DINOV2 = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/"
Size = tuple[int, int]  # height, width in pixels


@dataclass(frozen=True)
class BackboneKind:
    """How a named backbone is made, and where its published weights lie.

    `build(size)`: its map-producing module, of random weights. `file` below `address`, whose SHA-256 begins with
    `sha256`: the published weights. `mean`, `std`: the normalisation they were trained with, of RGB in 0..1. `tail`:
    what the file holds of pooling and classifier, which are cut off. `smallest`: the least side of a picture in
    pixels; `multiple`: sides must be multiples of it.
    """

    build: Callable[[Size], nn.Module]
    channels: int
    file: str | None = None
    address: str = TORCHVISION
    sha256: str = ""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    tail: tuple[str, ...] = ()
    smallest: int = 1
    multiple: int = 1


def check_size(name: str, size: Size) -> None:
    """Raises UsageError where pictures of this size are nothing for the backbone."""
    kind = KINDS[name]
    if min(size) < kind.smallest:
        least = f"{kind.smallest}x{kind.smallest}"
        raise UsageError(f"features.size: {size[0]}x{size[1]} is too small for {name}", f"the smallest is {least}")
    if any(side % kind.multiple for side in size):
        nearest = [max(1, round(side / kind.multiple)) * kind.multiple for side in size]
        raise UsageError(
            f"features.size: {size[0]}x{size[1]}: {name} cuts pictures into patches of {kind.multiple} pixels",
            f"give multiples of it, such as [{nearest[0]}, {nearest[1]}]",
        )


class Trunk(nn.Module):
    """A published network cut before its pooling and classifier; keeps the published state-dict keys."""

    def __init__(self, network: nn.Module, steps: Callable[[nn.Module], list[Callable]]):
        super().__init__()
        self.network = network
        self._steps = steps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for step in self._steps(self.network):
            x = step(x)
        return x


class VisionTransformer(nn.Module):
    """timm's vision transformer as a map of its patch tokens, (N, 3, H, W) -> (N, channels, H/patch, W/patch).

    The class token takes part in the attention and is then left out. The position embedding is that of the size the
    module was made for, so the graph has no interpolation in it; weights for another size are resampled when they are
    loaded (M. Oquab et al., "DINOv2: learning robust visual features without supervision", 2023).
    """

    def __init__(self, name: str, size: Size):
        super().__init__()
        self.network = _timm(name, img_size=size)

    def fitted(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """A published state dict with the position embedding resampled to this module's grid."""
        from timm.layers import resample_abs_pos_embed

        grid = list(self.network.patch_embed.grid_size)
        state = {name: value for name, value in state.items() if name != "mask_token"}
        if "pos_embed" in state:
            before = self.network.num_prefix_tokens
            state["pos_embed"] = resample_abs_pos_embed(state["pos_embed"], grid, num_prefix_tokens=before)
        return state

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = self.network.patch_embed.grid_size
        tokens = self.network.forward_features(x)[:, self.network.num_prefix_tokens :]
        # reshape by constants: height and width of the grid belong to the graph, the batch is free
        return tokens.transpose(1, 2).reshape(-1, self.network.num_features, height, width)


def _torchvision(name: str, tail: tuple[str, ...], **options) -> nn.Module:
    """The network without its tail. What is cut off is never given memory: VGG's classifier alone is 500 MB."""
    with torch.device("meta"):
        network = getattr(import_torchvision().models, name)(weights=None, **options)
    for part in tail:
        setattr(network, part, nn.Identity())
    network.to_empty(device="cpu")
    for buffer in network.buffers():
        if not buffer.is_floating_point():  # batch norms' counters: old files lack them, and nothing else sets them
            buffer.zero_()
    return network


def _timm(name: str, **options) -> nn.Module:
    import_torchvision()
    import timm

    return timm.create_model(name, pretrained=False, num_classes=0, **options)


def _features(network: nn.Module) -> list[Callable]:
    return [network.features]


def _resnet(net: nn.Module) -> list[Callable]:
    return [net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4]


def _inception(net: nn.Module) -> list[Callable]:
    names = (
        "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 maxpool1 Conv2d_3b_1x1 Conv2d_4a_3x3 maxpool2 Mixed_5b Mixed_5c "
        "Mixed_5d Mixed_6a Mixed_6b Mixed_6c Mixed_6d Mixed_6e Mixed_7a Mixed_7b Mixed_7c"
    )
    return [getattr(net, name) for name in names.split()]


def _published(name: str, steps: Callable, channels: int, digits: str, tail: tuple[str, ...], **more) -> BackboneKind:
    """A torchvision network; its file's name ends in the first hex digits of the file's SHA-256."""
    options = more.pop("options", {})
    file = f"{more.pop('stem', name)}-{digits}.pth"
    build = lambda size: Trunk(_torchvision(name, tail, **options), steps)  # noqa: E731
    return BackboneKind(build, channels, file, sha256=digits, tail=tail, **more)


KINDS: dict[str, BackboneKind] = {
    "sightline_small": BackboneKind(lambda size: SmallBackbone(), SmallBackbone.channels),
    "mobilenet_v2": _published("mobilenet_v2", _features, 1280, "b0353104", ("classifier",)),
    "squeezenet1_1": _published("squeezenet1_1", _features, 512, "b8a52dc0", ("classifier",), smallest=17),
    "resnet50": _published("resnet50", _resnet, 2048, "0676ba61", ("fc",)),
    "vgg16": _published("vgg16", _features, 512, "397923af", ("classifier",), smallest=32),
    "vgg19": _published("vgg19", _features, 512, "dcbb9e9d", ("classifier",), smallest=32),
    "inception_v3": _published(
        "inception_v3", _inception, 2048, "0cc3c7bd", ("fc", "AuxLogits"), stem="inception_v3_google",
        mean=(0.5,) * 3, std=(0.5,) * 3, smallest=75, options={"aux_logits": True, "init_weights": False},
    ),
    "convnext_tiny": _published("convnext_tiny", _features, 768, "983f1562", ("classifier",), smallest=32),
    # F. Chollet, "Xception: deep learning with depthwise separable convolutions", 2017; the Keras weights, converted.
    "xception": BackboneKind(
        lambda size: Trunk(_timm("legacy_xception"), lambda net: [net.forward_features]), 2048,
        "xception-43020ad28.pth", TIMM, "43020ad28", (0.5,) * 3, (0.5,) * 3, ("fc", "last_linear"), smallest=39,
    ),
    "vit_small_dinov2": BackboneKind(
        lambda size: VisionTransformer("vit_small_patch14_dinov2", size), 384,
        "dinov2_vits14_pretrain.pth", DINOV2, "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9",
        tail=("head",), smallest=14, multiple=14,
    ),
}  # fmt: skip
