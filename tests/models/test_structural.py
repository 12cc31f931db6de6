"""The structural loss equals its definition window by window; terms hold only where a sample says so."""

from dataclasses import replace
from math import pi, tan
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data.registry import SCENARIOS
from data.sample import Sample
from data.synthesis import Synthesizer
from models.head import FusionHead
from models.head_parts import HRDecomposition
from models.highres import DeFusionPPHR
from models.losses import ssim_map
from models.protocol import TASKS
from models.registry import LOSSES
from models.structural import (
    HRLoss,
    selection_loss,
    shares_of,
    sobel,
    structural_loss,
    structural_map,
    texture_loss,
    wanted_base,
)
from utils.pictures.colour import luma

SMALL = {"embed_dim": 48, "depth": 1, "num_heads": 3, "last_heads": 3, "decoder_heads": 4}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int, side: int = 20, seed: int = 0, channels: int = 1) -> list[torch.Tensor]:
    return list(torch.rand(count, 2, channels, side, side, generator=generator(seed)))


def slow_loss(f: np.ndarray, *sources: np.ndarray) -> float:
    """One window by the definition (Ma et al. 2015, without luminance), vectors written out."""
    f, *sources = (v.ravel() - v.mean() for v in (f, *sources))
    size = np.sqrt(f.size)
    contrasts = [np.linalg.norm(x) / size for x in sources]
    agreement = np.linalg.norm(sum(sources)) / size / sum(contrasts)
    p = min(tan(pi * min(agreement, 1 - 1e-9) / 2), 10.0)
    largest = max(contrasts)
    direction = sum((c / largest) ** p * x / c for c, x in zip(contrasts, sources))
    wanted = largest * direction / (np.linalg.norm(direction) / size)
    return 1 - (2 * (wanted @ f) / f.size + 9e-4) / (largest**2 + f @ f / f.size + 9e-4)


@pytest.mark.parametrize(("window", "count"), ((5, 2), (9, 2), (9, 4)))
def test_map_equals_the_definition(window, count):
    f, *sources = (image.double() for image in images(1 + count))
    got = structural_map(f, sources, window)
    assert got.shape == (2, 1, 21 - window, 21 - window)
    for row, column in ((0, 0), (4, 7), (11, 3)):
        parts = [image[1, 0, row:row + window, column:column + window].numpy() for image in (f, *sources)]
        assert got[1, 0, row, column].item() == pytest.approx(slow_loss(*parts), abs=1e-6)


def test_zero_for_equal_pictures_and_for_the_only_one_with_structure():
    x, _ = images(2)
    flat = torch.full_like(x, 0.4)
    assert structural_map(x, (x, x)).abs().max() < 1e-4
    assert structural_map(x, (x, flat)).abs().max() < 1e-3
    assert structural_map(x + 0.2, (x, flat)).abs().max() < 1e-3  # brightness has no say
    assert structural_map(flat, (x, flat)).min() > 0.9


def test_the_stronger_source_is_wanted_and_the_order_has_no_say():
    x, _, f = images(3, seed=2)
    weak = 0.5 + 0.1 * (x - 0.5)
    assert structural_map(x, (x, weak)).mean() < structural_map(weak, (x, weak)).mean()
    one, two = structural_map(f, (x, weak)), structural_map(f, (weak, x))
    assert torch.allclose(one, two, atol=1e-6)


def test_gradient_is_right_and_flows_to_the_fused_picture_alone():
    f, x1, x2 = (image[:, :, :9, :9].double() for image in images(3, seed=4))
    f.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda fused: structural_map(fused, (x1, x2), 5), (f,), atol=1e-4)
    x1.requires_grad_(True)
    structural_map(f, (x1, x2), 5).sum().backward()
    assert f.grad.abs().sum() > 0


def test_gradient_is_finite_without_any_structure():
    flat = torch.full((1, 3, 20, 20), 0.5, requires_grad=True)
    structural_loss(flat, (flat.detach(), flat.detach()), (5, 9, 17)).sum().backward()
    assert flat.grad.isfinite().all()


def test_similarity_seen_in_inference_mode_first_can_be_trained_on():
    """The blur of a size is kept; what inference mode made would be refused by autograd."""
    x, y = images(2, side=23)
    with torch.inference_mode():
        before = ssim_map(x, y)
    x.requires_grad_(True)
    after = ssim_map(x, y)
    after.sum().backward()
    assert torch.equal(after.detach(), before) and x.grad.abs().sum() > 0


