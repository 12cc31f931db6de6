"""Focus stacks and brackets: N pictures, masks whose largest is 1, what a lens and a sensor do."""

from types import SimpleNamespace

import pytest
import torch

from data import stacks
from data.regions import smooth_field
from data.registry import SCENARIOS
from data.sample import Sample, join_samples
from data.synthesis import Synthesizer
from utils.errors import UserError

SIZE, MANY = 64, 24
BOTH = ("defocus", "bracket")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def photographs():
    source = generator(5)
    shapes = torch.cat([smooth_field(MANY, SIZE, source) for _ in range(3)], dim=1)
    return (0.5 + 0.15 * shapes + 0.1 * torch.randn(MANY, 3, SIZE, SIZE, generator=source)).clamp(0, 1)


def detail(x):
    """Local contrast, (..., 1, S, S)."""
    flat = x.flatten(0, -4).mean(dim=1, keepdim=True)
    change = (flat - torch.nn.functional.avg_pool2d(flat, 3, 1, 1, count_include_pad=False)).abs()
    return torch.nn.functional.avg_pool2d(change, 5, 1, 2).unflatten(0, x.shape[:-3])


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("count", [2, 3, 7, 9])
def test_stacks_hold_as_many_pictures_as_asked(name, count, photographs):
    sample = SCENARIOS.get(name)(photographs, generator(), count)
    assert sample.pictures.shape == (count, MANY, 3, SIZE, SIZE)
    assert torch.equal(sample.pictures[0], sample.x1) and torch.equal(sample.pictures[1], sample.x2)
    assert torch.equal(sample.masks[0], sample.mask1) and sample.masks.shape == (count, MANY, 1, SIZE, SIZE)
    assert torch.equal(sample.masks.amax(dim=0), torch.ones(MANY, 1, SIZE, SIZE))
    for part in (sample.pictures, sample.masks, sample.clean, sample.target):
        assert part.isfinite().all() and part.min() >= 0 and part.max() <= 1
    assert sample.count.unique().tolist() == [count] and sample.present.all() and not sample.roles.any()


@pytest.mark.parametrize("name", BOTH)
def test_the_generator_alone_decides(name, photographs):
    damage = SCENARIOS.get(name)
    first, again, other = (damage(photographs, generator(seed), 4) for seed in (3, 3, 4))
    assert torch.equal(first.pictures, again.pictures) and torch.equal(first.masks, again.masks)
    assert not torch.equal(first.pictures, other.pictures)


@pytest.mark.parametrize("name", BOTH)
def test_the_order_is_random(name, photographs):
    """No place of the stack is sharper or brighter than another in the mean."""
    means = SCENARIOS.get(name)(photographs.repeat(4, 1, 1, 1), generator(), 3).masks.mean(dim=(1, 2, 3, 4))
    assert means.max() - means.min() < 0.15


def test_focus_masks_share_the_picture_out(photographs):
    """With two pictures each pixel is sharp in one of the two; both only on borders."""
    sample = SCENARIOS.get("defocus")(photographs, generator())
    assert (sample.masks > 0.5).sum(dim=0).float().mean() < 1.1
    assert 0.1 < sample.mask1.mean() < 0.9


def test_where_the_mask_is_1_the_picture_is_the_target(photographs):
    """But for breathing, for grain, and for the border of a spread layer, where no picture is right."""
    sample = SCENARIOS.get("defocus")(photographs, generator())
    still = sample.truth == 1
    assert 0.2 < still.float().mean() < 0.8
    error = (sample.clean - sample.target).abs().mean(dim=2, keepdim=True)[:, still]
    best = error.amin(dim=0)
    assert best.median() < 5e-3 and best.mean() < 0.01
    masks = sample.masks[:, still]
    assert error[masks > 0.99].mean() < 0.2 * error[masks < 0.05].mean()


def test_sharp_regions_have_more_detail(photographs):
    sample = SCENARIOS.get("defocus")(photographs, generator(), 5)
    texture = detail(sample.pictures)
    assert texture[sample.masks > 0.95].mean() > 1.5 * texture[sample.masks < 0.1].mean()


