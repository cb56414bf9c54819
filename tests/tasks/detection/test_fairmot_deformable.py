"""Deformable convolution: against a loop over taps, against a plain one, and in a graph."""

import math
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F

from components.tasks.classification.export import OPSET
from components.tasks.detection.tracking.deformable import DeformableConv, deformable_conv


def bilinear(plane: np.ndarray, row: float, column: float) -> float:
    """A plane's value between its cells; beyond its edge are zeros."""
    total, top, left = 0.0, math.floor(row), math.floor(column)
    for y in (top, top + 1):
        for x in (left, left + 1):
            if 0 <= y < plane.shape[0] and 0 <= x < plane.shape[1]:
                total += plane[y, x] * (1 - abs(row - y)) * (1 - abs(column - x))
    return total


def slow(x: np.ndarray, offsets: np.ndarray, mask: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """What `deformable_conv` gives, tap by tap."""
    batch, channels, height, width = x.shape
    found = np.zeros((batch, len(weight), height, width))
    for picture, y, column in np.ndindex(batch, height, width):
        total = bias.astype(np.float64).copy()
        for tap in range(9):
            down, right = offsets[picture, 2 * tap : 2 * tap + 2, y, column]
            row, at = y + tap // 3 - 1 + down, column + tap % 3 - 1 + right
            for channel in range(channels):
                value = bilinear(x[picture, channel], row, at) * mask[picture, tap, y, column]
                total += weight[:, channel, tap // 3, tap % 3] * value
        found[picture, :, y, column] = total
    return found


def drawn(height: int, width: int, reach: float) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(height * 10 + width)
    shapes = ((2, 3, height, width), (2, 18, height, width), (2, 9, height, width), (4, 3, 3, 3), (4,))
    x, offsets, mask, weight, bias = (torch.randn(shape, generator=random) for shape in shapes)
    return [x, offsets * reach, mask.sigmoid(), weight, bias]


@pytest.mark.parametrize("height, width, reach", [(4, 5, 0.6), (5, 3, 4.0), (1, 4, 1.0), (1, 1, 0.7)])
def test_taps_are_where_a_loop_finds_them(height, width, reach):
    """Also far outside, and on maps of one cell."""
    given = drawn(height, width, reach)
    found = deformable_conv(*given)
    assert found.shape == (2, 4, height, width)
    assert np.abs(found.numpy() - slow(*(part.numpy() for part in given))).max() < 1e-4


def test_without_offsets_it_is_a_plain_convolution():
    x, _, _, weight, bias = drawn(6, 7, 0)
    found = deformable_conv(x, torch.zeros(2, 18, 6, 7), torch.ones(2, 9, 6, 7), weight, bias)
    assert torch.allclose(found, F.conv2d(x, weight, bias, padding=1), atol=1e-4)
    fresh = DeformableConv(3, 4)
    assert torch.allclose(fresh(x), F.conv2d(x, fresh.weight / 2, fresh.bias, padding=1), atol=1e-4)


def test_whole_steps_shift_the_picture():
    x, offsets, _, weight, bias = drawn(6, 7, 0)
    offsets[:, 0::2] = 1
    found = deformable_conv(x, offsets, torch.ones(2, 9, 6, 7), weight, bias)
    moved = F.pad(x, (0, 0, 0, 1))[:, :, 1:]
    assert torch.allclose(found[:, :, 1:], F.conv2d(moved, weight, bias, padding=1)[:, :, 1:], atol=1e-4)


def test_gradients_are_those_of_finite_differences():
    given = [part.double().requires_grad_() for part in drawn(3, 4, 0.3)]
    assert torch.autograd.gradcheck(deformable_conv, given, fast_mode=True)


def test_it_runs_as_a_graph(tmp_path):
    layer = DeformableConv(3, 4).eval()
    torch.nn.init.normal_(layer.conv_offset_mask.weight, std=0.3)
    x = drawn(6, 7, 0)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            layer, (x,), str(tmp_path / "graph.onnx"), input_names=["x"], output_names=["y"], opset_version=OPSET,
            dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}}, dynamo=False,
        )  # fmt: skip
    session = onnxruntime.InferenceSession(tmp_path / "graph.onnx")
    for count in (1, 2):
        with torch.inference_mode():
            expected = layer(x[:count]).numpy()
        assert np.abs(session.run(None, {"x": x[:count].numpy()})[0] - expected).max() < 1e-4
