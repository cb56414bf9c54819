"""Losses that bear wrong labels: their formula, their gradients, and that q = 0 is what it was, bit by bit."""

import pytest
import torch
import torch.nn.functional as F

from components.tasks.classification.losses import row_losses

LOGITS = torch.randn(64, 3, generator=torch.Generator().manual_seed(0)) * 3
LABELS = torch.arange(64) % 3


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_q_of_0_is_cross_entropy_bit_by_bit(smoothing):
    expected = F.cross_entropy(LOGITS, LABELS, reduction="none", label_smoothing=smoothing)
    assert torch.equal(row_losses(LOGITS, LABELS, 0.0, smoothing), expected)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.7, 1.0])
def test_formula(q):
    likely = LOGITS.softmax(-1)[torch.arange(64), LABELS]
    torch.testing.assert_close(row_losses(LOGITS, LABELS, q), (1 - likely**q) / q)


def test_smoothing_spreads_the_label_over_all_classes():
    each = torch.stack([row_losses(LOGITS, torch.full((64,), kind), 0.5) for kind in range(3)])
    expected = 0.7 * row_losses(LOGITS, LABELS, 0.5) + 0.3 * each.mean(0)
    torch.testing.assert_close(row_losses(LOGITS, LABELS, 0.5, smoothing=0.3), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_small_q_comes_close_to_cross_entropy(smoothing):
    exact = row_losses(LOGITS.double(), LABELS, 0.0, smoothing)
    torch.testing.assert_close(row_losses(LOGITS.double(), LABELS, 1e-9, smoothing), exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("q", [0.3, 1.0])
def test_a_gradient_is_cross_entropys_times_the_probability_to_the_q(q):
    gradients = []
    for power in (0.0, q):
        logits = LOGITS.clone().requires_grad_()
        row_losses(logits, LABELS, power).sum().backward()
        gradients.append(logits.grad)
    likely = LOGITS.softmax(-1)[torch.arange(64), LABELS]
    torch.testing.assert_close(gradients[1], gradients[0] * likely[:, None] ** q)


@pytest.mark.parametrize("q", [0.0, 0.01, 0.7, 1.0])
def test_gradients_stay_finite_where_the_network_is_sure(q):
    logits = torch.tensor([[500.0, -500.0], [-500.0, 500.0], [0.0, 0.0]], requires_grad=True)
    loss = row_losses(logits, torch.zeros(3, dtype=torch.int64), q, 0.05)
    loss.sum().backward()
    assert loss.isfinite().all() and logits.grad.isfinite().all() and (loss >= 0).all()
