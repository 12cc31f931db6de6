"""Exposures keep what their well-exposed pictures show: no black where one of them sees into a shadow."""

import pytest
import torch

from models.head import FusionHead
from models.light import FINE, LIMIT, SHADOW, SOFTNESS, exposure_weights, keep_light, soften
from models.pyramid import mix

INSIDE = (..., slice(40, 56), slice(40, 56))


def garage(inside: float = 0.12) -> torch.Tensor:
    """A bright and a dark picture of a wall (1.0, 0.35) with an opening (``inside``, 0), (2, 1, 3, 96, 96)."""
    pictures = torch.stack([torch.full((1, 3, 96, 96), level) for level in (1.0, 0.35)])
    pictures[0][INSIDE], pictures[1][INSIDE] = inside, 0.0
    return pictures


def test_weights_sum_to_one_and_prefer_the_well_exposed():
    weights = exposure_weights(garage())
    assert torch.allclose(weights.sum(dim=0), torch.ones(()))
    assert weights[1, 0, 0, 8, 8] > 0.8 and weights[0, 0, 0, 48, 48] > 0.6
    assert torch.equal(exposure_weights(garage().flip(0)), weights.flip(0))


def test_absent_pictures_count_for_nothing():
    pictures = torch.cat([garage(), torch.full((1, 1, 3, 96, 96), 0.5)])
    there = torch.tensor([True, True, False]).view(3, 1, 1, 1, 1)
    fused = torch.full((1, 3, 96, 96), 0.2)
    assert torch.allclose(exposure_weights(pictures, there)[:2], exposure_weights(garage()), atol=1e-6)
    kept, want = (keep_light(fused, x, exposure_weights(x, mask)) for x, mask in ((pictures, there), (garage(), None)))
    assert torch.allclose(kept, want, atol=1e-6)


def test_black_shadows_get_half_of_what_is_seen_in_them():
    pictures = garage(inside=0.3)
    weights = exposure_weights(pictures)
    local = mix(pictures, weights)[INSIDE]
    got = keep_light(torch.zeros(1, 3, 96, 96), pictures, weights)[INSIDE]
    assert local.min() > 0.2
    assert (SHADOW * local - SOFTNESS - 1e-6 <= got).all() and (got <= SHADOW * local).all()


@pytest.mark.parametrize("shift", (0.02, -0.02, 0.6))
def test_small_distances_from_the_blend_stay_and_large_ones_are_bounded(shift):
    pictures = torch.stack([torch.full((1, 3, 64, 64), 0.4), torch.full((1, 3, 64, 64), 0.6)])
    fused = torch.full((1, 3, 64, 64), 0.5 + shift)
    moved = float((keep_light(fused, pictures, exposure_weights(pictures)) - 0.5).mean())
    assert moved == pytest.approx(shift, abs=0.001) if abs(shift) < 0.1 else 0.9 * LIMIT < moved <= LIMIT


def test_finer_bands_take_a_share_of_the_exposure_weights_in_exposures_alone():
    weights, light = torch.zeros(2, 2, 1, 16, 16), torch.full((2, 2, 1, 2, 2), 0.5)
    weights[0] = 1
    got = soften(weights, light, torch.tensor([True, False]).view(2, 1, 1, 1))
    assert torch.allclose(got[:, 0].unique(), torch.tensor([FINE / 2, 1 - FINE / 2]))
    assert torch.equal(got[:, 1], weights[:, 1])


def test_the_head_applies_it_to_exposures_alone():
    bright, dark = (one.repeat_interleave(4, dim=-1).repeat_interleave(4, dim=-2) for one in garage())
    inside = (..., slice(160, 224), slice(160, 224))
    bright[inside] += 0.04 * (torch.arange(64) // 3 % 2)  # what the bright picture shows in the opening
    plain, head = FusionHead().eval(), FusionHead(keep_light=True).eval()
    with torch.inference_mode():
        for task in ("none", "IVF", "MFF"):
            assert torch.equal(head.decompose(bright, dark, task=task).fused,
                               plain.decompose(bright, dark, task=task).fused)
        before, after, swapped = (one.decompose(*pair, task="MEF").fused[inside].clamp(0, 1) for one, pair in (
            (plain, (bright, dark)), (head, (bright, dark)), (head, (dark, bright))))
    middle = (..., slice(16, 48), slice(16, 48))
    assert before[middle].max() < 0.02 and after[middle].mean() > 0.03 and after[middle].std() > 0.01
    assert (after - swapped).abs().max() < 1e-5