def test_windows_are_averaged():
    f, x1, x2 = images(3, channels=3)
    both = structural_loss(f, (x1, x2), (5, 9))
    assert torch.allclose(both, (structural_loss(f, (x1, x2), (5,)) + structural_loss(f, (x1, x2), (9,))) / 2)


def test_scales_are_averaged_and_coarse_ones_see_regions():
    """A picture that has lost the order of whole regions is found out on shrunk pictures only."""
    texture = 0.1 * torch.rand(1, 3, 64, 64, generator=generator())
    steps = torch.zeros_like(texture)
    steps[..., 32:] = 0.5
    flat = torch.full_like(texture, 0.4)
    one, four = (structural_loss(texture + 0.2, (texture + steps, flat), (9,), (s,)) for s in (1, 4))
    assert four > 2 * one
    both = structural_loss(texture + 0.2, (texture + steps, flat), (9,), (1, 4))
    assert torch.allclose(both, (one + four) / 2)
    assert structural_loss(texture, (texture, flat), (9, 17), (1, 4)).isfinite().all()  # 17 does not fit into 16


def test_fitting_a_picture_to_it_finds_the_sharper_source():
    """A few steps of descent from the average of a pair go to the one that has structure."""
    x, _ = images(2, 24, seed=6, channels=3)
    weak = 0.5 + 0.2 * (x - 0.5)
    f = ((x + weak) / 2).requires_grad_(True)
    optimizer = torch.optim.Adam([f], lr=0.01)
    first = structural_loss(f, (x, weak)).sum().item()
    for _ in range(60):
        optimizer.zero_grad()
        loss = structural_loss(f, (x, weak)).sum()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 * first
    assert luma(f).std() > 0.9 * luma(x).std()


def test_wanted_base_rules():
    dark, bright = torch.full((1, 3, 2, 2), 0.1), torch.full((1, 3, 2, 2), 0.6)
    assert wanted_base(torch.stack([dark, bright]), "exposure").mean() > 0.5
    assert wanted_base(torch.stack([dark, bright]), "average").mean().item() == pytest.approx(0.35)
    sizes = torch.zeros(2, *bright.shape[:1], 1, 2 * bright.shape[-2], 2 * bright.shape[-1])
    even, leaning = sizes.clone(), sizes.clone()
    leaning[0] = 4.0  # the first has e^4 times the energy: a weight of sigmoid(2)
    bases = torch.stack([bright, dark])
    torch.testing.assert_close(wanted_base(bases, "structure", even), wanted_base(bases, "average"))
    expected = dark + torch.sigmoid(torch.tensor(2.0)) * (bright - dark)
    torch.testing.assert_close(wanted_base(bases, "structure", leaning), expected)


@pytest.fixture(scope="module")
def model() -> DeFusionPPHR:
    torch.manual_seed(0)
    model = DeFusionPPHR(**SMALL).train()
    model.network.encoder.norm.requires_grad_(False)
    for answer in model.head.corrections.answers:
        torch.nn.init.normal_(answer.weight, std=0.3)
    return model


ALL = {"structure": 20.0, "texture": 40.0, "base": 20.0, "truth": 20.0, "selection": 4.0}
HEAD_TERMS = [f"head_{name}" for name in ALL]


def losses(model: DeFusionPPHR, sample: Sample, **keywords) -> dict[str, torch.Tensor]:
    model.zero_grad()
    torch.manual_seed(1)
    terms = HRLoss(**(ALL | keywords))(model(sample.x1, sample.x2, torch.full((sample.x1.shape[0], 16), 0.5)), sample)
    terms["total_loss"].backward()
    return terms


def test_noise_teaches_the_decomposition_and_not_the_head(model):
    x = torch.rand(3, 3, 64, 64, generator=generator())
    terms = losses(model, SCENARIOS.get("noise")(x, generator()))
    assert all(terms[name] == 0 for name in HEAD_TERMS)
    assert terms["self_supervised_fusion_mix"] > 0
    assert all(p.grad.abs().max() == 0 for p in model.head.corrections.parameters())
    assert model.head.log_gain.grad.abs().max() == 0
    assert model.network.common_head.weight.grad.abs().max() > 0


def test_the_head_never_moves_the_pixel_heads(model):
    x = torch.rand(2, 3, 64, 64, generator=generator())
    losses(model, SCENARIOS.get("focus")(x, generator()), published=0.0)
    network = model.network
    assert network.common_head.weight.grad.abs().max() == 0 and network.fuse_head.weight.grad.abs().max() == 0
    assert network.encoder.blocks[0].attn.qkv.weight.grad.abs().max() > 0


