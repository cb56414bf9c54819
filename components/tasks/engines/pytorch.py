"""Networks in torch, eager or compiled: functions (arrays) -> (rows, dimension) float32, as in `runtimes`."""

import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch
from torch import nn

from components.core import paths
from components.core.errors import SightlineError
from components.core.recipe import Features
from components.tasks.engines.runtimes import BFLOAT16, Network
from components.tasks.featurizer import Appearance, Featurizer, build_featurizer
from components.tasks.motion import MotionBetween


def networks(params: Features, threads: int, model: Featurizer | None) -> tuple[Network | None, Network | None]:
    """(appearance, motion) in torch, None for what `params.parts` have not; `model` is the featurizer, if it is there.

    Raises as `compiled` and `build_featurizer`.
    """
    model = model or build_featurizer(params)
    appearance = None
    if model.backbone is not None and params.engine == "compiled":
        appearance = compiled(Appearance(model), params.precision, threads, params.batch_size)
    elif model.backbone is not None:
        appearance = eager(Appearance(model), params.precision, threads)
    return appearance, eager(MotionBetween().eval(), "float32", threads) if model.motion else None


def device() -> str:
    """`cuda` where torch sees a GPU, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def eager(network: nn.Module, precision: str, threads: int) -> Network:
    """The network in torch, on the GPU where there is one; channels last, which convolutions are fastest in.

    bfloat16 is torch's autocast: convolutions and matrix products in it, sums in float32.
    """
    return _torch(network, network, precision, threads)


def compiled(network: nn.Module, precision: str, threads: int, rows: int) -> Network:
    """The network by torch.compile, for batches of `rows` pictures: fewer are filled up with black ones.

    The compiled code is kept in the user's cache, where the workers find what the driver compiled. Raises
    SightlineError where there is no C++ compiler.
    """
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise SightlineError(
            f"features.engine compiled: no C++ compiler ({compiler}): torch.compile makes its code when it runs",
            "install g++, or name it in CXX, or use another engine",
        )
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(paths.user_cache("inductor")))
    run = _torch(network, torch.compile(network, dynamic=False), precision, threads)

    def padded(pictures: np.ndarray) -> np.ndarray:
        missing = rows - len(pictures)
        filled = np.concatenate([pictures, np.zeros((missing, *pictures.shape[1:]), np.uint8)]) if missing else pictures
        return run(filled)[: len(pictures)]

    return padded


def _torch(network: nn.Module, call: Callable, precision: str, threads: int) -> Network:
    torch.set_num_threads(threads)
    where = device()
    network.to(where, memory_format=torch.channels_last)
    if where == "cuda":  # the same bytes each time, and float32 that is float32
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    low = torch.autocast(where, torch.bfloat16) if precision == BFLOAT16 else nullcontext()

    def run(*arrays: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), low:
            return call(*(torch.from_numpy(array).to(where) for array in arrays)).float().cpu().numpy()

    return run
