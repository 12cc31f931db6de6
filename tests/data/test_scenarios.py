"""Scenarios keep exact books, repeat from their generator, stay in range, and have the statistics they promise."""

from types import SimpleNamespace

import pytest
import torch

from data import regions
from data.registry import SCENARIOS
from data.sample import Sample
from data.synthesis import Synthesizer

NAMES = ("focus", "exposure", "contrast", "thermal", "sensor", "glare", "targets", "defocus", "bracket")
SIZE = 64


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def photographs() -> torch.Tensor:
    """Smooth shapes with texture on them, (12, 3, S, S)."""
    source = generator(5)
    shapes = torch.cat([regions.smooth_field(12, SIZE, source) for _ in range(3)], dim=1)
    return (0.5 + 0.2 * shapes + 0.1 * torch.randn(12, 3, SIZE, SIZE, generator=source)).clamp(0, 1)


@pytest.mark.parametrize("name", (*NAMES, "noise", "clean"))
def test_books_are_exact_and_images_in_range(name, photographs):
    sample = SCENARIOS.get(name)(photographs, generator())
    parts = sample.common + sample.unique1 + sample.unique2
    assert torch.allclose(parts, sample.target, atol=2e-7)
    assert torch.equal(torch.maximum(sample.mask1, sample.mask2), torch.ones_like(sample.mask1))
    for image in (sample.x1, sample.x2, sample.target, sample.mask1, sample.mask2, sample.clean1, sample.clean2):
        assert image.isfinite().all() and image.min() >= 0 and image.max() <= 1
    assert sample.x1.shape == sample.x2.shape == sample.target.shape == photographs.shape
    assert sample.mask1.shape == (12, 1, SIZE, SIZE)


@pytest.mark.parametrize("name", NAMES)
def test_the_generator_alone_decides(name, photographs):
    damage = SCENARIOS.get(name)
    torch.manual_seed(0)
    first = damage(photographs, generator(3))
    torch.manual_seed(1)
    again, other = damage(photographs, generator(3)), damage(photographs, generator(4))
    assert torch.equal(first.x1, again.x1) and torch.equal(first.mask2, again.mask2)
    assert not torch.equal(first.x1, other.x1)


@pytest.mark.parametrize("name", NAMES)
def test_samples_differ_from_each_other(name, photographs):
    same = photographs[:1].expand(6, -1, -1, -1)
    sample = SCENARIOS.get(name)(same, generator())
    assert all(not torch.equal(sample.x1[0], sample.x1[i]) for i in range(1, 6))


@pytest.mark.parametrize("name", NAMES)
def test_photographs_are_not_changed(name, photographs):
    before = photographs.clone()
    SCENARIOS.get(name)(photographs, generator())
    assert torch.equal(photographs, before)


def test_only_focus_is_true_pixel_by_pixel_and_noise_and_no_damage_teach_no_head(photographs):
    flags = {}
    for name in (*NAMES, "noise", "clean"):
        sample = SCENARIOS.get(name)(photographs, generator())
        flags[name] = (sample.truth.unique().tolist(), sample.head.unique().tolist())
    assert flags.pop("focus") == ([1], [1])
    assert flags.pop("noise") == flags.pop("clean") == ([0], [0])
    assert flags.pop("defocus") == ([0, 1], [1])  # 0 where the frame breathes
    assert all(value == ([0], [1]) for value in flags.values())


def test_focus_shows_the_photograph_where_the_mask_says_so(photographs):
    sample = SCENARIOS.get("focus")(photographs, generator())
    for image, mask in ((sample.x1, sample.mask1), (sample.x2, sample.mask2)):
        kept = (mask == 1).expand_as(image)
        assert torch.equal(image[kept], photographs[kept])
        lost = (mask < 0.01).expand_as(image)
        assert (image - photographs)[lost].abs().mean() > 0.02
    assert 0.2 < sample.mask1.mean() < 0.8
    assert sample.shared.mean() < 0.35  # both are sharp on the border only (wide, on pictures so small)


def test_exposure_is_one_darker_and_one_brighter_in_random_order(photographs):
    many = photographs.repeat(10, 1, 1, 1)
    sample = SCENARIOS.get("exposure")(many, generator())
    m1, m2, m = (x.mean(dim=(1, 2, 3)) for x in (sample.x1, sample.x2, sample.target))
    assert ((torch.minimum(m1, m2) < m) & (torch.maximum(m1, m2) > m)).float().mean() > 0.95
    assert (m1 < m2).float().mean().item() == pytest.approx(0.5, abs=0.15)


def test_exposure_keeps_nothing_where_it_clips():
    white = torch.full((4, 3, SIZE, SIZE), 0.95)
    sample = SCENARIOS.get("exposure")(white, generator())
    over = sample.x1.mean(dim=(1, 2, 3)) > sample.x2.mean(dim=(1, 2, 3))
    mask = torch.where(over.view(-1, 1, 1, 1), sample.mask1, sample.mask2)
    clipped = torch.maximum(sample.x1, sample.x2).mean(dim=1, keepdim=True) == 1
    assert clipped.any() and mask[clipped].max() < 0.05


def test_undamaged_pairs_are_equal_common_throughout_and_half_of_them_brighter(photographs):
    many = photographs.repeat(20, 1, 1, 1).clamp(0.02, 0.98)
    sample = SCENARIOS.get("clean")(many, generator())
    assert torch.equal(sample.x1, sample.x2) and torch.equal(sample.common, sample.x1)
    assert torch.equal(sample.target, sample.x1) and not sample.unique1.any() and not sample.unique2.any()
    gamma = (sample.x1.log() / many.log()).mean(dim=(1, 2, 3))
    assert (gamma > 0.999).float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert 0.3 <= gamma.min() < 0.4 and gamma.max() < 1.001


