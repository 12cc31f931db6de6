"""Evidence is what it says, pixel by pixel, at every size, and sees further than a band does."""

import pytest
import torch
import torch.nn.functional as F

from models import pyramid
from models.evidence import KINDS, gather_evidence

LEVELS = 5


def pair(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def evidence_of(images: torch.Tensor) -> list[torch.Tensor]:
    bands = pyramid.build_pyramids(tuple(images), LEVELS)[:-1]
    return gather_evidence(bands, images.mean(dim=2, keepdim=True), LEVELS)


@pytest.mark.parametrize("size", ((96, 128), (67, 45), (16, 16)))
def test_one_map_for_each_band_and_the_base(size):
    images = pair(*size)
    got = evidence_of(images)
    levels = pyramid.build_pyramids(tuple(images), LEVELS)
    assert [tuple(e.shape) for e in got] == [(2, 1, KINDS, *level.shape[-2:]) for level in levels]
    assert all(e.isfinite().all() for e in got)


def test_edges_are_the_mean_gradient_of_nine_pixels():
    images = pair(40, 40, seed=1)
    grey = images.mean(dim=2)[1, 0]
    dx, dy = grey[1:-1, 2:] - grey[1:-1, :-2], grey[2:, 1:-1] - grey[:-2, 1:-1]
    want = F.avg_pool2d((dx.square() + dy.square()).sqrt()[None, None], 3, stride=1)[0, 0] + pyramid.FLOOR
    torch.testing.assert_close(evidence_of(images)[0][1, 0, 0, 2:-2, 2:-2], want.log())


def test_a_region_tells_the_sharp_picture_where_both_are_flat():
    """A flat patch inside of texture: the band has no energy there, the region around it decides."""
    sharp = pair(128, 128, seed=2)[0]
    soft = pyramid.enlarge(pyramid.shrink(sharp), (128, 128))
    for image in (sharp, soft):
        image[..., 56:72, 56:72] = 0.5
    images = torch.stack([sharp, soft])
    own = pyramid.band_energy(pyramid.build_pyramids((sharp, soft), LEVELS)[0]).log()
    region = evidence_of(images)[0][:, :, 1]
    assert (own[0] - own[1])[0, 0, 64, 64].abs() < 0.05
    assert (region[0] - region[1])[0, 64, 64] > 0.3


def test_equal_pictures_differ_in_nothing_and_order_turns_the_sign():
    images = pair(64, 64, seed=3)
    for one, two in zip(evidence_of(images), evidence_of(images.flip(0))):
        assert torch.equal(one, two.flip(0))
    same = evidence_of(images[:1].expand(2, -1, -1, -1, -1))
    assert all((e[0] - e[1]).abs().max() == 0 for e in same)
