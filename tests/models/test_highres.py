"""The head starts as the salience pyramid, is symmetric, bounded, without a grid, and learns with finite gradients."""

import math
from itertools import zip_longest

import pytest
import torch

from data.registry import SCENARIOS
from models.baselines import SaliencePyramid
from models.corrections import CorrectionNetwork, Level, others_largest, others_mean, shrink_features
from models.fuser import Fuser
from models.head import FusionHead, _bend_back, limit_shift
from models.head_parts import Coarse
from models.head_windows import REACH, STRIDE
from models.highres import DeFusionPPHR
from models.protocol import ROLES, TASKS
from models.registry import MODELS, present_name
from models.structural import HRLoss, structural_loss
from models.tasks import TRAINING

SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 3, "last_heads": 3, "decoder_heads": 4}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(height: int = 96, width: int = 128, seed: int = 0, batch: int = 1) -> torch.Tensor:
    """Texture over a ramp, in [0, 1]."""
    noise = torch.rand(batch, 3, height, width, generator=generator(seed))
    ramp = torch.linspace(0, 1, width).view(1, 1, 1, -1)
    return (0.4 * noise + 0.6 * ramp.roll(37 * seed, dims=-1)).clamp(0, 1)


def build(trained: bool = True, tokens: bool = True, **keywords) -> DeFusionPPHR | FusionHead:
    """A small model in inference mode; ``trained``: with answers far from zero; ``tokens``: with a transformer."""
    torch.manual_seed(0)
    model = (DeFusionPPHR(**SMALL, **keywords) if tokens else FusionHead(**keywords)).eval()
    head = model.head if tokens else model
    if trained:
        for answer in head.corrections.answers:
            torch.nn.init.normal_(answer.weight, std=0.5)
        with torch.no_grad():
            head.exposure_gain.fill_(0.7)
            head.log_gain.add_(0.3)
    return model


@pytest.mark.parametrize("tokens", (True, False))
@pytest.mark.parametrize("size", ((96, 128), (67, 45), (16, 16)))
def test_untrained_head_is_the_salience_pyramid(tokens, size):
    a, b = picture(*size, seed=1), picture(*size, seed=2)
    want = SaliencePyramid().decompose(a, b).fused
    with torch.inference_mode():
        got = build(trained=False, tokens=tokens, overshoot=None).decompose(a, b).fused
    assert (got - want).abs().max() < 1e-5


@pytest.mark.parametrize("tokens", (True, False))
def test_order_of_the_pair_has_no_say(tokens):
    model, a, b = build(tokens=tokens), picture(seed=1), picture(seed=2)
    with torch.inference_mode():
        one, two = model.decompose(a, b), model.decompose(b, a)
    assert (one.fused - two.fused).abs().max() < 1e-5
    assert (one.unique1 - two.unique2).abs().max() < 1e-5 and (one.common - two.common).abs().max() < 1e-5
    assert (one.fused - SaliencePyramid().decompose(a, b).fused).abs().max() > 0.01  # it does correct


def test_equal_pictures_come_back():
    a = picture(seed=3)
    with torch.inference_mode():
        assert (build().decompose(a, a).fused - a).abs().max() < 1e-5


def test_tokens_change_the_result():
    a, b, model = picture(seed=1), picture(seed=2), build()
    with torch.inference_mode():
        before = model.decompose(a, b).fused
        for block in model.network.encoder.blocks:
            block.mlp.fc2.weight.mul_(3)
        assert (model.decompose(a, b).fused - before).abs().max() > 1e-6


def test_a_head_of_older_files_is_the_head_alone():
    """``DeFusionPPHR`` with ``use_tokens: false`` once was the head; keywords of its transformer had no effect."""
    name, network = present_name("DeFusionPPHR", {"use_tokens": False, "window": 3, "bound": 4.0, **SMALL})
    model = MODELS.create(name, **network)
    assert type(model) is FusionHead and model.window == 3 and model.corrections.bound == 4.0
    assert present_name("DeFusionPPHR", {"use_tokens": True, **SMALL}) == ("DeFusionPPHR", SMALL)