def test_contrast_is_the_photograph_and_something_else(photographs):
    """x_i = m_i x + (1 - m_i) n_i with n_i in [0, 1], and regions that do not meet."""
    sample = SCENARIOS.get("contrast")(photographs, generator())
    for image, mask in ((sample.x1, sample.mask1), (sample.x2, sample.mask2)):
        other = image - mask * sample.target
        assert other.min() > -1e-5 and (other - (1 - mask)).max() < 1e-5
        assert 0.05 < (mask < 0.9).float().mean() < 0.6
    grey = (sample.target[:, 0] - sample.target[:, 1]).abs().amax(dim=(1, 2)) < 1e-6
    assert 0.3 < grey.float().mean() < 1.0


def test_thermal_target_lifts_things_that_the_thermal_image_shows(photographs):
    many = photographs.repeat(4, 1, 1, 1)
    sample = SCENARIOS.get("thermal")(many, generator())
    spread = sample.x1.amax(dim=1) - sample.x1.amin(dim=1)
    assert (spread.amax(dim=(1, 2)) < 1e-6).float().mean() > 0.3  # grey: the thermal one comes first in half
    assert sample.target.mean() > many.mean()
    brighter = torch.maximum(sample.x1, sample.x2).mean(dim=1)
    lifted = (sample.target.mean(dim=1) - many.mean(dim=1)) > 0.15
    assert lifted.any() and brighter[lifted].mean() > many.mean(dim=1)[lifted].mean()


def test_noise_and_glare_are_part_of_nothing(photographs):
    for name in ("sensor", "glare"):
        sample = SCENARIOS.get(name)(photographs, generator())
        changed = [not torch.equal(*pair) for pair in ((sample.x1, sample.clean1), (sample.x2, sample.clean2))]
        assert any(changed)
    sample = SCENARIOS.get("sensor")(photographs, generator())
    for image, clean in ((sample.x1, sample.clean1), (sample.x2, sample.clean2)):
        assert (image - clean).abs().mean() < 0.05


def test_regions_take_the_share_that_was_asked_for():
    mask = regions.region_mask(400, SIZE, generator(), area=(0.3, 0.5), border=(0.7, 1.0))
    share = mask.mean(dim=(1, 2, 3))
    assert share.mean().item() == pytest.approx(0.4, abs=0.03)
    assert share.min() > 0.2 and share.max() < 0.6


def test_each_sample_is_blurred_by_its_own_kernel():
    x = torch.rand(3, 2, 40, 52, generator=generator())
    sigma = torch.tensor([0.6, 2.0, 5.0]).view(-1, 1, 1, 1)
    kernels = regions.gaussian_spread(sigma)
    blurred = regions.convolve_each(x, kernels)
    reach = regions.MAX_REACH
    for index in range(3):
        padded = torch.nn.functional.pad(x[index:index + 1], (reach,) * 4, mode="replicate")
        want = torch.nn.functional.conv2d(padded.transpose(0, 1), kernels[index:index + 1]).transpose(0, 1)
        assert torch.allclose(blurred[index:index + 1], want, atol=1e-5)
    assert torch.allclose(regions.convolve_each(torch.ones(1, 1, 9, 300), kernels[2:]), torch.ones(1), atol=1e-5)


def test_kernels_have_the_spread_they_say():
    steps = torch.arange(-regions.MAX_REACH, regions.MAX_REACH + 1).float()
    disk = regions.disk_spread(torch.tensor(8.0).view(1, 1, 1, 1))[0, 0]
    assert (disk.sum(0) * steps.square()).sum().sqrt().item() == pytest.approx(4.0, abs=0.15)
    bell = regions.gaussian_spread(torch.tensor(3.0).view(1, 1, 1, 1))[0, 0]
    assert (bell.sum(0) * steps.square()).sum().sqrt().item() == pytest.approx(3.0, abs=0.05)


def test_synthesizer_mixes_scenarios_by_their_shares(photographs):
    pixels = (photographs.repeat(20, 1, 1, 1) * 255).byte()
    batch = SimpleNamespace(pixels=pixels, sizes=torch.full((240, 2), SIZE), means=torch.full((240,), 0.5))
    generators = {"crop": generator(1), "damage": generator(2)}
    sample = Synthesizer(32, {"noise": 1, "focus": 2, "exposure": 1})(batch, generators)
    assert isinstance(sample, Sample) and sample.x1.shape == (240, 3, 32, 32)
    assert sample.head.mean().item() == pytest.approx(0.75, abs=0.1)
    assert sample.truth.mean().item() == pytest.approx(0.5, abs=0.12)
    parts = sample.common + sample.unique1 + sample.unique2
    assert torch.allclose(parts, sample.target, atol=2e-7)


def test_noise_alone_is_jittered_as_published_and_scenarios_mildly(photographs):
    batch = SimpleNamespace(pixels=torch.full((64, 3, SIZE, SIZE), 255, dtype=torch.uint8),
                            sizes=torch.full((64, 2), SIZE), means=torch.ones(64))
    brightness = {}
    for name in ("noise", "focus", "clean"):
        generators = {"crop": generator(1), "damage": generator(2)}
        brightness[name] = Synthesizer(32, {name: 1.0})(batch, generators).target.amax(dim=(1, 2, 3))
    assert brightness["noise"].min() < 0.3 and min(brightness["focus"].min(), brightness["clean"].min()) >= 0.6
