"""torchvision beside any torch: it imports, timm with it, and non-maximum suppression is the real thing."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.core import torchvision_compat
from components.core.errors import SightlineError
from components.core.torchvision_compat import import_torchvision, nms


def plain_nms(boxes: list, scores: list, threshold: float) -> list[int]:
    """The definition, one pair at a time."""

    def overlap(a, b):
        width = min(a[2], b[2]) - max(a[0], b[0])
        height = min(a[3], b[3]) - max(a[1], b[1])
        shared = max(width, 0) * max(height, 0)
        union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
        return shared / union if union else 0.0

    kept = []
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
        if all(overlap(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(i)
    return kept


# Whole-number corners and thresholds off every simple fraction: no tie hangs on a rounding error.
corner, side = st.integers(0, 30), st.integers(0, 20)
box = st.tuples(corner, corner, side, side).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(box, st.integers(0, 9)), max_size=25), st.sampled_from([0.1234567, 0.4987654, 0.7654321]))
def test_nms_follows_its_definition(rows, threshold):
    boxes = torch.tensor([row[0] for row in rows], dtype=torch.float32).reshape(-1, 4)
    scores = torch.tensor([row[1] for row in rows], dtype=torch.float32)
    kept = nms(boxes, scores, threshold)
    assert kept.dtype == torch.int64
    assert kept.tolist() == plain_nms(boxes.tolist(), scores.tolist(), threshold)


def test_torchvision_and_timm_work_in_a_fresh_process():
    code = """
from components.core.torchvision_compat import import_torchvision
torchvision = import_torchvision()
import timm, torch
from torchvision.ops import nms, roi_align
boxes = torch.tensor([[0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30.]])
assert nms(boxes, torch.tensor([.5, .9, .1]), .5).tolist() == [1, 2]
assert roi_align(torch.rand(1, 3, 32, 32), [boxes], (4, 4)).shape == (3, 3, 4, 4)
model = torchvision.models.squeezenet1_1(weights=None, num_classes=3).eval()
assert model(torch.rand(2, 3, 64, 64)).shape == (2, 3)
assert "xception41" in timm.list_models("xception*")
"""
    reply = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert reply.returncode == 0, reply.stderr


def test_many_threads_and_calls_get_one_module():
    with ThreadPoolExecutor(8) as pool:
        modules = set(pool.map(lambda _: import_torchvision(), range(32)))
    assert modules == {sys.modules["torchvision"]}


def test_a_torchvision_for_another_cuda_torch_is_refused(monkeypatch):
    monkeypatch.setattr(torchvision_compat, "_declared", None)
    monkeypatch.setattr(torchvision_compat, "_library_loads", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(SightlineError, match="does not load beside torch") as caught:
        import_torchvision()
    assert caught.value.remedy