def test_a_near_layer_out_of_focus_spreads_over_the_sharp_background(monkeypatch):
    """White thing before black: in the far picture, light lies outside of its outline, and the mask is less there."""
    opacity = torch.zeros(1, 1, SIZE, SIZE)
    opacity[..., 20:44, 20:44] = 1
    white, black = torch.ones(1, 3, SIZE, SIZE), torch.zeros(1, 3, SIZE, SIZE)
    monkeypatch.setattr(stacks, "_near_layer", lambda x, g: (white, opacity))
    monkeypatch.setattr(stacks, "masks_of_all", lambda visible: visible)
    sample = stacks.defocus_damage(black, generator(1))
    far = int(sample.masks[1, 0, 0, 2, 2] > sample.masks[0, 0, 0, 2, 2])
    assert sample.masks[far, 0, 0, 2, 2] > 0.95 and sample.masks[far, 0, 0, 32, 18] < 0.85
    picture, other = sample.pictures[far, 0, 0], sample.pictures[1 - far, 0, 0]
    assert picture[32, 18] > 0.15 and picture[32, 46] > 0.15 and picture[32, 32] < 1 + 1e-6
    assert other[32, 16] < 0.02  # the sharp thing does not spread
    assert sample.target[0, 0, 32, 18] == 0


def test_each_picture_has_its_own_grain_and_clean_has_none(photographs):
    sample = SCENARIOS.get("defocus")(photographs.mul(0.5).add(0.25), generator(), 3)
    grain = (sample.pictures - sample.clean).flatten(2)
    strength = grain.std(dim=-1)
    assert strength.max() < 1.1 * stacks._GRAIN and strength.std(dim=0).max() < 0.1 * strength.max()
    assert strength.amin() < 0.3 * stacks._GRAIN < 0.7 * stacks._GRAIN < strength.amax()
    assert abs((grain[0] * grain[1]).mean() / grain.square().mean()) < 0.02


@pytest.mark.parametrize("count", (2, 5))
def test_thin_structures_stand_in_front_of_terraces(count, monkeypatch):
    monkeypatch.setattr(stacks, "chance", lambda batch, share, g: torch.ones(batch, 1, 1, 1, dtype=torch.bool))
    stripes = torch.full((40, 3, SIZE, SIZE), 0.3)
    stripes[..., ::8, :] = 0.8
    depth = stacks._background_depth(stripes, generator(), count)
    on, off = depth[..., 8:56:8, 8:-8], depth[..., 12:56:8, 8:-8]
    near = 0.9 if count == 2 else 0.55
    assert 0.15 < (on > near).float().mean() - (off > near).float().mean() < 0.85
    assert depth.min() >= 0 and depth.max() <= (1 if count == 2 else 0.8)


def test_half_of_the_samples_breathe_by_up_to_1_percent(photographs, monkeypatch):
    scales, breathe = [], stacks._breathe
    monkeypatch.setattr(stacks, "_breathe", lambda *parts: scales.append(parts[2]) or breathe(*parts))
    sample = stacks.defocus_damage(photographs, generator(), 4)
    scale = scales[0].view(4, MANY)
    assert scale.min() == 1 and 1.005 < scale.max() <= 1.01
    assert torch.equal(scale.amax(dim=0) > 1, sample.truth == 0) and (scale.amin(dim=0) == 1).all()


def test_breathing_grows_the_frame_about_its_centre():
    columns = torch.arange(SIZE).float().view(1, 1, 1, 1, -1)
    ramp = (columns / SIZE).expand(1, 1, 3, SIZE, -1)
    sharp = torch.ones(1, 1, 1, SIZE, SIZE)
    grown, _ = stacks._breathe(ramp, sharp, torch.full((1, 1, 1, 1, 1), 1.01))
    moved = (grown - ramp)[0, 0, 0, 32] * SIZE
    assert moved[4].item() == pytest.approx((32 - 4.5) * 0.01 / 1.01, abs=0.06)
    assert moved[60].item() == pytest.approx((32 - 60.5) * 0.01 / 1.01, abs=0.06)
    same, _ = stacks._breathe(ramp, sharp, torch.ones(1, 1, 1, 1, 1))
    assert torch.equal(same, ramp)


