"""The target loss misses the contrast that a warm target lost, and nothing else."""

import pytest
import torch

from models.targets import blur, target_loss

SIDE = 96
BODY = (..., slice(40, 60), slice(30, 40))


def scene(ground: float, body: float) -> torch.Tensor:
    """A flat ground with a person-like box, (1, 1, H, W)."""
    image = torch.full((1, 1, SIDE, SIDE), ground)
    image[BODY] = body
    return image


INFRARED, NIGHT = scene(0.2, 0.9), scene(0.3, 0.3)


def test_nothing_is_missing_where_the_target_stands_out_as_in_infrared():
    assert float(target_loss(scene(0.2, 0.9), INFRARED, NIGHT)) == pytest.approx(0, abs=1e-3)
    assert float(target_loss(scene(0.1, 0.95), INFRARED, NIGHT)) == pytest.approx(0, abs=1e-3)  # more is no fault


def test_the_missing_contrast_is_counted_and_wrong_polarity_counts_more():
    gone, half, dark = (float(target_loss(scene(0.3, body), INFRARED, NIGHT)) for body in (0.3, 0.65, 0.1))
    assert 0.4 < gone < 0.7  # of a contrast of .7; the border and few pixels take some
    assert half == pytest.approx(gone / 2, rel=0.02)
    assert dark > 1.25 * gone


def test_on_bright_ground_a_dark_target_may_stay_dark():
    snow = scene(0.97, 0.1)  # contrast -.87, the infrared's is .7
    kept, white = (float(target_loss(fused, INFRARED, snow)) for fused in (snow, scene(0.97, 1.0)))
    assert kept == pytest.approx(0, abs=1e-3) and white > 0.5


def test_known_targets_count_where_the_infrared_picture_is_not_hot_by_itself():
    lukewarm = scene(0.2, 0.4)
    assert float(target_loss(NIGHT, lukewarm, NIGHT)) < 1e-3
    warm = torch.zeros_like(lukewarm)
    warm[BODY] = 1
    assert float(target_loss(NIGHT, lukewarm, NIGHT, warm)) > 0.1


def test_a_scene_without_targets_costs_nothing_and_gradients_reach_the_fused_picture_alone():
    fused = scene(0.3, 0.3).requires_grad_()
    infrared = INFRARED.clone().requires_grad_()
    target_loss(fused, infrared, NIGHT).sum().backward()
    assert infrared.grad is None and torch.isfinite(fused.grad).all() and fused.grad.abs().sum() > 0
    assert float(target_loss(fused.detach(), NIGHT, NIGHT)) == 0


def test_blur_keeps_a_constant_and_spreads_by_sigma():
    assert torch.allclose(blur(torch.full((1, 1, 31, 40), 0.4), 8.0), torch.full((1, 1, 31, 40), 0.4), atol=1e-6)
    point = torch.zeros(1, 1, 128, 128)
    point[..., 63:65, 63:65] = 1
    spread = blur(point, 8.0)[0, 0]
    steps = torch.arange(128.0) - 63.5
    sigma = ((spread.sum(0) * steps.square()).sum() / spread.sum()).sqrt()
    assert float(sigma) == pytest.approx(8.0, rel=0.03)


def test_a_target_that_is_only_a_little_dark_on_bright_ground_is_still_missed():
    grey_coat = scene(0.8, 0.6)  # contrast -.2, the infrared's is .7
    assert float(target_loss(grey_coat, INFRARED, grey_coat)) > 0.5
