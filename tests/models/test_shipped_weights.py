"""The weights that the project ships: better than no learning on pairs with a known answer, and no window shows."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from data.demo import load_photograph
from data.registry import SCENARIOS
from metrics import compute
from models import head_windows
from models.baselines import SaliencePyramid
from models.fuser import Fuser

SIDE = 256
ROOT = Path(__file__).resolve().parents[2]


@cache
def shipped() -> Fuser:
    return Fuser.from_pretrained(device="cpu", amp="off")


def photograph(name: str) -> torch.Tensor:
    """The middle of a demo photograph, (1, 3, SIDE, SIDE) in [0, 1]."""
    pixels = load_photograph(name)
    top, left = (pixels.shape[0] - SIDE) // 2, (pixels.shape[1] - SIDE) // 2
    crop = pixels[top:top + SIDE, left:left + SIDE]
    return torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1)))[None]


@cache
def pairs(scenario: str) -> torch.Tensor:
    """Damaged photographs, (2, B, 3, SIDE, SIDE), and what they were, (1, B, ...), in one."""
    x = torch.cat([photograph(name) for name in ("astronaut", "cat", "coffee", "rocket")])
    sample = SCENARIOS.get(scenario)(x, torch.Generator().manual_seed(3))
    return torch.stack([sample.x1, sample.x2, sample.target])


@pytest.mark.parametrize("size", ((96, 128), (67, 45)))
def test_pictures_are_those_of_the_release(size):
    """Every seventh row and fifth column of what version 0.2.0 made of two pictures by formula, border included."""
    def picture(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.rand(1, 3, *size, generator=generator)
        coarse = torch.rand(1, 3, 6, 7, generator=generator)
        return 0.3 * noise + 0.7 * torch.nn.functional.interpolate(coarse, size, mode="bilinear")

    first, second = picture(1), picture(2)
    with torch.inference_mode():
        out = shipped().model.decompose(first, second)
        told = {task: shipped().model.decompose(first, second, task=task, roles=roles).fused[0]
                for task, roles in (("IVF", ("infrared", "visible")), ("MEF", ()), ("MFF", ()))}
    got = told | {"decompose": out.fused[0], "unique1": out.unique1[0], "fuser": shipped()(first[0], second[0]).fused}
    with np.load(ROOT / "tests/golden/fusion_head.npz") as golden:
        for name, value in got.items():
            want = golden[f"{size[0]}x{size[1]}/{name}"]
            np.testing.assert_allclose(value[:, ::7, ::5].numpy(), want, rtol=0, atol=1e-5, err_msg=name)


def psnr(fused: torch.Tensor, target: torch.Tensor) -> float:
    return float((-10 * (fused.clamp(0, 1) - target).square().mean(dim=(1, 2, 3)).log10()).mean())


def test_the_published_network_gives_a_clean_pair_back_and_learns_exposures_from_the_mixture():
    first, second, target = (x[..., :224, :224] for x in pairs("exposure"))
    same, exposed = {}, {}
    for name in ("defusionpp_cud", "defusionpp_mixed"):
        network = Fuser.from_pretrained(name, device="cpu", amp="off").model
        with torch.inference_mode():
            same[name] = psnr(network.decompose(target, target).fused, target)
            exposed[name] = psnr(network.decompose(first, second).fused, target)
    assert same["defusionpp_cud"] > 28 and same["defusionpp_mixed"] > 31
    assert exposed["defusionpp_mixed"] > exposed["defusionpp_cud"] + 6


def test_focus_pairs_come_nearer_to_the_photograph_than_by_the_pyramid():
    first, second, target = pairs("focus")
    with torch.inference_mode():
        learned = shipped().model.decompose(first, second).fused
        pyramid = SaliencePyramid().decompose(first, second).fused
    assert psnr(learned, target) > psnr(pyramid, target) + 1


@pytest.mark.parametrize("scenario", ("focus", "exposure"))
def test_edges_are_kept_better_than_by_the_pyramid(scenario):
    scores = {"learned": [], "pyramid": []}
    first, second, _ = pairs(scenario)
    for one, two in zip(first, second):
        for name, model in (("learned", shipped().model), ("pyramid", SaliencePyramid())):
            with torch.inference_mode():
                fused = model.decompose(one[None], two[None]).fused[0].clamp(0, 1)
            pixels = [(x.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8) for x in (one, two, fused)]
            scores[name].append(compute(("Qabf",), *pixels)["Qabf"])
    assert np.mean(scores["learned"]) > np.mean(scores["pyramid"])


@pytest.mark.parametrize("count, task", ((2, "none"), (2, "IVF"), (2, "MEF"), (2, "MFF"), (3, "none"), (3, "MFF")))
def test_parts_of_a_large_picture_make_the_whole(count, task, monkeypatch):
    """Part by part as at once, to a hundredth of a level at every pixel: seams, borders and odd sides included."""
    first, second, _ = (torch.cat([x[0], x[1]], dim=-1)[..., :461, :499] for x in map(list, pairs("exposure")))
    pictures = [torch.cat([x, x.flip(1)], dim=1)[:, :461] for x in (first, second, (first + second) / 2)][:count]
    told = {"IVF": (("infrared", "visible", "none")[:count], "IVF")}.get(task, ((), task))

    def run() -> dict[str, torch.Tensor]:
        with torch.inference_mode():
            return shipped().run(pictures, roles=told[0], task=told[1], shares=True)

    at_once = run()
    monkeypatch.setattr(head_windows, "LARGEST", 1)
    monkeypatch.setattr(head_windows, "AREA", count * 360**2)
    parts = head_windows.split(496, 544, 360**2)
    assert len(parts) >= 4 and max(len(range(*part.rows.indices(496))) for part in parts) < 250
    got = run()
    assert got.keys() == at_once.keys() and len(got) == (5 if count == 2 else 2)
    for name, want in at_once.items():
        assert (got[name] - want).abs().max() < 0.01 / 255, name


def test_weights_name_the_picture_that_is_followed():
    """A focus series with one sharp third each: the weight is largest there; a pair's is that of its components."""
    sharp = pairs("exposure")[2][0][:, :120, :180]
    soft = torch.from_numpy(cv2.GaussianBlur(sharp.permute(1, 2, 0).numpy(), (0, 0), 3)).permute(2, 0, 1)
    thirds = [torch.where(torch.arange(180) * 3 // 180 == third, sharp, soft) for third in range(3)]
    fusion = shipped()(*thirds, task="MFF", weights=True)
    assert fusion.weights.shape == (3, 120, 180) and (fusion.weights.sum(dim=0) - 1).abs().max() < 1e-5
    inner = [fusion.weights[:, 10:-10, 60 * third + 12:60 * third + 48].mean(dim=(1, 2)) for third in range(3)]
    assert all(means.argmax() == third and means.max() > 0.7 for third, means in enumerate(inner)), inner
    assert shipped()(*thirds, task="MFF").weights is None
    pair = shipped()(*thirds[:2], weights=True)
    parts = (2 * pair.weights - 1).clamp(min=0) * torch.stack([x.mean(dim=0) for x in thirds[:2]])
    for part, unique in zip(parts, (pair.unique1, pair.unique2)):
        assert (unique.mean(dim=0) - part).abs().max() < 1e-4


def test_the_order_of_the_pair_has_no_say():
    first, second, _ = (x[0] for x in pairs("thermal"))
    one, two = (shipped()(*pair, components=False).fused for pair in ((first, second), (second, first)))
    assert (one - two).abs().max() < 1e-3