def test_corrections_are_bounded():
    network = CorrectionNetwork(map_channels=5, bound=2.0)
    for answer in network.answers:
        torch.nn.init.normal_(answer.weight, std=50)
    sizes = [(64, 80), (32, 40), (16, 20), (8, 10), (4, 5), (2, 3)]
    energies = [torch.randn(2, 1, 1, *size) - 4 for size in sizes[:-1]]
    greys = [torch.rand(2, 1, 1, *size) for size in sizes]
    evidence = [torch.randn(2, 1, 2, *size) - 4 for size in sizes]
    levels = [Level(*level) for level in zip_longest(greys, evidence, energies)]
    given = network.embed(torch.zeros(2, 1, dtype=torch.long), torch.zeros(1, dtype=torch.long))
    fine = network.encode_fine(levels[:3], given, torch.randn(2, 1, 5, *sizes[2]))
    answers, *carried = network.decode_coarse(network.encode_coarse(levels[3:], shrink_features(fine[-1]), given))
    answers = [*network.decode_fine(fine, *carried, sizes[0])[0], *answers]
    corrections, trusts = zip(*(network.judge(answer, 2) for answer in answers))
    corrections = [c[0] - c[1] for c in corrections]
    assert [tuple(c.shape[-2:]) for c in corrections] == sizes
    assert all(c.abs().max() <= 2.0 for c in corrections)
    assert max(c.abs().max() for c in corrections) > 1.9
    assert [tuple(t.shape[-3:]) for t in trusts] == [(2, *size) for size in sizes]
    assert 20 < max(t.abs().max() for t in trusts) <= 24.0


def test_brightness_stays_near_the_mean_of_both_and_focus_is_chosen_freely():
    """However sure the head is, the base moves by at most 0.2 of grey; where the pictures agree it is not held."""
    model = build(tokens=False)
    torch.nn.init.normal_(model.corrections.answers[-1].weight, std=50)
    dark, bright = 0.1 * picture(seed=1), 0.8 + 0.2 * picture(seed=2)
    with torch.inference_mode():
        out = model.decompose(dark, bright)
    shift = (out.base - out.bases.mean(dim=0)).mean(dim=1)
    assert 0.15 < shift.abs().max() < 0.2 + 1e-6
    base = torch.rand(1, 3, 4, 5, generator=generator(4))
    weight = torch.rand(1, 1, 4, 5, generator=generator(5))
    weights = torch.stack([weight, 1 - weight])
    assert (limit_shift(weights, torch.stack([base, base + 0.01]), 0.2) - weights).abs().max() < 1e-3
    torch.testing.assert_close(limit_shift(weights.flip(0), torch.stack([base + 0.5, base]), 0.2),
                               limit_shift(weights, torch.stack([base, base + 0.5]), 0.2).flip(0))


def test_overshoot_is_bounded_and_otherwise_nothing_changes():
    """No pixel leaves the range of the two source pixels by more than 0.1, hard crossing edges included."""
    a = torch.zeros(1, 3, 96, 96)
    a[..., 48:] = 1
    b = 1 - a.transpose(-1, -2)
    for first, second in ((a, b), (picture(seed=1), picture(seed=2))):
        low, high = torch.minimum(first, second), torch.maximum(first, second)
        with torch.inference_mode():
            fused, free = (build(overshoot=limit).decompose(first, second).fused for limit in (0.1, None))
        assert (low - fused).max() < 0.1 + 1e-6 and (fused - high).max() < 0.1 + 1e-6
        within = (free >= low) & (free <= high)
        assert within.any() and torch.equal(fused[within], free[within])


@pytest.mark.parametrize("period", (16, 224))
def test_no_grid_on_flat_fields_and_ramps(period):
    """Between a flat field and a ramp the mix may vary slowly, but nothing repeats with the patches or windows."""
    height, width = 3 * 96, 480
    ramp = torch.linspace(0.3, 0.5, width).view(1, 1, 1, -1).expand(1, 3, height, -1).contiguous()
    flat = torch.full_like(ramp, 0.45)
    fuser = Fuser(build(), device="cpu", amp="off")
    fused = fuser(flat[0], ramp[0], components=False).fused.mean(dim=0)
    smooth = torch.nn.functional.avg_pool2d(fused[None, None], 33, stride=1)[0, 0]
    inside = fused[16:-16, 16:-16] - smooth
    columns = inside.mean(dim=0)
    folded = torch.stack([columns[i::16].mean() for i in range(16)]) if period == 16 else columns
    assert folded.abs().max() < 2 / 255 / 2
    assert inside.abs().max() < 2 / 255


