"""What FairMOT's maps are taught: where objects are, how large they are, and who.

Y. Zhang et al., "FairMOT: on the fairness of detection and re-identification in multiple object tracking", 2020; the
weights of the two tasks are learned (A. Kendall, Y. Gal and R. Cipolla, "Multi-task learning using uncertainty to
weigh losses for scene geometry and semantics", 2018).

The heat map is taught by the elliptic bells of `heatmap` and not by round ones: what is tracked is mostly tall and
narrow, a bell as wide as it is tall would reach into its neighbours, and there boxes of weight 0 have their meaning
already. As in the focal loss there, every loss is a sum over boxes, each as often as its weight says, per picture and
not per box: the mean over equal batches is the loss of their union, however many boxes are in each.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from components.core.errors import UsageError
from components.tasks.detection.boxes import giou_loss
from components.tasks.detection.heatmap import Targets, focal_loss, targets
from components.tasks.detection.light import BOX_LOSS
from components.tasks.detection.samples import Batch

SIZE_LOSS = 0.1  # weight of the size's loss beside the heat map's and the offset's, as published
DETECTION_START, IDENTITY_START = -1.85, -1.05  # of the logarithms of the tasks' uncertainties, as published
FEWEST = 3  # identities: of two the published scale of the embeddings is 0


class Maps(NamedTuple):
    """What the network says of every cell of B pictures.

    heat (B, K, h, w): logits; size (B, 4, h, w): from a centre to the left, top, right and bottom of its box, in cells;
    offset (B, 2, h, w): of a centre to the right and down from its cell's corner, in cells; embedding (B, D, h, w), not
    normalised. Without an offset every cell under an object tells its box, and sizes are counted from its middle.
    """

    heat: torch.Tensor
    size: torch.Tensor
    offset: torch.Tensor | None
    embedding: torch.Tensor


def at(plane: torch.Tensor, centre: torch.Tensor) -> torch.Tensor:
    """The values (N, C) of a map (B, C, h, w) at the centres (4, N) of `Targets`."""
    picture, _, row, column = centre
    return plane[picture, :, row, column]


def shapes(boxes: torch.Tensor, centre: torch.Tensor, shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """(distances (N, 4), offsets (N, 2)) that boxes (N, 4) in units of the picture have at their centres (4, N) on a
    map of this shape (h, w), as in `Maps`.

    A box may reach out of the picture; distances are from its middle or, where that is outside, from the edge.
    """
    cells = torch.tensor([shape[1], shape[0]], device=boxes.device)
    low, high = boxes[:, :2] * cells, boxes[:, 2:] * cells
    middle = torch.minimum(((low + high) / 2).clamp(min=0), cells)
    return torch.cat([middle - low, high - middle], 1), middle - centre[[3, 2]].T


def distance_loss(found: torch.Tensor, truth: torch.Tensor, weights: torch.Tensor, pictures: int) -> torch.Tensor:
    """The mean absolute difference of each of N rows (N, C), times its weight (N,); their sum per picture."""
    return ((found - truth).abs().mean(1) * weights).sum() / pictures


def identity_loss(logits: torch.Tensor, identities: torch.Tensor, weights: torch.Tensor, pictures: int) -> torch.Tensor:
    """Cross-entropy of logits (N, I) with identities (N,), times the weight (N,) of each; the sum per picture."""
    return (F.cross_entropy(logits, identities, reduction="none") * weights).sum() / pictures


def told(size: torch.Tensor) -> torch.Tensor:
    """The boxes (B, 4, h * w), in units of the picture, that the cells of a map of sizes (B, 4, h, w) tell of, counted
    from the cells' middles."""
    height, width = int(size.shape[2]), int(size.shape[3])
    across = ((torch.arange(width, device=size.device) + 0.5) / width).repeat(height)
    down = ((torch.arange(height, device=size.device) + 0.5) / height).repeat_interleave(width)
    scale = torch.tensor([width, height, width, height], device=size.device).view(1, 4, 1)
    ways = torch.tensor([-1.0, -1.0, 1.0, 1.0], device=size.device).view(1, 4, 1)
    return torch.stack([across, down, across, down])[None] + ways * size.flatten(2) / scale


