"""Faster R-CNN (S. Ren et al., 2015) on any backbone, put together of torchvision's parts and sized for processors.

As published: anchors, a proposal network, pooled regions, two fully connected layers, and the two losses of each stage.
Smaller: one feature level (the backbone's last map, narrowed by a 1x1 convolution), fewer proposals and samples, and
layers of 256. Two things differ so that the network is a graph of fixed shapes for any number of pictures: proposals
that suppression leaves out are put behind the others instead of removed, and regions are pooled by sampling the map
at the same points as RoIAlign (K. He et al., "Mask R-CNN", 2017; aligned, two by two samples a bin).

Boxes weigh in both stages: torchvision has no weights, so the samples' losses are multiplied by those of the boxes they
are matched to (background counts 1) and divided by the number of samples, as the unweighted means are.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from components.core.torchvision_compat import import_torchvision
from components.tasks.detection.body import Body
from components.tasks.detection.boxes import CHAIN, Detections, frame_probabilities, overlaps, settled, survivors
from components.tasks.detection.samples import Batch

import_torchvision()
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, BoxCoder, Matcher  # noqa: E402
from torchvision.models.detection.anchor_utils import AnchorGenerator  # noqa: E402
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead  # noqa: E402
from torchvision.models.detection.image_list import ImageList  # noqa: E402
from torchvision.models.detection.rpn import RPNHead  # noqa: E402

SIDES = (0.1, 0.2, 0.4, 0.8)  # of the anchors, as shares of the picture's shorter side
RATIOS = (0.5, 1.0, 2.0)
WIDTH, HIDDEN = 128, 256
BINS, SAMPLES = 7, 2  # of a pooled region: bins along a side, and samples along a bin's
BEFORE, AFTER = 256, 64  # proposals before and after suppression
PROPOSAL_NMS = 0.7
CANDIDATES = 256  # boxes of all classes that the last suppression looks at
BETA = 1 / 9  # where the smooth L1 loss turns from a square to a line


class FasterRCNN(nn.Module):
    """Pixels (B, 3, H, W) float32 RGB in [0, 1] -> Detections. `classes` counts the background."""

    def __init__(self, body: Body, classes: int, max_boxes: int, score_floor: float, nms: float):
        super().__init__()
        self.body, self.classes = body, classes
        self.max_boxes, self.score_floor, self.nms = max_boxes, score_floor, nms
        sides = tuple(share * min(body.size) for share in SIDES)
        generator = AnchorGenerator((sides,), (RATIOS,))
        self.lateral = nn.Conv2d(body.channels, WIDTH, 1)
        self.rpn = RPNHead(WIDTH, len(SIDES) * len(RATIOS))
        self.box_head = TwoMLPHead(WIDTH * BINS * BINS, HIDDEN)
        self.predictor = FastRCNNPredictor(HIDDEN, classes)
        height, width = body.size
        blank = ImageList(torch.zeros(1, 3, height, width), [(height, width)])
        anchors = generator(blank, [torch.zeros(1, 1, *body.grid)])[0]
        self.register_buffer("anchors", anchors, persistent=False)
        self.register_buffer("extent", torch.tensor([width, height, width, height]).float(), persistent=False)
        self.propose = Stage(Matcher(0.7, 0.3, True), BalancedPositiveNegativeSampler(128, 0.5), BoxCoder((1.0,) * 4))
        coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
        self.decide = Stage(Matcher(0.5, 0.5, False), BalancedPositiveNegativeSampler(64, 0.25), coder)

    def forward(self, pixels: torch.Tensor) -> Detections:
        maps, objectness, deltas = self.proposed(pixels)
        proposals = self.proposals(objectness, deltas)
        logits, offsets = self.predictor(self.box_head(self.pooled(maps, proposals)))
        found = int(proposals.shape[1])
        boxes = self.decide.coder.decode_single(offsets, proposals.reshape(-1, 4))
        boxes = boxes.reshape(-1, found, self.classes, 4)[:, :, 1:] / self.extent
        scores = logits.softmax(-1).reshape(-1, found, self.classes)[:, :, 1:]
        best = scores.amax(1)
        scores, order = scores.flatten(1).topk(min(CANDIDATES, found * (self.classes - 1)), 1)
        boxes = boxes.flatten(1, 2).gather(1, order[..., None].expand(-1, -1, 4))
        kept = settled(boxes, scores, order % (self.classes - 1) + 1, self.max_boxes, self.score_floor, self.nms)
        return Detections(*kept, frame_probabilities(best))

    def loss(self, batch: Batch) -> dict[str, torch.Tensor]:
        """`objectness`, `proposal_box`, `class` and `box`, scalars per picture whose sum is to be minimised."""
        maps, objectness, deltas = self.proposed(batch.pixels)
        proposals = self.proposals(objectness.detach(), deltas.detach())
        sums: dict[str, list[torch.Tensor]] = {"objectness": [], "proposal_box": [], "class": [], "box": []}
        drawn, regions = [], []
        for at in range(len(batch.pixels)):
            own = batch.where(batch.picture == at)
            boxes = own.boxes * self.extent
            first = self.propose.sampled(self.anchors, boxes, torch.ones_like(own.classes), own.weights)
            there = (first.labels > 0).float()
            wrong = F.binary_cross_entropy_with_logits(objectness[at, first.rows], there, reduction="none")
            sums["objectness"].append(first.mean(wrong))
            sums["proposal_box"].append(self.propose.off(first, deltas[at, first.rows]))
            # The true boxes are proposals too, so that the second stage has something to learn from the start.
            drawn.append(self.decide.sampled(torch.cat([proposals[at], boxes]), boxes, own.classes, own.weights))
            regions.append(self.pooled(maps[at : at + 1], drawn[-1].candidates[None]))
        sizes = [len(second.rows) for second in drawn]
        decided = (part.split(sizes) for part in self.predictor(self.box_head(torch.cat(regions))))
        for second, logits, offsets in zip(drawn, *decided, strict=True):
            offsets = offsets.view(-1, self.classes, 4)[torch.arange(len(logits)), second.labels]
            sums["class"].append(second.mean(F.cross_entropy(logits, second.labels, reduction="none")))
            sums["box"].append(self.decide.off(second, offsets))
        return {name: torch.stack(parts).mean() for name, parts in sums.items()}

    def proposed(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The narrowed map (B, WIDTH, h, w), and for each of A anchors the logit that an object is there, (B, A), and
        how its box differs from the anchor, (B, A, 4)."""
        maps = self.lateral(self.body(pixels))
        (objectness,), (deltas,) = self.rpn([maps])
        kinds = len(SIDES) * len(RATIOS)
        deltas = deltas.reshape(-1, kinds, 4, *self.body.grid).permute(0, 3, 4, 1, 2)
        return maps, objectness.permute(0, 2, 3, 1).flatten(1), deltas.reshape(-1, len(self.anchors), 4)

    def proposals(self, objectness: torch.Tensor, deltas: torch.Tensor) -> torch.Tensor:
        """The AFTER best boxes in pixels, (B, P, 4); where fewer are left, suppressed ones follow."""
        anchors = self.anchors.expand_as(deltas).reshape(-1, 4)
        boxes = self.propose.coder.decode_single(deltas.reshape(-1, 4), anchors).reshape(deltas.shape)
        boxes = torch.minimum(boxes.clamp(min=0), self.extent)
        scores, order = objectness.topk(min(BEFORE, len(self.anchors)), 1)
        boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
        behind = (~survivors(boxes, None, PROPOSAL_NMS, CHAIN)).float() * 1e4
        order = (scores - behind).topk(min(AFTER, int(scores.shape[1])), 1).indices
        return boxes.gather(1, order[..., None].expand(-1, -1, 4))

    def pooled(self, maps: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Regions (B * P, WIDTH * BINS * BINS) of maps (B, WIDTH, h, w) under boxes (B, P, 4) in pixels."""
        points = BINS * SAMPLES
        steps = (torch.arange(points, device=boxes.device) + 0.5) / points
        corners = 2 * boxes / self.extent - 1
        low, side = corners[..., None, :2], (corners[..., 2:] - corners[..., :2])[..., None, :]
        along = low + side * steps[:, None]  # (B, P, points, 2)
        grid = torch.stack(
            torch.broadcast_tensors(along[..., None, :, 0], along[..., :, None, 1]), -1
        )  # (B, P, points down, points across, 2)
        count = boxes.shape[1]
        sampled = F.grid_sample(maps, grid.flatten(1, 2), padding_mode="border", align_corners=False)
        regions = F.avg_pool2d(sampled, SAMPLES).reshape(-1, WIDTH, count, BINS, BINS)
        return regions.permute(0, 2, 1, 3, 4).reshape(-1, WIDTH * BINS * BINS)


@dataclass(frozen=True)
class Sampled:
    """Candidates drawn for a loss: rows (S,) of all, candidates (S, 4) in pixels, labels (S,) int64 (0: background),
    weights (S,), boxes (S, 4): those they are matched to, where the label is not 0."""

    rows: torch.Tensor
    candidates: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    boxes: torch.Tensor

    def mean(self, losses: torch.Tensor) -> torch.Tensor:
        """The weighted losses (S,) over the number of samples."""
        return (losses * self.weights).sum() / max(1, len(self.rows))


@dataclass(frozen=True)
class Stage:
    """How one of the two stages matches candidates with boxes, draws some, and writes differences between them."""

    matcher: Matcher
    sampler: BalancedPositiveNegativeSampler
    coder: BoxCoder

    def sampled(
        self, candidates: torch.Tensor, boxes: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor
    ) -> Sampled:
        """A drawing of candidates (A, 4) for the boxes (N, 4) of one picture, by torch's own random numbers."""
        if not len(boxes):
            boxes, weights = boxes.new_zeros(1, 4), weights.new_zeros(1)
            matched = torch.zeros(len(candidates), dtype=torch.int64, device=candidates.device)
            labels = matched
        else:
            index = self.matcher(overlaps(boxes, candidates))
            matched = index.clamp(min=0)
            unsure = torch.where(index == Matcher.BELOW_LOW_THRESHOLD, 0, -1)
            labels = torch.where(index >= 0, classes[matched], unsure)
        objects, background = self.sampler([labels])
        rows = torch.where(objects[0] | background[0])[0]
        labels, matched = labels[rows], matched[rows]
        return Sampled(rows, candidates[rows], labels, torch.where(labels > 0, weights[matched], 1.0), boxes[matched])

    def off(self, sampled: Sampled, offsets: torch.Tensor) -> torch.Tensor:
        """The smooth L1 loss of offsets (S, 4) from the candidates to their boxes."""
        true = torch.where(sampled.labels > 0)[0]
        wanted = self.coder.encode_single(sampled.boxes[true], sampled.candidates[true])
        losses = F.smooth_l1_loss(offsets[true], wanted, beta=BETA, reduction="none").sum(1)
        return (losses * sampled.weights[true]).sum() / max(1, len(sampled.rows))