def test_truth_in_focus_only(model):
    x = torch.rand(3, 3, 64, 64, generator=generator())
    terms = losses(model, SCENARIOS.get("focus")(x, generator()))
    assert all(terms[name] > 0 for name in HEAD_TERMS)
    for name in ("exposure", "contrast", "thermal"):
        terms = losses(model, SCENARIOS.get(name)(x, generator()))
        assert terms["head_truth"] == 0 and terms["head_selection"] == 0
        assert terms["head_structure"] > 0 and terms["head_base"] > 0 and terms["head_texture"] > 0


def test_selection_counts_the_choice_of_source_pixels_like_a_band():
    shares = torch.tensor([1.0, 0.0]).view(2, 1, 1, 1, 1).expand(-1, 1, 1, 32, 32)
    sample = SimpleNamespace(target=torch.rand(1, 3, 32, 32), head=torch.ones(1), truth=torch.ones(1), masks=shares,
                             task=torch.zeros(1, dtype=torch.long), present=None)
    out = HRDecomposition(None, None, None, torch.rand(1, 3, 32, 32), weights=[shares])
    only = HRLoss(structure=0, texture=0, selection=4.0)
    assert only(out, sample)["head_selection"] == 0
    out.choice = torch.full_like(shares, 0.5)
    assert float(only(out, sample)["head_selection"]) == pytest.approx(4.0 * 0.5)


def test_a_sample_weighs_the_same_beside_noise(model):
    x = torch.rand(4, 3, 64, 64, generator=generator())
    sample = SCENARIOS.get("contrast")(x, generator())
    all_on = losses(model, sample)["head_base"]
    half = replace(sample, head=torch.tensor([1.0, 1.0, 0.0, 0.0]))
    other = replace(sample, head=torch.tensor([0.0, 0.0, 1.0, 1.0]))
    parts = losses(model, half)["head_base"] + losses(model, other)["head_base"]
    assert torch.allclose(all_on, parts, rtol=1e-5)


def test_structure_is_asked_from_the_pair_before_noise_and_glare(model):
    x = torch.rand(2, 3, 64, 64, generator=generator())
    sample = SCENARIOS.get("sensor")(x, generator())
    dirty = replace(sample, clean1=sample.x1, clean2=sample.x2)
    model.eval()
    with torch.no_grad():
        out = model.decompose(sample.x1, sample.x2)
        clean, noisy = (HRLoss().head_terms(out, s)["head_structure"] for s in (sample, dirty))
    model.train()
    assert clean != noisy


def test_total_is_the_sum(model):
    x = torch.rand(2, 3, 64, 64, generator=generator())
    terms = losses(model, SCENARIOS.get("focus")(x, generator()))
    assert terms.pop("total_loss").item() == pytest.approx(sum(term.item() for term in terms.values()), rel=1e-5)


def test_registered_and_checked():
    assert isinstance(LOSSES.create("HRLoss", windows=[9]), HRLoss)
    with pytest.raises(ValueError, match="odd"):
        HRLoss(windows=(4,))


def test_sobel_is_the_slope_of_a_ramp():
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(9.0), indexing="ij")
    slopes = sobel((0.03 * columns + 0.05 * rows)[None, None])[..., 1:-1, 1:-1]
    torch.testing.assert_close(slopes, torch.tensor([0.03, 0.05]).view(1, 2, 1, 1).expand_as(slopes))


def test_texture_wants_the_longer_gradient_of_each_pixel():
    sharp, _, other = images(3, channels=3)
    faint = 0.3 + 0.2 * sharp  # the same edges, weaker
    assert texture_loss(sharp, (sharp, faint)).max() < 1e-6
    assert texture_loss(sharp + 0.1, (faint, sharp)).max() < 1e-6  # brightness and order have no say
    expected = (sobel(luma(other)) - sobel(luma(sharp))).abs().mean(dim=(1, 2, 3))
    torch.testing.assert_close(texture_loss(other, (sharp, faint)), expected)
    torch.testing.assert_close(texture_loss(other, (faint, sharp, 0.9 * sharp)), expected)