def detection_parts(maps: Maps, batch: Batch, wanted: Targets) -> dict[str, torch.Tensor]:
    """`hm_loss`, `wh_loss` and `offset_loss`, scalars per picture.

    Without offsets the first two: the second is then that of the generalised intersection over union, of the boxes that
    all cells under an object tell of.
    """
    if maps.offset is None:
        picture, row, column = wanted.cells
        boxes = told(maps.size)[picture, :, row * maps.size.shape[3] + column]
        off = giou_loss(boxes, batch.boxes[wanted.box]) * wanted.share
        return {"hm_loss": focal_loss(maps.heat, wanted), "wh_loss": off.sum() / len(batch.pixels)}
    distances, offsets = shapes(batch.boxes, wanted.centre, tuple(maps.heat.shape[2:]))
    pictures = len(batch.pixels)
    return {
        "hm_loss": focal_loss(maps.heat, wanted),
        "wh_loss": distance_loss(at(maps.size, wanted.centre), distances, wanted.weights, pictures),
        "offset_loss": distance_loss(at(maps.offset, wanted.centre), offsets, wanted.weights, pictures),
    }


def combined(detection: torch.Tensor, identity: torch.Tensor, s_det: torch.Tensor, s_id: torch.Tensor) -> torch.Tensor:
    """Half of exp(-s_det) * detection + exp(-s_id) * identity + s_det + s_id: the losses of two tasks, weighed by the
    logarithms of their uncertainties. It may be negative."""
    return 0.5 * ((-s_det).exp() * detection + (-s_id).exp() * identity + s_det + s_id)


class JointLoss(nn.Module):
    """The losses of a FairMOT, with what only training needs: the classifier of `identities` identities by embeddings
    of `dim` numbers, and the uncertainties, s_det and s_id, each (1,). `weight`: of the identities' loss beside the
    detection's, `box_weight`: of the sizes' within that; factors on the published weights.

    Raises UsageError for fewer identities than three.
    """

    def __init__(self, dim: int, identities: int, weight: float = 1.0, box_weight: float = 1.0):
        super().__init__()
        self.weight, self.box_weight = weight, box_weight
        if identities < FEWEST:
            raise UsageError(
                f"tracking: {identities} identities to tell apart, and at least {FEWEST} are needed",
                "annotate more tracks, or train a detector, which needs none",
            )
        self.scale = math.sqrt(2) * math.log(identities - 1)
        self.classifier = nn.Linear(dim, identities)
        self.s_det = nn.Parameter(torch.full((1,), DETECTION_START))
        self.s_id = nn.Parameter(torch.full((1,), IDENTITY_START))

    def logits(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Logits (N, identities) of embeddings (N, dim) of any length: only their direction counts."""
        return self.classifier(self.scale * F.normalize(embeddings))

    def forward(self, maps: Maps, batch: Batch) -> dict[str, torch.Tensor]:
        """`loss`, which is to be minimised, and what it is made of, scalars per picture: `id_loss`, `detection_parts`.
        A box whose identity is -1 teaches no embedding."""
        wanted = targets(batch, maps.heat.shape[1], tuple(maps.heat.shape[2:]))
        parts = detection_parts(maps, batch, wanted)
        known = batch.identities >= 0
        logits = self.logits(at(maps.embedding, wanted.centre[:, known]))
        parts["id_loss"] = identity_loss(logits, batch.identities[known], wanted.weights[known], len(batch.pixels))
        sizes = self.box_weight * (BOX_LOSS if maps.offset is None else SIZE_LOSS) * parts["wh_loss"]
        detection = parts["hm_loss"] + sizes + parts.get("offset_loss", 0.0)
        return parts | {"loss": combined(detection, self.weight * parts["id_loss"], self.s_det, self.s_id).squeeze()}
