"""Engines: what computes the vectors of pictures. One interface over torch, torch.compile, ONNX Runtime and OpenVINO.

A plan says which engine, of which version, with which graphs; it is made once by the driver (`choice.planned`) and
goes to the workers as JSON, each of which loads it once (`load`).
"""

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from components.core.errors import UsageError
from components.core.recipe import Features
from components.tasks.engines import runtimes
from components.tasks.parts import POOLED, places

if TYPE_CHECKING:
    from components.tasks.featurizer import Featurizer

APPEARANCE, MOTION = "appearance", "motion"  # the networks that vectors are made by


@dataclass(frozen=True)
class Plan:
    """How vectors are computed. `params`: the recipe's features with the engine's name in the place of `auto`.

    `sizes`: numbers in each part of a vector, in its order; `digest`: of the weights; `version`: of the engine's
    package; `graphs`: the files of the graphs it runs, if any.
    """

    params: Features
    sizes: dict[str, int]
    digest: str
    version: str
    device: str
    graphs: dict[str, str] = field(default_factory=dict)

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        return sum(self.sizes.values())

    @property
    def name(self) -> str:
        """Engine, version, precision, and the device if it is not the CPU: part of the work's key, and its metadata."""
        where = "" if self.device == "cpu" else f" {self.device}"
        return f"{self.params.engine} {self.version} {self.params.precision}{where}"

    @property
    def needs_neighbours(self) -> bool:
        """Whether a frame's vector depends on the frames beside it."""
        return "motion" in self.params.parts

    def text(self) -> str:
        """The plan as JSON."""
        return json.dumps(asdict(replace(self, params=None)) | {"params": self.params.model_dump(mode="json")})

    @classmethod
    def parse(cls, text: str) -> "Plan":
        """The plan that `text` gave."""
        body = json.loads(text)
        return cls(**body | {"params": Features.model_validate(body["params"])})


class Engine:
    """Computes vectors: (M, H, W, 3) uint8 RGB and two (N,) indices, `now` and `other` -> (N, dimension) float32.

    Row i is the vector of picture now[i], its motion that against picture other[i]. The motion part is float32
    whatever the precision.
    """

    def __init__(self, appearance: runtimes.Network | None, motion: runtimes.Network | None, sizes: dict[str, int]):
        self.appearance, self.motion, self.places = appearance, motion, places(sizes)
        self.dimension = sum(sizes.values())
        self.pooled = [part for part in POOLED if part in self.places]

    def __call__(self, pictures: np.ndarray, now: np.ndarray, other: np.ndarray) -> np.ndarray:
        vectors = np.empty((len(now), self.dimension), np.float32)
        if self.appearance is not None:
            made = self.appearance(pictures[now])
            for part, values in zip(self.pooled, np.split(made, len(self.pooled), axis=1), strict=True):
                vectors[:, self.places[part]] = values
        if self.motion is not None:
            vectors[:, self.places["motion"]] = self.motion(pictures, now, other)
        return vectors


def load(plan: Plan, threads: int = 1, model: "Featurizer | None" = None) -> Engine:
    """The engine of a plan that is `ready`, with so many threads; `model` is its featurizer, if it has been built.

    Raises UsageError for a precision that the engine does not have, SightlineError for one that the CPU does not have
    and where torch.compile finds no compiler.
    """
    params, files = plan.params, plan.graphs
    check_precision(params)
    if params.engine in ("torch", "compiled"):
        from components.tasks.engines import pytorch  # here: a worker that runs graphs is spared the import

        return Engine(*pytorch.networks(params, threads, model), plan.sizes)
    appearance = motion = None
    if APPEARANCE in files and params.engine == "onnxruntime":
        appearance = runtimes.onnx_runtime(files[APPEARANCE], threads)
    elif APPEARANCE in files:
        appearance = runtimes.openvino(files[APPEARANCE], params.precision, threads)
    if MOTION in files:
        # Of its many small steps ONNX Runtime makes a quarter of OpenVINO's time.
        if runtimes.installed("onnxruntime"):
            motion = runtimes.onnx_runtime(files[MOTION], threads)
        else:
            motion = runtimes.openvino(files[MOTION], "float32", 1)
    return Engine(appearance, motion, plan.sizes)


def check_precision(params: Features) -> None:
    """Raises UsageError where the engine named never computes in the precision asked for."""
    if params.engine == "onnxruntime" and params.precision == runtimes.BFLOAT16:
        raise UsageError(
            "features.precision bfloat16: ONNX Runtime has no kernels for it on CPUs",
            "use the engine openvino, compiled, torch or auto, or float32",
        )
