"""A focus series is decided: source pixels, one decision at each pixel, blended only at borders."""

from pathlib import Path

import torch

from models.choice import IN_PAIRS, Choice
from models.corrections import Level
from models.head import FusionHead
from models.pyramid import box_mean
from models.weights import load_state

FOCUS = 3  # index of TASKS


def series(size: int = 128) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A photograph, and two pictures that are sharp in its left and in its right half."""
    torch.manual_seed(0)
    photograph = torch.rand(1, 3, size, size)
    soft = box_mean(box_mean(photograph, 7), 7)
    left = torch.arange(size).view(1, 1, 1, -1) < size // 2
    return photograph, torch.where(left, photograph, soft), torch.where(left, soft, photograph)


def test_each_half_is_taken_from_the_sharp_picture():
    photograph, a, b = series()
    with torch.inference_mode():
        mixed, chosen = (FusionHead(choose=choose).eval().decompose(a, b, task="MFF") for choose in (False, True))
    inner = [slice(8, 56), slice(72, 120)]
    assert all((chosen.fused - photograph)[..., 8:120, columns].abs().max() < 1e-3 for columns in inner)
    assert (chosen.fused - photograph).abs().mean() < (mixed.fused - photograph).abs().mean()
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    assert (chosen.fused >= low - 1e-5).all() and (chosen.fused <= high + 1e-5).all()
    assert ((chosen.unique1 - photograph)[..., 8:120, 8:56].abs() < 0.01).all()


def test_only_focus_series_are_decided_also_within_a_batch():
    _, a, b = series()
    mixing, choosing = FusionHead().eval(), FusionHead(choose=True).eval()
    with torch.inference_mode():
        assert torch.equal(choosing.decompose(a, b, task="MEF").fused, mixing.decompose(a, b, task="MEF").fused)
        both = choosing(a.repeat(2, 1, 1, 1), b.repeat(2, 1, 1, 1), task=torch.tensor([FOCUS, 0])).fused
        for got, task in zip(both, ("MFF", "none")):
            assert (got - choosing.decompose(a, b, task=task).fused[0]).abs().max() < 1e-5


def test_corrections_count_between_pictures_and_pictures_that_are_missing_do_not():
    torch.manual_seed(0)
    choice, count = Choice(levels=4, width=8), 3
    torch.nn.init.normal_(choice.answer.weight)
    weights = [torch.rand(count, 2, 1, side, side).softmax(dim=0) for side in (32, 16, 8, 4, 2)]
    features, band = torch.randn(count, 2, 8, 16, 16), torch.randn(count, 2, 3, 32, 32)
    finest = Level(*(torch.randn(count, 2, channels, 32, 32) for channels in (1, 2, 1)))

    def decide(order: list[int], there: torch.Tensor | None = None) -> torch.Tensor:
        coarse = choice.count_coarse([weight[order] for weight in weights[3:]])
        level = Level(finest.grey[order], finest.evidence[order], finest.energy[order])
        return choice.decide([weight[order] for weight in weights[:3]], coarse, level, band[order],
                             features[order].flatten(0, 1), there)

    plain = decide([0, 1, 2])
    assert torch.allclose(plain.sum(dim=0), torch.ones(2, 1, 32, 32)) and plain.isfinite().all()
    assert torch.allclose(decide([2, 0, 1]), plain[[2, 0, 1]], atol=1e-6)
    there = torch.tensor([[True, True], [True, True], [True, False]])[..., None, None, None]
    some = decide([0, 1, 2], there)
    assert torch.allclose(some[:, :1], plain[:, :1], atol=1e-6) and not some[2, 1].any()
    pair = decide([0, 1])
    assert torch.allclose(pair[:, 1], some[:2, 1], atol=1e-5)
    torch.nn.init.zeros_(choice.answer.weight)
    assert not torch.allclose(decide([0, 1, 2]), plain, atol=1e-2)


def test_pairs_are_decided_by_regions_with_and_without_gradients_and_beside_longer_series():
    torch.manual_seed(0)
    head = FusionHead(choose=True).eval()
    torch.nn.init.normal_(head.choice.answer.weight, std=30)
    pictures = [torch.rand(2, 3, 64, 80) for _ in range(3)]
    present, focus = torch.tensor([[True, True], [True, True], [False, True]]), torch.full((2,), FOCUS)
    with torch.no_grad():
        pair = head.decompose(*(x[:1] for x in pictures[:2]), task="MFF")
        series = head.decompose(*(x[1:] for x in pictures), task="MFF")
        both = head(*pictures, task=focus, present=present).choice
    learning = head.decompose(*(x[:1] for x in pictures[:2]), task="MFF").choice
    learning[0].sum().backward()  # several processes expect a gradient, if only 0, for every weight
    assert torch.allclose(learning, pair.choice, atol=1e-5) and head.choice.answer.weight.grad is not None
    assert torch.allclose(both[:2, :1], pair.choice, atol=1e-4) and not both[2, 0].any()
    assert torch.allclose(both[:, 1:], series.choice, atol=1e-4)
    torch.nn.init.zeros_(head.choice.answer.weight)
    with torch.no_grad():
        assert torch.equal(head.decompose(*(x[:1] for x in pictures[:2]), task="MFF").choice, pair.choice)
        other = head.decompose(*(x[1:] for x in pictures), task="MFF").choice
    assert not torch.allclose(other, series.choice, atol=0.1)


def test_votes_sharpen_the_border_of_a_pair(monkeypatch):
    (photograph, a, b), head, errors = series(), FusionHead(choose=True).eval(), []
    for gain in (IN_PAIRS, 0.0):
        monkeypatch.setattr("models.choice.IN_PAIRS", gain)
        with torch.inference_mode():
            errors.append((head.decompose(a, b, task="MFF").fused - photograph).square().mean())
    assert errors[0] < 0.98 * errors[1]


def test_every_weight_of_the_decision_learns():
    head = FusionHead(choose=True)
    photograph, a, b = series(64)
    (head(a, b, (a + b) / 2, task=torch.tensor([FOCUS])).fused - photograph).square().mean().backward()
    assert head.choice.answer.weight.grad.abs().sum() > 0
    assert head.choice.shares.grad.abs().min() > 0 and head.choice.log_gain.grad.abs() > 0
    alone = FusionHead(choose=True, only_choice=True)
    assert {name.split(".")[0] for name, p in alone.named_parameters() if p.requires_grad} == {"choice"}


def test_files_without_a_decision_still_load():
    torch.manual_seed(0)
    older, head = FusionHead(), FusionHead(choose=True)
    torch.nn.init.normal_(older.corrections.answers[0].weight)
    load_state(head, older.state_dict(), Path("older.safetensors"))
    assert torch.equal(head.corrections.answers[0].weight, older.corrections.answers[0].weight)
    assert not head.choice.answer.weight.any()
