"""A published FairMOT checkpoint of DLA-34 -> the tensors of `DLAFairMOT`, under the same names, as .safetensors.

    python -m components.tasks.detection.tracking.convert fairmot_dla34.pth fairmot_dla34.safetensors

Whether convolutions are deformable, how many kinds there are and how long embeddings are is read off the tensors. The
file goes where a recipe names its weights.
"""

import argparse
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from components.core.errors import SightlineError
from components.core.files import atomic_path
from components.core.stage import guarded
from components.tasks.detection.tracking.dla import COARSEST
from components.tasks.detection.tracking.fairmot import DLAFairMOT

PARALLEL = "module."  # what training on several devices puts before every name
DROPPED = {
    "base.fc.": "ImageNet's classifier", "classifier.": "the classifier of training identities",
    "loss.": "of the training loss", "s_det": "of the training loss", "s_id": "of the training loss",
}  # fmt: skip
COUNTER = (
    ".num_batches_tracked"  # of batch normalisation: old files lack it, and only training without momentum uses it
)
OFFSETS = ".conv_offset_mask.weight"
SHOWN = 10


def convert(checkpoint: Path, out: Path) -> list[str]:
    """Writes `out`; returns the names of tensors that were dropped, each with the reason.

    Raises SightlineError where the checkpoint holds more than tensors, or other tensors than those of a FairMOT, which
    it names.
    """
    state, dropped = _sorted_out(_read(checkpoint))
    wanted = _network(checkpoint, state).state_dict()
    for name in wanted.keys() - state.keys():
        if name.endswith(COUNTER):
            state[name] = torch.zeros(wanted[name].shape, dtype=wanted[name].dtype)
    problems = [f"{name}: missing" for name in wanted if name not in state]
    problems += [f"{name}: unknown" for name in state if name not in wanted]
    problems += [
        f"{name}: {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if problems:
        raise _misfit(checkpoint, problems)
    tensors = {name: state[name].to(wanted[name].dtype).contiguous().clone() for name in sorted(wanted)}
    with atomic_path(out) as temporary:
        save_file(tensors, temporary)
    return dropped


def _read(checkpoint: Path) -> dict[str, torch.Tensor]:
    remedy = "give a .pth of tensors alone, or one with them in state_dict"
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except OSError as error:
        raise SightlineError(f"{checkpoint}: cannot be read ({error.strerror or error})", remedy) from None
    except Exception as error:  # what is no checkpoint, or holds more than tensors, fails in many ways
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SightlineError(f"{checkpoint}: not a checkpoint of tensors ({reason})", remedy) from None
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise SightlineError(f"{checkpoint}: not a state dict", remedy)
    return {name.removeprefix(PARALLEL): tensor for name, tensor in state.items()}


def _sorted_out(state: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], list[str]]:
    """(what is the network's, what is not and why)."""
    reasons = {name: reason for name in state for prefix, reason in DROPPED.items() if name.startswith(prefix)}
    kept = {name: tensor for name, tensor in state.items() if name not in reasons}
    return kept, [f"{name}: {reason}" for name, reason in reasons.items()]


def _network(checkpoint: Path, state: dict[str, torch.Tensor]) -> DLAFairMOT:
    """A network of the checkpoint's kinds, embeddings and convolutions, without memory for its tensors."""
    missing = [f"{name}: missing" for name in ("hm.2.weight", "id.2.weight") if name not in state]
    if missing:
        raise _misfit(checkpoint, missing)
    kinds, dim = len(state["hm.2.weight"]), len(state["id.2.weight"])
    with torch.device("meta"):
        return DLAFairMOT(
            (COARSEST, COARSEST), kinds + 1, 1, 0.0, 1.0, any(name.endswith(OFFSETS) for name in state), dim
        )


def _misfit(checkpoint: Path, problems: list[str]) -> SightlineError:
    more = f"\n  and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    listed = "".join(f"\n  {problem}" for problem in problems[:SHOWN])
    return SightlineError(
        f"{checkpoint}: not a FairMOT of DLA-34 as published:{listed}{more}",
        "give a checkpoint with DLA-34 and sizes as left, top, right and bottom",
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m components.tasks.detection.tracking.convert",
        description="A published FairMOT checkpoint of DLA-34 as .safetensors, tensor by tensor.",
        epilog="example: python -m components.tasks.detection.tracking.convert fairmot_dla34.pth fairmot.safetensors",
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="the .pth file")
    parser.add_argument("out", metavar="OUT", type=Path, help="the .safetensors file to write")
    arguments = parser.parse_args(argv)

    def act() -> None:
        for dropped in convert(arguments.checkpoint, arguments.out):
            print(f"dropped {dropped}")
        print(f"{arguments.out} is written")

    return guarded(act, label="convert")


if __name__ == "__main__":
    sys.exit(main())
