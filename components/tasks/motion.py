"""Motion of a frame against the sampled frame before it, as a short vector: how fast, how much, how concentrated.

Exhaustive block matching on a reduced grey picture gives every cell a speed and the evidence for it (how much grey
level difference the displacement explains). What carries the vector is the largest local share of cells above each
of several speeds, so one fast object in a slow crowd is seen however small it is.
"""

import torch
import torch.nn.functional as F
from torch import nn

REACH_X, REACH_Y = 6, 3  # displacement searched, reduced pixels per sample
REDUCED_HEIGHT = 120
BLOCK = 5  # cells whose cost is averaged
SPEEDS = (0.5, 1.2, 1.7, 2.5, 3.5, 5.0)
EVIDENCE = (0.01, 0.02)  # grey levels, 0..1
RAMP = 0.004  # evidence counts gradually over this span: engines that round differently then agree
NEIGHBOURHOODS = (5, 9)  # cells
TOP_SHARES = (0.002, 0.005, 0.015, 0.045)
SHORT_MOVES_FIRST = 0.3 / 255  # cost added per pixel of displacement: noise is not motion


class Motion(nn.Module):
    """(B, T, 3, H, W) float in 0..1 -> (B, T, 28). The first frame of a sequence is matched against the second; a
    single picture has no motion."""

    dimension = len(SPEEDS) * len(EVIDENCE) * len(NEIGHBOURHOODS) + len(TOP_SHARES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, time = x.shape[:2]
        grey = _reduced(x.flatten(0, 1))
        # reshape, not unflatten: of that the ONNX exporter keeps the traced batch and time as constants
        grey = grey.reshape(batch, time, *grey.shape[1:])
        at = torch.arange(time, device=x.device)
        before = torch.where(at < 1, (at + 1).clamp(max=time - 1), at - 1)
        other = grey.index_select(1, before)
        speed, evidence = _match(grey.flatten(0, 1), other.flatten(0, 1))
        return _summary(speed, evidence).reshape(batch, time, self.dimension)


class MotionBetween(nn.Module):
    """Motion of some pictures of a batch against others of it, whatever sequences they come from.

    (M, H, W, 3) uint8 RGB and two (N,) int64 indices, `now` and `other` -> (N, 28): row i is picture now[i] matched
    against picture other[i]. As Motion gives it, if `other` is the frame before, or the second frame for the first.
    """

    def forward(self, pictures: torch.Tensor, now: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        grey = _reduced(pictures.permute(0, 3, 1, 2).float() / 255)
        return _summary(*_match(grey.index_select(0, now), grey.index_select(0, other)))


def _reduced(x: torch.Tensor) -> torch.Tensor:
    """(N, 3, H, W) in 0..1 -> the grey picture, (N, 1, h, w), about REDUCED_HEIGHT pixels high."""
    return F.avg_pool2d(x.mean(1)[:, None], max(1, round(int(x.shape[-2]) / REDUCED_HEIGHT)))


def _match(now: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Speed (reduced pixels per sample) and evidence (0..1) per cell, (N, h, w) each, of (N, 1, H, W) grey pictures."""
    height, width = map(int, now.shape[-2:])  # constants to an exporter that traces: only batch and time are free
    padded = F.pad(other, (REACH_X, REACH_X, REACH_Y, REACH_Y), mode="replicate")

    def cost(dy: int, dx: int) -> torch.Tensor:
        shifted = padded[:, :, REACH_Y + dy : REACH_Y + dy + height, REACH_X + dx : REACH_X + dx + width]
        cells = F.avg_pool2d((now - shifted).abs(), 2)
        return F.avg_pool2d(cells, BLOCK, 1, BLOCK // 2, count_include_pad=False)[:, 0]

    still = cost(0, 0)
    best, unpenalised, speed = still, still, torch.zeros_like(still)
    for dy in range(-REACH_Y, REACH_Y + 1):
        for dx in range(-REACH_X, REACH_X + 1):
            if dy == 0 and dx == 0:
                continue
            candidate = cost(dy, dx)
            penalised = candidate + SHORT_MOVES_FIRST * (abs(dy) + abs(dx))
            better = penalised < best
            best = torch.where(better, penalised, best)
            unpenalised = torch.where(better, candidate, unpenalised)
            speed = torch.where(better, torch.full_like(speed, (dy * dy + dx * dx) ** 0.5), speed)
    return speed, still - unpenalised


def _summary(speed: torch.Tensor, evidence: torch.Tensor) -> torch.Tensor:
    parts = []
    for threshold in EVIDENCE:
        for edge in SPEEDS:
            fast = torch.where(speed > edge, ((evidence - threshold) / RAMP + 0.5).clamp(0, 1), 0.0)[:, None]
            parts += [F.avg_pool2d(fast, side, 1, side // 2).amax((1, 2, 3)) for side in NEIGHBOURHOODS]
    energy = (speed * evidence.clamp(min=0)).flatten(1)
    cells = int(energy.shape[1])
    top = energy.topk(max(1, round(max(TOP_SHARES) * cells)), dim=1).values
    for share in TOP_SHARES:
        parts.append(torch.log(1e-3 + top[:, : max(1, round(share * cells))].mean(1)))
    return torch.stack(parts, 1)
