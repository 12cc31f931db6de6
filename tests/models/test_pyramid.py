"""A pyramid gives its picture back, and the salience rule follows its formula, on any size."""

import pytest
import torch

from models import pyramid

SIZES = [(16, 16), (17, 31), (16, 90), (64, 48), (101, 77)]


def picture(size: tuple[int, int], channels: int = 3, batch: int = 2, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, channels, *size, generator=generator)


def single(image: torch.Tensor, levels: int = pyramid.LEVELS) -> list[torch.Tensor]:
    return [band[0] for band in pyramid.build_pyramids([image], levels)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("levels", [1, 5, 9])
def test_collapse_inverts_build(size, levels):
    """The sum of a pyramid is the picture to 1e-6, whatever the size and depth."""
    image = picture(size)
    built = single(image, levels)
    assert len(built) == levels + 1
    assert torch.allclose(pyramid.collapse_pyramid(built), image, atol=1e-6, rtol=0)


def test_bands_halve_rounding_up():
    """Each band has half the size of the one before, odd sizes rounded up: every second pixel from the first."""
    shapes = [tuple(band.shape[-2:]) for band in single(picture((33, 50)))]
    assert shapes == [(33, 50), (17, 25), (9, 13), (5, 7), (3, 4), (2, 2)]


def test_shrink_is_the_binomial():
    """Inside, `shrink` is the 5 x 5 outer product of 1-4-6-4-1 over 16; at the border the edge pixel repeats."""
    image = picture((9, 9), channels=1, batch=1)
    taps = torch.tensor([1, 4, 6, 4, 1]) / 16
    expected = (image[0, 0, 2:7, 2:7] * torch.outer(taps, taps)).sum()
    small = pyramid.shrink(image)[0, 0]
    assert torch.isclose(small[2, 2], expected)
    rows = torch.tensor([0, 0, 0, 1, 2])
    assert torch.isclose(small[0, 0], (image[0, 0][rows][:, rows] * torch.outer(taps, taps)).sum())


def test_flat_pictures_have_empty_bands():
    """A flat field leaves nothing in the bands and itself in the base."""
    *bands, base = single(torch.full((1, 3, 40, 27), 0.3))
    assert max(band.abs().max() for band in bands) < 1e-6
    assert torch.allclose(base, torch.tensor(0.3))


def test_energy_is_a_box_mean_over_one_map():
    """E = 5 x 5 mean of the channel mean of |band| + 0.002, the same by a slow second way."""
    band = picture((12, 15)) - 0.5
    energy = pyramid.band_energy(band)
    grey = band.abs().mean(1)
    assert energy.shape == (2, 1, 12, 15)
    assert torch.isclose(energy[1, 0, 6, 7], grey[1, 4:9, 5:10].mean() + 0.002)
    rows, columns = [0, 0, 0, 1, 2], [12, 13, 14, 14, 14]
    assert torch.isclose(energy[0, 0, 0, 14], grey[0][rows][:, columns].mean() + 0.002)


def test_two_images_are_a_sigmoid():
    """For two images softmax of the logits is sigmoid(8 (ln E1 - ln E2))."""
    bands = torch.stack([picture((20, 20), seed=1), picture((20, 20), seed=2)]) - 0.5
    weights = pyramid.mixing_weights(pyramid.band_logits(bands))
    first, second = (pyramid.band_energy(band) for band in bands)
    assert torch.allclose(weights[0], torch.sigmoid(8 * (first.log() - second.log())), atol=1e-6)
    assert torch.allclose(weights.sum(0), torch.ones(()))


def test_zero_corrections_keep_the_rule_and_gradients_flow():
    """Corrections add to the logits: zeros change nothing, and their gradient is finite on flat pictures too."""
    flat = torch.full((2, 1, 3, 24, 24), 0.4)
    bands, base = pyramid.build_pyramids(list(flat), 1)
    correction = torch.zeros(2, 1, 1, 24, 24, requires_grad=True)
    logits = pyramid.band_logits(bands) + correction
    mixed = pyramid.mix(bands, pyramid.mixing_weights(logits))
    assert torch.equal(mixed, pyramid.mix(bands, pyramid.mixing_weights(pyramid.band_logits(bands))))
    fused = pyramid.collapse_pyramid([mixed, pyramid.average_base(base)])
    fused.square().sum().backward()
    assert torch.isfinite(correction.grad).all()


def test_exposure_prefers_mid_grey():
    """The base nearer to 0.5 gets the larger share, equally far ones get equal shares."""
    bases = torch.stack([torch.full((1, 3, 2, 2), level) for level in (0.1, 0.5, 0.9)])
    weights = pyramid.mixing_weights(pyramid.exposure_logits(bases))[:, 0, 0, 0, 0]
    assert weights[1] > 0.75
    assert torch.isclose(weights[0], weights[2])


def test_pyramids_of_many_images_equal_single_ones():
    """N images built in one pass are the N pyramids."""
    images = [picture((21, 18), seed=seed) for seed in range(3)]
    together = pyramid.build_pyramids(images, 3)
    for index, image in enumerate(images):
        for level, band in enumerate(single(image, 3)):
            assert torch.allclose(together[level][index], band, atol=1e-7)


def test_a_blend_of_even_weights_is_the_mean_and_of_sole_weights_the_picture():
    """Weights that do not vary commute with the pyramid; a border is wider in coarse bands than in fine ones."""
    stack = torch.stack([picture((40, 33), seed=1), picture((40, 33), seed=2)])
    for share in (0.5, 1.0):
        weights = torch.tensor([share, 1 - share]).view(2, 1, 1, 1, 1).expand(2, 2, 1, 40, 33)
        assert torch.allclose(pyramid.blend(stack, weights, 3), pyramid.mix(stack, weights), atol=1e-6)
    flat = torch.stack([torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64)])
    left = (torch.arange(64) < 32).float().view(1, 1, 1, 1, 64).expand(1, 1, 1, 64, 64)
    row = pyramid.blend(flat, torch.cat([left, 1 - left]), 3)[0, 0, 32]
    assert row[0] < 0.01 and row[-1] > 0.99 and 0.2 < row[30] < row[33] < 0.8
    assert (row.diff() > -1e-6).all()


def test_errors_name_the_cause():
    """Wrong depth, no images or unlike shapes are refused with the values."""
    with pytest.raises(ValueError, match="levels=0"):
        pyramid.build_pyramids([picture((16, 16))], 0)
    with pytest.raises(ValueError, match="no image"):
        pyramid.build_pyramids([])
    with pytest.raises(ValueError, match=r"16, 16.*16, 17"):
        pyramid.build_pyramids([picture((16, 16)), picture((16, 17))])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype_is_kept(dtype):
    """Nothing is silently cast."""
    image = picture((20, 20)).to(dtype)
    *bands, _ = single(image)
    assert pyramid.band_logits(bands[0][None]).dtype == dtype
