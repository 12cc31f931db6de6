"""Warm targets: bright in the infrared picture, of any brightness in the visible one, and seen in the target."""

import pytest
import torch

from data import warm
from data.objects import follow_edges, object_masks
from data.regions import smooth_field
from data.registry import SCENARIOS
from data.scenarios import grey
from data.sensing import thermal_damage

SIZE, MANY = 64, 96


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def photographs():
    source = generator(5)
    shapes = torch.cat([smooth_field(MANY, SIZE, source) for _ in range(3)], dim=1)
    return (0.5 + 0.2 * shapes + 0.03 * torch.randn(MANY, 3, SIZE, SIZE, generator=source)).clamp(0, 1)


@pytest.fixture(scope="module")
def sample(photographs):
    return SCENARIOS.get("targets")(photographs, generator())


def parts(sample):
    """Infrared, its clean form, visible, by the role that the sample states; grey."""
    first = (sample.infrared == 1).view(-1, 1, 1, 1)
    return (grey(torch.where(first, a, b)) for a, b in ((sample.x1, sample.x2), (sample.clean1, sample.clean2),
                                                        (sample.x2, sample.x1)))


def contrast(g, mask):
    """Mean of g inside of a soft mask less that of its surroundings, one a sample."""
    near = (warm.surroundings(g, mask) * mask).sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3))
    return (g * mask).sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3)) - near


def test_roles_are_known_and_both_orders_occur(sample):
    assert 0.35 < (sample.infrared == 1).float().mean() < 0.65
    assert torch.equal(sample.infrared == 1, sample.infrared != 2)
    assert torch.equal(sample.roles[0], torch.where(sample.infrared == 1, 1, 2))
    assert torch.equal(sample.roles[0] + sample.roles[1], torch.full((MANY,), 3))
    grey_infrared, _, _ = parts(sample)
    shown = torch.where((sample.infrared == 1).view(-1, 1, 1, 1), sample.x1, sample.x2)
    assert torch.allclose(shown, grey_infrared.expand_as(shown), atol=1e-3)  # GREY sums to 0.9999


def test_targets_are_bright_in_the_infrared_and_of_any_brightness_in_the_visible_picture(sample):
    _, infrared, visible = parts(sample)
    assert contrast(infrared, sample.warm).quantile(0.05) > 0.1
    own = contrast(visible, sample.warm)
    assert (own < -0.1).float().mean() > 0.1 and (own > 0.1).float().mean() > 0.1
    assert (own.abs() < 0.1).float().mean() > 0.2


def test_the_target_keeps_the_infrareds_contrast_or_the_larger_one_of_the_visible_picture(sample):
    _, infrared, visible = parts(sample)
    fused, wanted = contrast(grey(sample.target), sample.warm), contrast(infrared, sample.warm)
    own = contrast(visible, sample.warm)
    around = warm.surroundings(visible, sample.warm)
    room = 0.97 - (around * sample.warm).sum(dim=(1, 2, 3)) / sample.warm.sum(dim=(1, 2, 3))
    kept = (fused / wanted)[room > wanted + 0.1]
    assert len(kept) > 20 and kept.mean() > 0.9 and kept.quantile(0.05) > 0.7
    assert (fused.abs() > 0.6 * torch.minimum(wanted, own.abs())).float().mean() > 0.9


def test_dark_on_white_stays_dark_where_white_leaves_no_room():
    snow = torch.full((1, 3, SIZE, SIZE), 0.9)
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., 24:40, 24:40] = 1
    visible = torch.lerp(snow, torch.full_like(snow, 0.2), mask)
    around = torch.full_like(mask, 0.9)
    target, _ = warm._lifted(visible, mask, around, 0.5 * mask)
    assert torch.allclose(target[..., 28:36, 28:36], torch.tensor(0.2))
    target, _ = warm._lifted(visible * 0.4, mask, around * 0.4, 0.5 * mask)  # at dusk there is room
    assert target[..., 28:36, 28:36].mean() == pytest.approx(0.86, abs=0.03)


def test_nothing_but_the_target_changes_in_the_visible_picture(sample):
    visible = torch.where((sample.infrared == 1).view(-1, 1, 1, 1), sample.x2, sample.x1)
    outside = (sample.warm < 1e-4).expand_as(visible)
    assert (sample.target - visible)[outside].abs().max() < 1e-3


def test_cold_noise_is_no_structure_to_keep(sample):
    infrared, clean, _ = parts(sample)
    noise = (infrared - clean)[sample.warm < 0.01]
    assert 0.01 < noise.std() < 0.08 and noise.mean().abs() < 0.01
    calm_part = (infrared - clean)[sample.warm > 0.99]
    assert calm_part.std() < 0.6 * noise.std()


def test_targets_cover_a_small_part_and_other_scenarios_have_none(sample, photographs):
    share = sample.warm.mean(dim=(1, 2, 3))
    assert 0.02 < share.mean() < 0.2 and share.max() < 0.6
    assert not SCENARIOS.get("focus")(photographs, generator()).warm.any()


def test_thermal_and_glare_name_the_infrared_picture(photographs):
    sample = thermal_damage(photographs, generator())
    infrared = torch.where((sample.infrared == 1).view(-1, 1, 1, 1), sample.x1, sample.x2)
    assert torch.equal(infrared[:, 0], infrared[:, 1]) and sample.infrared.unique().tolist() == [1, 2]
    named = SCENARIOS.get("glare")(photographs, generator()).infrared
    assert named.unique().tolist() == [0, 1, 2]


def test_things_are_of_the_size_that_was_asked_for():
    masks = object_masks(200, 2, SIZE, generator(), height=(0.2, 0.3))
    assert masks.shape == (200, 2, SIZE, SIZE) and masks.min() >= 0 and masks.max() <= 1
    rows = (masks > 0.5).any(dim=-1).sum(dim=-1) / SIZE
    whole = rows[((masks[..., 0, :] < 0.01).all(-1)) & ((masks[..., -1, :] < 0.01).all(-1))]
    assert 0.1 < whole.mean() < 0.3 and whole.max() < 0.42


def test_a_region_moves_to_the_edge_of_the_picture():
    """An edge at column 32, a soft region whose border lies three pixels off."""
    columns = torch.arange(SIZE).view(1, 1, 1, -1).expand(1, 1, SIZE, -1)
    picture = torch.where(columns < 32, 0.2, 0.8)
    region = torch.sigmoid((columns - 35) / 2.0)
    moved = follow_edges(region, picture)
    assert moved[..., :32].max() < 0.1 and moved[..., 33:].min() > 0.5 > region[..., 34].max()
    assert moved.min() >= 0 and moved.max() <= 1
