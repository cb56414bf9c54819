"""Import torchvision beside any build of torch.

The wheel of the default package index is linked to CUDA torch. Beside a CPU torch its C++ library does not load, and
importing torchvision (or timm, which imports it) stops at an operator that nobody has declared.
"""

import importlib
import importlib.util
import threading
from pathlib import Path
from types import ModuleType

import torch

from components.core.errors import SightlineError

_lock = threading.Lock()
_declared: torch.library.Library | None = None  # the declarations last as long as this object


def import_torchvision() -> ModuleType:
    """The torchvision module; call it before the first import of torchvision or timm.

    Where the wheel matches torch this is a plain import. Beside a CPU torch with a CUDA wheel it declares the operators
    that the import looks up and supplies `nms`; `roi_align` then uses torchvision's own Python form, and deformable
    convolution is not available. Safe to call again and from several threads. Raises SightlineError where torchvision
    is not installed, or is built for another CUDA torch.
    """
    global _declared
    with _lock:
        if _declared is None and not _library_loads():
            if torch.version.cuda is not None:
                raise SightlineError(
                    f"torchvision's library does not load beside torch {torch.__version__}",
                    "install the torchvision of the same release and CUDA version (infra/setup/constraints.txt)",
                )
            _declared = _declare()
            boxes = importlib.import_module("torchvision.ops.boxes")
            boxes._assert_has_ops = lambda: None  # nms has a kernel now; the other operators still say they have none
        return importlib.import_module("torchvision")


def _library_loads() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise SightlineError("torchvision is not installed", "run `make setup`")
    try:
        torch.ops.load_library(str(Path(spec.origin).with_name("_C.so")))
    except OSError:
        return False
    return True


def _declare() -> torch.library.Library:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", nms, "CPU")
    return library


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Greedy non-maximum suppression, as torchvision.ops.nms.

    boxes: [N, 4], x1 y1 x2 y2; scores: [N]. Returns the int64 indices kept, highest score first: a box goes where its
    intersection over union with a kept one is above `iou_threshold`.
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    left = torch.argsort(scores, descending=True, stable=True)
    kept = []
    while left.numel():
        best, left = left[0], left[1:]
        kept.append(best)
        low = torch.maximum(boxes[left, :2], boxes[best, :2])
        high = torch.minimum(boxes[left, 2:], boxes[best, 2:])
        shared = (high - low).clamp(min=0).prod(dim=1)
        left = left[~(shared / (areas[left] + areas[best] - shared) > iou_threshold)]  # 0/0 is not above: kept
    return torch.stack(kept) if kept else torch.empty(0, dtype=torch.int64, device=boxes.device)
