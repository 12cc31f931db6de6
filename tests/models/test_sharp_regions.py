"""A focus pair is divided into regions: flat areas and the surroundings of edges follow what is sharp beside them."""

import cv2
import numpy as np
import pytest
import torch

from models.head import FusionHead
from models.sharp_regions import measure_sharpness, refine_regions, settle_regions

SIDE = 192


def blurred(image: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of (1, C, H, W)."""
    rows = np.ascontiguousarray(image[0].permute(1, 2, 0).numpy())
    return torch.from_numpy(cv2.GaussianBlur(rows, (0, 0), sigma)).view(*image.shape[-2:], -1).permute(2, 0, 1)[None]


def noise(strength: float, seed: int) -> torch.Tensor:
    return strength * torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def logits_of(*pictures: torch.Tensor, there: torch.Tensor | None = None) -> torch.Tensor:
    grey = torch.stack(pictures).mean(dim=2, keepdim=True)
    *fine, coarse = measure_sharpness(grey, there)
    logits, share = refine_regions(fine, settle_regions(coarse), grey.shape[-2:])
    assert [x.shape[-1] * 2**level for level, x in enumerate([*fine, coarse], 1)] == [grey.shape[-1]] * 3
    assert logits.shape == grey.shape and share.shape == grey.shape[1:] and 0 <= share.min() < share.max() < 0.5
    return logits


def choice_of(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Weight of the first picture in the fused one, (H, W)."""
    with torch.inference_mode():
        return FusionHead(choose=True).eval().decompose(a, b, task="MFF").choice[0, 0, 0]


@pytest.fixture
def walls() -> tuple[torch.Tensor, torch.Tensor]:
    """Two textured halves, each sharp in one picture, with a flat patch in the left one, where noise alone differs."""
    texture = noise(0.1, 0) + 0.5
    texture[..., 48:144, 16:80] = 0.5
    left = torch.arange(SIDE) < SIDE // 2
    soft = blurred(texture, 3)
    return (torch.where(left, texture, soft) + noise(0.004, 1), torch.where(left, soft, texture) + noise(0.005, 2))


def test_a_flat_area_is_taken_from_the_picture_that_is_sharp_around_it(walls):
    """Although the other picture has more noise there. The mix of bands speckles, as the votes alone would."""
    weight = choice_of(*walls)
    assert weight[:, :84].min() > 0.98 and weight[:, -84:].max() < 0.02
    with torch.inference_mode():
        votes = FusionHead().eval().decompose(*walls, task="MFF").weights[0][0, 0, 0]
    assert votes[64:128, 32:64].min() < 0.2


def test_the_surroundings_of_an_edge_follow_the_edge():
    """Beside a sharp edge the blurred picture has the larger gradient, as far as its disk of blur reaches."""
    sharp = (torch.arange(SIDE) < SIDE // 2).float().expand(1, 3, SIDE, SIDE) * 0.6 + 0.2
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (11, 11)).astype(np.float32)
    spread = torch.from_numpy(cv2.filter2D(sharp[0, 0].numpy(), -1, disk / disk.sum())).expand_as(sharp)
    logits = logits_of(sharp, spread)
    assert (logits[0] - logits[1]).min() > 18
    assert choice_of(sharp + noise(0.002, 1), spread + noise(0.002, 2)).min() > 0.99


def test_a_weak_texture_keeps_its_decision_beside_a_strong_one():
    strong, weak = noise(0.2, 0).clamp(-0.4, 0.4) + 0.5, noise(0.02, 1) + 0.5
    left = torch.arange(SIDE) < SIDE // 2
    a, b = torch.where(left, strong, blurred(weak, 3)), torch.where(left, blurred(strong, 3), weak)
    difference = logits_of(a, b)[0] - logits_of(a, b)[1]
    assert difference[..., :80].min() > 5 and difference[..., 120:].max() < -5


def test_the_order_and_missing_pictures_have_no_say(walls):
    a, b = walls
    want = logits_of(a, b)
    assert torch.allclose(logits_of(b, a), want.flip(0), atol=1e-4)
    there = torch.tensor([True, True, False]).view(3, 1, 1, 1, 1)
    assert torch.allclose(logits_of(a, b, 9 * noise(1, 3), there=there)[:2], want, atol=1e-4)


def test_a_wide_flat_area_is_not_left_undecided():
    """Far from all detail the evidence of the coarsest level counts: one picture, not the mean of both."""
    picture = torch.full((1, 3, 400, 400), 0.5)
    picture[..., :24] += 0.1 * torch.randn(1, 3, 400, 24, generator=torch.Generator().manual_seed(0))
    difference = logits_of(picture, blurred(picture, 3))
    assert (difference[0] - difference[1]).min() > 2
