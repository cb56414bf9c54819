"""The stages from footage to validated features."""

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveInt

from components.core.recipe.section import Rate, Section, Share
from components.core.recipe.sources import Cameras, Digits, Explained, Scenes, Search, Wild


def _text_keys(value: Any) -> Any:
    """YAML reads the labels 0 and 1 as numbers; a file of labels holds text."""
    return {str(key): name for key, name in value.items()} if isinstance(value, dict) else value


class Limits(Section):
    """What one file may cost while it is looked at; a file above a limit is quarantined with that reason."""

    seconds: float = Field(600.0, gt=0)
    pixels: PositiveInt = 200_000_000
    memory_mb: PositiveInt = 4096


class Split(Section):
    """Which assets are held out, where the source does not say. `test` and `val` are globs over asset names."""

    test: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    test_fraction: Share = 0.2
    val_fraction: Share = 0.2
    seed: int = 7


class Ingest(Section):
    """How a source is read.

    `labels`: a file or folder below the source folder, `folders` (each picture's folder names its class), or `auto`.
    `label_format`: how it is written. `label_map`: the source's words -> the task's classes. `uncovered`: the class of
    frames that no label speaks of. `site`: a regular expression on an asset's name, whose first group is its site.
    """

    labels: str = "auto"
    label_format: Literal["auto", "csv", "folders", "mot", "voc", "coco", "cvml", "openimages"] = "auto"
    label_map: Annotated[dict[str, str], BeforeValidator(_text_keys)] = {}
    uncovered: str | None = None
    site: str | None = None
    split: Split = Split()
    limits: Limits = Limits()
    scenes: Scenes = Scenes()
    cameras: Cameras = Cameras()
    digits: Digits = Digits()
    wild: Wild = Wild()
    search: Search = Search()
    explained: Explained = Explained()


class Frames(Section):
    """`fps`: samples per second of footage (null: every frame); `max_side`: longer pictures are scaled down to it."""

    fps: Rate | None = Fraction(5)
    max_side: PositiveInt | None = 640
    jpeg_quality: int = Field(92, ge=1, le=100)


class Features(Section):
    """Backbone, where its weights come from, and what one frame's vector is made of.

    `size`: (height, width) in pixels that every picture is scaled to. `parts`, in the vector's order: `mean` and
    `max` of the backbone's last feature map, `motion` against the sampled frame before (none of a backbone in it).
    `engine`: what runs the network; `auto` is the fastest sound one here. `precision`: of the network's arithmetic.
    """

    backbone: str = "sightline_small"
    weights: str = "shipped"
    size: tuple[PositiveInt, PositiveInt] = (192, 256)
    parts: tuple[Literal["mean", "max", "motion"], ...] = Field(("mean", "max", "motion"), min_length=1)
    batch_size: PositiveInt = 16
    engine: Literal["auto", "torch", "compiled", "onnxruntime", "openvino"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"


class Validation(Section):
    """Bounds that the Great Expectations suites hold the data to."""

    min_assets: PositiveInt = 2
    min_frames_per_class: PositiveInt = 10
    max_quarantined: Share = 0.2
    max_labels_refused: Share = 0.05
    min_labelled: Share = 0.5