def test_blurs_between_the_levels_are_mixed(photographs):
    levels = stacks._blur_levels(photographs[:2], torch.zeros(2, 1, 1, 1, dtype=torch.bool))
    for sigma, wanted in ((0.0, levels[0]), (1.8, levels[2]), (5.0, levels[4]), (1.3, (levels[1] + levels[2]) / 2)):
        assert torch.allclose(stacks._at_level(levels, torch.full((2, 1, SIZE, SIZE), sigma)), wanted, atol=1e-5)


def test_a_bracket_covers_the_light_and_clips_at_both_ends(photographs):
    sample = SCENARIOS.get("bracket")(photographs, generator(), 5)
    brightness = sample.pictures.mean(dim=(2, 3, 4)).sort(dim=0).values
    assert (brightness.diff(dim=0) > 0.02).float().mean() > 0.95
    darkest = sample.pictures.gather(0, sample.pictures.mean(dim=(2, 3, 4), keepdim=True).argmin(dim=0, keepdim=True)
                                     .expand(1, -1, 3, SIZE, SIZE))
    assert (sample.pictures.amax(dim=0) == 1).float().mean() > 0.2 and (darkest == 1).float().mean() < 0.02


def test_what_is_clipped_keeps_next_to_nothing():
    bright = torch.full((MANY, 3, SIZE, SIZE), 0.95)
    sample = SCENARIOS.get("bracket")(bright, generator(), 3)
    white = (sample.clean == 1).all(dim=2, keepdim=True)
    clipped = white & ~white.all(dim=0)
    assert clipped.any() and (sample.masks[clipped] < 0.1).float().mean() > 0.8  # 1 where all but just clip


def test_every_place_is_well_exposed_in_one_of_nine(photographs):
    sample = SCENARIOS.get("bracket")(photographs, generator(), 9)
    error = (sample.clean - sample.target).abs().mean(dim=2)
    assert error.amin(dim=0).mean() < 0.03 < error.mean()
    noise = (sample.pictures - sample.clean).abs()
    assert 1e-4 < noise.mean() < 0.03


def test_short_stacks_are_filled_up_and_told(photographs):
    parts = [SCENARIOS.get("focus")(photographs[:2], generator()),
             SCENARIOS.get("bracket")(photographs[:3], generator(), 4)]
    sample = join_samples(parts)
    assert sample.count.tolist() == [2, 2, 4, 4, 4] and sample.pictures.shape[:2] == (4, 5)
    assert sample.present.tolist() == [[True] * 5] * 2 + [[False] * 2 + [True] * 3] * 2
    assert torch.equal(sample.masks[2:, :2], torch.zeros(2, 2, 1, SIZE, SIZE))
    assert torch.equal(sample.pictures[:, 2:], parts[1].pictures)


def test_synthesis_draws_a_number_of_pictures_for_each_batch(photographs):
    batch = SimpleNamespace(pixels=(photographs * 255).byte(), sizes=torch.full((MANY, 2), SIZE),
                            means=torch.full((MANY,), 0.5))
    make = Synthesizer(32, {"defocus": 1, "targets": 1, "bracket": 1}, most_pictures=4)
    counts = set()
    for seed in range(12):
        sample = make(batch, {name: generator(seed) for name in ("crop", "damage", "order")})
        counts.add(len(sample.pictures))
        stacked = sample.count > 2
        assert sample.pictures.shape[1] == MANY and not (sample.warm.amax(dim=(1, 2, 3)) > 0)[stacked].any()
        assert (sample.infrared > 0).any() and sample.roles[2:].sum() == 0
    assert counts == {2, 3, 4}
    pairs = Synthesizer(32, {"defocus": 1})(batch, {name: generator() for name in ("crop", "damage")})
    assert len(pairs.pictures) == 2


def test_common_and_unique_parts_are_those_of_pairs(photographs):
    sample: Sample = SCENARIOS.get("bracket")(photographs[:2], generator(), 3)
    with pytest.raises(UserError, match=r"set synthesis\.pictures: 2"):
        _ = sample.common