def test_selection_is_least_where_all_bands_take_the_sharp_picture():
    def halves(size: int) -> torch.Tensor:
        left = torch.zeros(1, 1, size, size)
        left[..., : size // 2] = 1
        return torch.stack([left, 1 - left])

    share, sides = halves(32), [halves(size) for size in (32, 16, 8, 4)]
    right = selection_loss(sides, share)
    assert right < 0.1  # of coarse levels the share is soft
    assert selection_loss([torch.full_like(side, 0.5) for side in sides], share).item() == pytest.approx(0.5, abs=0.1)
    torch.testing.assert_close(selection_loss([1 - sides[0], *sides[1:]], share), right + 1 / len(sides))
    torch.testing.assert_close(selection_loss([1 - side for side in sides], 1 - share), right)


def test_what_pictures_keep_alike_is_shared_evenly():
    masks = torch.tensor([[1.0, 1.0, 1.0, 0.2], [0.4, 1.0, 0.5, 0.5], [0.0, 0.0, 0.5, 1.0]]).view(3, 4, 1, 1, 1)
    fifth = 0.2 / 3
    want = torch.tensor([[0.8, 0.5, 2 / 3, fifth], [0.2, 0.5, 1 / 6, fifth + 0.15], [0, 0, 1 / 6, fifth + 0.65]])
    torch.testing.assert_close(shares_of(masks).view(3, 4), want)


def test_terms_without_weight_are_not_there():
    sample = SCENARIOS.get("focus")(torch.rand(2, 3, 64, 64, generator=generator(1)), generator())
    out = FusionHead()(sample.x1, sample.x2)
    terms = HRLoss(structure=0, base=0, texture=1, truth=0, selection=2)(out, sample)
    assert set(terms) == {"head_texture", "head_selection", "total_loss"}
    share = (1 + sample.mask1 - sample.mask2) / 2
    shares = torch.stack([share, 1 - share])
    torch.testing.assert_close(terms["head_selection"], 2 * selection_loss(out.weights, shares).mean())


@pytest.mark.parametrize("rule", ("structure", "exposure", "average"))
def test_a_pair_costs_the_same_beside_a_longer_stack(rule):
    """The copies of the first picture that fill a batch of stacks up count in no term."""
    pair = SCENARIOS.get("focus")(torch.rand(2, 3, 64, 64, generator=generator(1)), generator())
    filled = replace(pair, more=pair.x1.unsqueeze(1), more_masks=torch.zeros_like(pair.mask1).unsqueeze(1),
                     more_clean=pair.clean1.unsqueeze(1), count=torch.tensor([2, 2]))
    head, criterion = FusionHead(widths=(4, 4, 4, 4, 4)), HRLoss(**ALL, base_mix=1.0, base_rule=rule)
    torch.nn.init.constant_(head.exposure_gain, 0.7)  # at 0 the base is the average already
    want, got = (criterion.head_terms(head(*sample.pictures, present=sample.present), sample)
                 for sample in (pair, filled))
    assert set(want) == set(HEAD_TERMS) and min(want.values()) > 0
    torch.testing.assert_close(got, want)


def test_terms_of_a_task_hold_in_its_samples_only():
    x = torch.rand(2, 3, 64, 64, generator=generator())
    head = FusionHead(widths=(4, 4, 4, 4, 4))
    criterion = HRLoss(target=1.0, exposure=1.0, brightness=1.0)
    expected = {"targets": {"head_target"}, "bracket": {"head_exposure", "head_brightness"}, "defocus": set()}
    for name, terms in expected.items():
        sample = Synthesizer(64, {name: 1.0}, jitter=False)
        sample.photograph = lambda batch, generators, low: batch
        sample = sample(x, {"damage": generator(1)})
        out = head(*sample.pictures, roles=sample.roles, task=sample.task)
        values = criterion.head_terms(out, sample)
        own = {key for key in ("head_target", "head_exposure", "head_brightness") if values[key] > 0}
        assert own == terms, name


def test_the_exposure_term_sees_what_a_screen_shows():
    """Structure above white is lost: brighter pictures with the same structure cost more."""
    x = 0.5 + 0.2 * torch.rand(1, 3, 64, 64, generator=generator())
    ones = torch.ones(1)
    sample = Sample(x, x, *torch.ones(2, 1, 1, 64, 64), x, head=ones)
    sample.task = torch.full((1,), TASKS.index("MEF"))
    out = FusionHead(widths=(4, 4, 4, 4, 4)).decompose(x, x)
    criterion = HRLoss(structure=0, texture=0, selection=0, exposure=1.0)
    values = [float(criterion.head_terms(replace(out, fused=x + shift), sample)["head_exposure"].detach())
              for shift in (0.0, 0.1, 0.4, 0.8)]
    assert values[0] == pytest.approx(0, abs=1e-5) and values[1] == pytest.approx(0, abs=1e-5)
    assert 0.3 < values[2] < values[3]