def test_windows_and_whole_picture_share_one_fusion():
    """Maps from windows, blended, then one pyramid: much nearer to those of the whole picture than no maps are."""
    model, a, b = build(), picture(160, 304, seed=1), picture(160, 304, seed=2)
    fused = Fuser(model, device="cpu", amp="off")(a[0], b[0], components=False).fused
    with torch.inference_mode():
        maps = model.context(a, b)
        whole, without = (model.fuse(a, b, x).fused[0].clamp(0, 1) for x in (maps, torch.zeros_like(maps)))
    assert (fused - whole).square().mean() < 0.25 * (without - whole).square().mean()


def test_context_and_fuse_are_decompose():
    model, a, b = build(), picture(seed=1), picture(seed=2)
    with torch.inference_mode():
        maps = model.context(a, b)
        assert maps.shape == (1, model.map_channels, 96 // 4, 128 // 4)
        assert torch.equal(model.fuse(a, b, maps).fused, model.decompose(a, b).fused)


def test_what_a_head_refuses():
    a, b = picture(seed=1), picture(seed=2)
    with pytest.raises(ValueError, match="maps are missing"):
        FusionHead(map_channels=5)(a, b)
    with pytest.raises(ValueError, match="maps are given"):
        FusionHead()(a, b, maps=torch.zeros(2, 1, 5, 24, 32))
    with pytest.raises(ValueError, match="1 pictures"):
        FusionHead().decompose(a)
    with pytest.raises(ValueError, match="1 roles for 2 pictures"):
        FusionHead().decompose(a, b, roles=["visible"])
    with pytest.raises(ValueError, match="widths"):
        CorrectionNetwork(levels=4)


def test_components_add_up_to_the_plain_mix():
    a, b = picture(seed=1), picture(seed=2)
    with torch.inference_mode():
        out = build().decompose(a, b, patches=True)
    total = out.common + out.unique1 + out.unique2
    assert total.min() > -1e-5 and (total - torch.maximum(a, b)).max() < 1e-5
    assert (torch.minimum(a, b) - total).max() < 1e-5
    assert torch.minimum(out.unique1, out.unique2).abs().max() < 1e-6
    assert out.patches.fused.shape == a.shape and len(out.weights) == 6


@pytest.mark.parametrize("tokens", (True, False))
def test_every_trained_weight_gets_a_finite_gradient(tokens):
    torch.manual_seed(0)
    model = build(tokens=tokens).train()
    sample = SCENARIOS.get("focus")(picture(64, 64, seed=1, batch=2), generator())
    task = TRAINING[model.traits.training](model, None, HRLoss())
    out = task.decompose(sample, {name: generator() for name in ("damage", "mfm", "order")})
    task.criterion(out, sample)["total_loss"].backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        assert not parameter.requires_grad or parameter.grad.isfinite().all(), name
    head = model.head if tokens else model
    assert head.corrections.enter[0].weight.grad.abs().sum() > 0
    if tokens:
        assert model.unique_map[1].weight.grad.abs().sum() > 0


def test_identical_and_constant_pictures_have_finite_gradients():
    model = build().train()
    model.network.encoder.norm.requires_grad_(False)
    flat = torch.full((2, 3, 64, 64), 0.5)
    for name in ("focus", "exposure", "thermal"):
        model.zero_grad()
        sample = SCENARIOS.get(name)(flat, generator())
        HRLoss()(model(sample.x1, sample.x2, torch.rand(2, 16)), sample)["total_loss"].backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_a_frozen_transformer_is_not_trained_and_drops_nothing():
    torch.manual_seed(0)
    model = DeFusionPPHR(frozen=True, **SMALL).train()
    torch.nn.init.normal_(model.head.corrections.answers[0].weight)  # at zero no gradient would pass the answers
    x1, x2 = torch.rand(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    noise = torch.rand(1, 16)
    one, two = model(x1, x2, noise), model(x1, x2, noise)
    assert torch.equal(one.fused, two.fused) and one.patches is None
    one.fused.square().mean().backward()
    reached = {name for name, weight in model.named_parameters() if weight.grad is not None}
    assert reached and all(name.startswith(model.traits.added) for name in reached)
    assert "unique_map.1.weight" in reached


def test_the_head_with_tokens_is_told_the_task_and_follows_the_same_rules():
    """Told, the result differs: warm targets, exposures and focus series have rules, and the embeddings learn."""
    model, a, b = build(warm_floor=1.0, keep_light=True, choose=True), picture(seed=1), picture(seed=2)
    with torch.inference_mode():
        plain = model.decompose(a, b).fused
        for roles, task in ((("infrared", "visible"), "IVF"), ((), "MEF"), ((), "MFF")):
            assert (model.decompose(a, b, roles=roles, task=task).fused - plain).abs().max() > 1e-3, task
    roles, task = torch.tensor([[1], [2]]), torch.tensor([1])
    model.train()(a, b, torch.rand(1, 48), roles=roles, task=task).fused.square().mean().backward()
    network = model.head.corrections
    assert all(e.weight.grad[ROLES.index("infrared")].abs().sum() > 0 for e in network.roles)
    assert all(e.weight.grad[TASKS.index("IVF")].abs().sum() > 0 for e in network.tasks)


@pytest.mark.parametrize(("count", "task"), ((2, "IVF"), (2, "MFF"), (3, "MFF")))
def test_windows_of_the_transformer_leave_roles_and_task_to_the_head(count, task):
    """Through the fuser, which blends maps: told, the result differs; a longer series knows the task alone."""
    model = build(warm_floor=1.0, choose=True)
    pictures = [(255 * picture(64, 80, seed=seed)[0]).byte().permute(1, 2, 0).numpy() for seed in range(3)]
    fuser = Fuser(model, device="cpu", amp="off", color="rgb")
    told, plain = (fuser(*pictures[:count], task=given).fused for given in (task, None))
    assert (told != plain).any()
    assert fuser(*pictures, task="IVF").fused.shape == told.shape  # without the roles, which pairs of results lack


def test_pictures_of_a_longer_series_may_come_in_any_order():
    model, pictures = build(tokens=False), [picture(seed=seed) for seed in range(1, 5)]
    roles = ["infrared", "visible", "none", "visible"]
    with torch.no_grad():
        for embedding in (*model.corrections.roles, *model.corrections.tasks):
            embedding.weight[1:].normal_()
        one = model.decompose(*pictures, roles=roles, task="MEF")
        two = model.decompose(*pictures[::-1], roles=roles[::-1], task="MEF")
    assert (one.fused - two.fused).abs().max() < 1e-5
    assert all((weight.sum(dim=0) - 1).abs().max() < 1e-5 for weight in one.weights)
    assert one.unique1 is None and len(one.weights[0]) == 4


def test_an_untrained_head_fuses_a_series_as_the_salience_pyramid_does():
    pictures = [picture(67, 45, seed=seed) for seed in range(3)]
    with torch.inference_mode():
        got = FusionHead(overshoot=None).decompose(*pictures).fused
    assert (got - SaliencePyramid().fuse_many(pictures)).abs().max() < 1e-5


def test_each_picture_sees_the_strongest_and_the_mean_of_the_others():
    x = torch.tensor([[3.0, 1.0], [3.0, 5.0], [2.0, 0.0]])
    assert others_largest(x).tolist() == [[3, 5], [3, 1], [3, 5]]
    assert others_mean(x).tolist() == [[2.5, 2.5], [2.5, 0.5], [3, 3]]


def test_roles_and_tasks_change_nothing_until_they_are_learned_and_learn():
    model, a, b = build(tokens=False), picture(seed=1), picture(seed=2)
    plain = model.decompose(a, b)
    told = model.decompose(a, b, roles=("infrared", "visible"), task="IVF")
    assert torch.equal(plain.fused, told.fused)
    told.fused.square().mean().backward()
    network = model.corrections
    assert all(e.weight.grad[ROLES.index("infrared")].abs().sum() > 0 for e in network.roles)
    assert all(e.weight.grad[TASKS.index("IVF")].abs().sum() > 0 for e in network.tasks)
    with torch.no_grad():
        for embedding in (*network.roles, *network.tasks):
            embedding.weight[1:] += 0.1 * torch.randn(embedding.weight[1:].shape, generator=generator())
    one = model.decompose(a, b, roles=("infrared", "visible"), task="IVF")
    assert (one.fused - plain.fused).abs().max() > 1e-3
    assert (model.decompose(b, a, roles=("visible", "infrared"), task="IVF").fused - one.fused).abs().max() < 1e-5
    assert torch.equal(model.decompose(a, b).fused, plain.fused)


def test_a_shorter_series_in_a_batch_of_longer_ones_is_fused_as_if_it_were_alone():
    """Pictures that a scene lacks change neither its fused picture nor its loss, whatever stands in their place."""
    model, pictures = build(tokens=False), [picture(64, 64, seed=seed, batch=2) for seed in range(1, 5)]
    present = torch.tensor([[True, True], [True, True], [True, False], [True, False]])
    out, full = model(*pictures, present=present), model(*pictures)
    pair = model.decompose(*(x[1:] for x in pictures[:2]))
    assert (out.fused[:1] - full.fused[:1]).abs().max() < 1e-5
    assert (out.fused[1:] - pair.fused).abs().max() < 1e-5
    clean = torch.stack(pictures)
    got = structural_loss(out.fused, clean, shrinks=(1, 2), present=present)
    assert torch.allclose(got[:1], structural_loss(full.fused[:1], clean[:, :1], shrinks=(1, 2)), atol=1e-5)
    assert torch.allclose(got[1:], structural_loss(pair.fused, clean[:2, 1:], shrinks=(1, 2)), atol=1e-4)


def test_what_fine_bands_depend_on_lies_within_the_reach_of_a_part():
    """Pixels further away than ``REACH`` change nothing, to the last digit; those beyond 64 do."""
    model = build(tokens=False, warm_floor=1.0, keep_light=True, choose=True)
    pictures = [picture(256, 256, seed=seed) for seed in (1, 2)]
    own = slice(120, 136)
    told = model.tell(torch.tensor([[1], [2]]), torch.tensor([3]))

    def at_own(seen: list[torch.Tensor], coarse: Coarse | None) -> tuple[list[torch.Tensor], Coarse]:
        fine = model.see(seen, told)
        coarse = coarse or model.settle(fine.handover(), told)
        fused = model.mix(seen, fine, coarse, told, components=False).fused
        small = slice(own.start // STRIDE, own.stop // STRIDE)
        return [fused[..., own, own], *(x[..., small, small] for x in vars(fine.handover()).values())], coarse

    with torch.inference_mode():
        want, coarse = at_own(pictures, None)
        for reach, same in ((REACH, True), (64, False)):
            near = slice(own.start - reach, own.stop + reach)
            changed = [picture(256, 256, seed=seed) for seed in (3, 4)]
            for x, other in zip(pictures, changed):
                other[..., near, near] = x[..., near, near]
            got, _ = at_own(changed, coarse)
            assert all(map(torch.equal, got, want)) == same, reach


def test_what_leaves_the_range_of_the_pictures_is_bent_back_with_a_gradient_everywhere():
    x = torch.tensor([0.3, 0.6, 0.7, 0.9, 0.1], requires_grad=True)
    bent = _bend_back(x, torch.tensor(0.2), torch.tensor(0.6), 0.1)
    expected = [0.3, 0.6, 0.6 + 0.1 * math.tanh(1), 0.6 + 0.1 * math.tanh(3), 0.2 - 0.1 * math.tanh(1)]
    torch.testing.assert_close(bent, torch.tensor(expected))
    bent.sum().backward()
    assert (x.grad > 0).all()
