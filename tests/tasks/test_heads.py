"""A head must score a frame the same whether it comes in a window, in a clip, or among other clips."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.tasks.classification.heads import CLIP, Head, elastic_net


def made(kind: str, reach: int = 3) -> Head:
    torch.manual_seed(0)
    head = Head(kind, dimension=5, classes=3, hidden=8, reach=reach, dropout=0.0)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    return head.eval()


@settings(max_examples=30, deadline=None)
@given(kind=st.sampled_from(["logistic", "mlp", "temporal"]), length=st.integers(1, 12), seed=st.integers(0, 999))
def test_window_equals_clip(kind, length, seed):
    head = made(kind)
    clip = torch.from_numpy(np.random.default_rng(seed).normal(size=(length, 5)).astype(np.float32))
    offsets = torch.arange(length)[:, None] + torch.arange(-head.reach, head.reach + 1)[None]
    present = (offsets >= 0) & (offsets < length)
    windows = clip[offsets.clamp(0, length - 1)]
    torch.testing.assert_close(head.windows(windows, present), head(clip[None])[0], rtol=1e-5, atol=1e-5)


def test_clips_in_a_batch_do_not_mix():
    head, clips = made("temporal"), torch.randn(2, 9, 5)
    torch.testing.assert_close(head(clips)[1], head(clips[1:])[0])


def test_single_picture_needs_no_neighbours():
    head, picture = made("temporal"), torch.randn(1, 1, 5)
    torch.testing.assert_close(head(picture), head.frame(head.standardised(picture)))


def test_temporal_head_sees_its_neighbours_and_no_further():
    head, clip = made("temporal", reach=2), torch.randn(1, 9, 5)
    moved = clip.clone()
    moved[0, 0] += 1
    changed = (head(clip) != head(moved)).any(-1)[0]
    assert changed.tolist() == [True] * 3 + [False] * 6


def test_outliers_are_clipped():
    head = made("logistic")
    assert head.standardised(torch.full((1, 1, 5), 1e9)).max() == CLIP


@pytest.mark.parametrize(("ratio", "expected"), [(1.0, 0.5 * 7), (0.0, 0.5 * (9 + 16) / 2), (0.5, 0.5 * (3.5 + 6.25))])
def test_elastic_net(ratio, expected):
    head = Head("logistic", dimension=1, classes=2, hidden=1, reach=0, dropout=0.0)
    with torch.no_grad():
        head.frame[1].weight.copy_(torch.tensor([[3.0], [-4.0]]))
    assert elastic_net(head, 0.5, ratio).item() == pytest.approx(expected)
