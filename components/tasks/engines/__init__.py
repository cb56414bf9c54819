"""Engines: what computes the vectors of pictures. One interface over torch, torch.compile, ONNX Runtime and OpenVINO.

A plan says which engine, of which version, with which graphs; it is made once by the driver (`choice.planned`) and
goes to the workers as JSON, each of which loads it once (`load`).
"""

import json
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from components.core.errors import UsageError
from components.core.recipe import Features
from components.tasks.backbones import KINDS
from components.tasks.engines import graph, networks
from components.tasks.featurizer import POOLED, Appearance, Featurizer, build_featurizer, places
from components.tasks.motion import MotionBetween

MODULES = (graph, networks)  # whose code shapes vectors besides the featurizer's own


@dataclass(frozen=True)
class Plan:
    """How vectors are computed. `params`: the recipe's features with the engine's name in the place of `auto`.

    `digest`: of the weights; `version`: of the engine's package; `graphs`: the files of the graphs it runs, if any.
    """

    params: Features
    digest: str
    version: str
    device: str
    graphs: dict[str, str] = field(default_factory=dict)

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        return sum(place.stop - place.start for place in _places(self.params).values())

    @property
    def name(self) -> str:
        """Engine, version, precision, and the device if it is not the CPU: part of the work's key, and its metadata."""
        where = "" if self.device == "cpu" else f" {self.device}"
        return f"{self.params.engine} {self.version} {self.params.precision}{where}"

    @property
    def needs_neighbours(self) -> bool:
        """Whether a frame's vector depends on the frames beside it."""
        return "motion" in self.params.parts

    def ready(self, model: Featurizer | None = None) -> "Plan":
        """The plan with the graphs it runs exported; `model` is its featurizer, if it has been built already."""
        if self.params.engine not in ("onnxruntime", "openvino"):
            return self
        files = graph.graphs(self.params, self.digest, lambda: model or build_featurizer(self.params))
        return replace(self, graphs=files)

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

    def __init__(self, appearance: networks.Network | None, motion: networks.Network | None, params: Features):
        self.appearance, self.motion, self.places = appearance, motion, _places(params)
        self.pooled = [part for part in POOLED if part in self.places]

    def __call__(self, pictures: np.ndarray, now: np.ndarray, other: np.ndarray) -> np.ndarray:
        vectors = np.empty((len(now), sum(place.stop - place.start for place in self.places.values())), np.float32)
        if self.appearance is not None:
            made = self.appearance(pictures[now])
            for part, values in zip(self.pooled, np.split(made, len(self.pooled), axis=1), strict=True):
                vectors[:, self.places[part]] = values
        if self.motion is not None:
            vectors[:, self.places["motion"]] = self.motion(pictures, now, other)
        return vectors


def load(plan: Plan, threads: int = 1, model: Featurizer | None = None) -> Engine:
    """The engine of a plan that is `ready`, with so many threads; `model` is its featurizer, if it has been built.

    Raises UsageError for a precision that the engine does not have, SightlineError for one that the CPU does not have
    and where torch.compile finds no compiler.
    """
    params, files = plan.params, plan.graphs
    check_precision(params)
    if params.engine in ("torch", "compiled"):
        model = model or build_featurizer(params)
        appearance = None
        if model.backbone is not None and params.engine == "compiled":
            appearance = networks.compiled(Appearance(model), params.precision, threads, params.batch_size)
        elif model.backbone is not None:
            appearance = networks.eager(Appearance(model), params.precision, threads)
        motion = networks.eager(MotionBetween().eval(), "float32", threads) if model.motion else None
        return Engine(appearance, motion, params)
    appearance = motion = None
    if graph.APPEARANCE in files and params.engine == "onnxruntime":
        appearance = networks.onnx_runtime(files[graph.APPEARANCE], threads)
    elif graph.APPEARANCE in files:
        appearance = networks.openvino(files[graph.APPEARANCE], params.precision, threads)
    if graph.MOTION in files:
        # Of its many small steps ONNX Runtime makes a quarter of OpenVINO's time.
        if networks.installed("onnxruntime"):
            motion = networks.onnx_runtime(files[graph.MOTION], threads)
        else:
            motion = networks.openvino(files[graph.MOTION], "float32", 1)
    return Engine(appearance, motion, params)


def check_precision(params: Features) -> None:
    """Raises UsageError where the engine named never computes in the precision asked for."""
    if params.engine == "onnxruntime" and params.precision == networks.BFLOAT16:
        raise UsageError(
            "features.precision bfloat16: ONNX Runtime has no kernels for it on CPUs",
            "use the engine openvino, compiled, torch or auto, or float32",
        )


def _places(params: Features) -> dict[str, slice]:
    return places(params.parts, KINDS[params.backbone].channels if set(params.parts) != {"motion"} else 0)
