"""Metrics of tensors: the calibrated values, sample by sample, with gradients that are finite and right."""

import logging
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from metrics import COMMON, METRICS
from metrics import compute as calibrated
from metrics.tensors import DIFFERENTIABLE, NAMES, FusionLoss, compute
from tests.conftest import ROOT
from tests.metrics.triples import SYNTHETIC_VALUES, read_triple, textured_triple
from utils.errors import UserError


def triples() -> dict[str, tuple[np.ndarray, ...]]:
    """Pictures that are ordinary, odd in size, equal, constant, copied in parts, saturated or of few levels."""
    a, b, f = textured_triple(61, 87, 3)
    flat, black = np.full_like(a, 77), np.zeros_like(a)
    chosen, bright = np.where(np.arange(87) < 40, a, b), np.where(np.arange(61)[:, None] < 30, 255, a).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (3, 45, 64), dtype=np.uint8)
    return {
        **{name: read_triple(name) for name in SYNTHETIC_VALUES},
        "textured": (a, b, f), "equal": (a, a, a), "copy": (a, b, a), "chosen": (a, b, chosen),
        "flat fused": (a, b, flat), "flat source": (flat, b, f), "all flat": (flat, flat, flat),
        "black": (black, black, black), "black fused": (a, b, black), "noise": tuple(noise),
        "saturated": (bright, b, chosen), "levels": (a // 64 * 64, bright, b // 64 * 64),
        "offset": (a // 2, b, a // 2 + 9), "negative": (a, 255 - a, f),
        "small": textured_triple(43, 40, 1), "tiny": textured_triple(2, 9, 1),
        "line": textured_triple(1, 9, 1),
    }  # fmt: skip


TRIPLES = triples()


def tensors(triple: tuple[np.ndarray, ...], dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """A triple as (1, 1, H, W), floats in [0, 1] or uint8."""
    pictures = [torch.from_numpy(picture.copy())[None, None] for picture in triple]
    return pictures if dtype == torch.uint8 else [(picture.double() / 255).to(dtype) for picture in pictures]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("name", TRIPLES)
def test_values_are_the_calibrated_ones(name, dtype):
    expected = calibrated(list(NAMES), *TRIPLES[name])
    values = {metric: float(value) for metric, value in compute(NAMES, *tensors(TRIPLES[name], dtype)).items()}
    assert values == pytest.approx(expected, rel=1e-6, abs=1e-7, nan_ok=True)


def test_the_names_are_the_common_ten_and_mef_ssim():
    assert set(NAMES) == {*COMMON, "MEF_SSIM"} and list(compute("common", *tensors(TRIPLES["s1"]))) == list(COMMON)
    assert all(METRICS[name].better == "higher" for name in NAMES)  # which FusionLoss and FusionMetric rely on


def test_a_batch_is_scored_picture_by_picture():
    several = [TRIPLES[name] for name in ("textured", "copy", "flat fused", "flat source", "saturated")]
    batch = [torch.cat(pictures) for pictures in zip(*(tensors(triple) for triple in several))]
    together = compute(NAMES, *batch)
    for number, triple in enumerate(several):
        alone = {name: float(value) for name, value in compute(NAMES, *tensors(triple)).items()}
        assert {name: float(value[number]) for name, value in together.items()} == pytest.approx(alone, nan_ok=True)


def test_colour_is_greyed_as_the_toolboxes_do():
    pictures = np.random.default_rng(1).integers(0, 256, (3, 50, 60, 3), dtype=np.uint8)
    given = torch.from_numpy(pictures).permute(0, 3, 1, 2)[:, None]
    values = {name: float(value) for name, value in compute(NAMES, *given).items()}
    assert values == pytest.approx(calibrated(list(NAMES), *pictures), rel=1e-6)
    as_floats = compute("common", *given.float() / 255, rounded=True)
    assert {name: float(as_floats[name]) for name in COMMON} == pytest.approx({name: values[name] for name in COMMON},
                                                                              rel=1e-6)


def test_rounding_gives_what_a_picture_file_gives():
    a, b, f = tensors(TRIPLES["textured"])
    between = (f + 0.3 / 255).clamp(0, 1)
    rounded = compute(NAMES, a, b, between, rounded=True)
    plain, exact = compute(NAMES, a, b, between), compute(NAMES, a, b, f)
    assert all(torch.equal(rounded[name], exact[name]) for name in NAMES)
    assert not torch.equal(plain["SSIM"], exact["SSIM"]) and torch.equal(plain["MI"], exact["MI"])


def test_autocast_and_half_precision_do_not_change_the_sums():
    given = tensors(TRIPLES["textured"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(torch.equal(value, expected) for value, expected in
                   zip(compute(NAMES, *given).values(), compute(NAMES, *given).values()))
        inside = compute("SSIM,VIF", *given)
    assert all(torch.equal(value, expected) for value, expected in
               zip(inside.values(), compute("SSIM,VIF", *given).values()))
    half = compute("SSIM", *(picture.half() for picture in given))["SSIM"]
    assert half.dtype == torch.float32 and float(half) == pytest.approx(float(inside["SSIM"]), rel=1e-3)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_are_the_derivatives(name):
    side = METRICS[name].min_side + 1
    a, b, f = tensors(textured_triple(side, side + 2, 5), torch.float64)
    f = (f + 1e-4 * torch.randn(f.shape, generator=torch.Generator().manual_seed(0), dtype=f.dtype)).requires_grad_()
    assert torch.autograd.gradcheck(lambda fused: compute(name, a, b, fused, check=False)[name], f, fast_mode=True,
                                    eps=1e-7, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_are_finite_for_any_picture(name):
    a, b, _ = tensors(TRIPLES["textured"])
    nearly = 0.3 + 1e-7 * torch.randn(a.shape, generator=torch.Generator().manual_seed(0))
    odd = {"nearly flat": (a, b, nearly), "nothing but rounding": (nearly, nearly + 1e-6, nearly)}
    for case, (first, second, fused) in {**{key: tensors(t) for key, t in TRIPLES.items()}, **odd}.items():
        fused = fused.clone().requires_grad_()
        (FusionLoss({name: 1.0})(first, second, fused) + fused.sum()).backward()
        assert torch.isfinite(fused.grad).all(), case
        if case == "nearly flat" and name == "Qabf":  # the direction of an edge that is none
            assert (fused.grad - 1).abs().max() < 0.1


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_a_few_steps_on_the_pixels_raise_the_metric(name):
    a, b, _ = tensors(textured_triple(50, 52, 2))
    fused = ((a + b) / 2).requires_grad_()
    before = compute(name, a, b, fused)[name].item()
    optimiser, loss = torch.optim.Adam([fused], lr=2e-3), FusionLoss({name: 1.0})
    for _ in range(3):
        optimiser.zero_grad()
        loss(a, b, fused).backward()
        optimiser.step()
    assert compute(name, a, b, fused.detach(), check=False)[name].item() > before


def test_a_constant_between_two_levels_is_constant():
    """Its sum rounds, and what is left of it is no deviation."""
    a, b, f = tensors(TRIPLES["textured"])
    assert compute("CC", a, b, torch.full_like(f, 0.3))["CC"].isnan()


def test_sources_are_constants():
    a, b, f = (picture.requires_grad_() for picture in tensors(TRIPLES["textured"]))
    FusionLoss(dict.fromkeys(DIFFERENTIABLE, 1.0))(a, b, f).backward()
    assert a.grad is None and b.grad is None and f.grad.abs().sum() > 0


def test_a_loss_weighs_the_means_over_the_defined_pictures():
    batch = [torch.cat(pictures) for pictures in zip(tensors(TRIPLES["textured"]), tensors(TRIPLES["flat fused"]))]
    values = compute("SSIM,CC", *batch)
    assert values["CC"][1].isnan()
    expected = -2 * values["SSIM"].mean() - 0.5 * values["CC"][0]
    assert float(FusionLoss({"SSIM": 2, "CC": 0.5})(*batch)) == pytest.approx(float(expected))
    assert float(FusionLoss({"CC": 1})(*tensors(TRIPLES["all flat"]))) == 0


def test_what_cannot_be_scored_is_said_in_one_line(caplog):
    a, b, f = tensors(TRIPLES["textured"])
    with pytest.raises(UserError, match=r"fused image has values in \[0, 255\]; give floats in \[0, 1\] or uint8"):
        compute("SSIM", a, b, (f - f.min()) / (f.max() - f.min()) * 255)
    with pytest.raises(UserError, match=r"fused image has values in .*nan"):
        compute("SSIM", a, b, f * math.nan)
    with pytest.raises(UserError, match=r"source B has shape \(61, 87\); give \(B, 1, H, W\)"):
        compute("SSIM", a, b[0, 0], f)
    with pytest.raises(UserError, match=r"source A is \(1, 1, 60, 87\), the fused image \(1, 1, 61, 87\)"):
        compute("SSIM", a[:, :, 1:], b, f)
    with pytest.raises(UserError, match=r"source A is ndarray"):
        compute("SSIM", a.numpy(), b, f)
    with pytest.raises(UserError, match=r"source A is torch\.int64"):
        compute("SSIM", a.long(), b, f)
    with pytest.raises(UserError, match=r"source A is on meta, the fused image on cpu"):
        compute("SSIM", a.to("meta"), b, f, check=False)
    with pytest.raises(UserError, match=r"Q_CB cannot be computed on tensors; those that can: EN, SD"):
        compute("SSIM,Q_CB", a, b, f)
    with pytest.raises(UserError, match=r"MI count grey levels and have no gradient"):
        FusionLoss({"SSIM": 1, "MI": 1})
    with pytest.raises(UserError, match="a loss of no metric"):
        FusionLoss({})
    with caplog.at_level(logging.WARNING):
        assert compute("VIF", *tensors(textured_triple(40, 52)))["VIF"].isnan()
    assert "VIF needs images of 41 pixels a side or more; 52 x 40 gives NaN" in caplog.text


def test_torchmetrics_give_the_mean_over_the_pictures():
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed (extra downstream)")
    from metrics.scores import Scores
    from metrics.tensors.wrappers import FusionMetric, fusion_metrics

    stems = [name for name in TRIPLES if name not in ("tiny", "line")]
    rows = {name: calibrated(list(NAMES), *TRIPLES[name]) for name in stems}
    expected = Scores(NAMES, rows).mean()
    scores = fusion_metrics(NAMES)
    for name in stems:
        scores.update(*tensors(TRIPLES[name]))
    assert {name: float(value) for name, value in scores.compute().items()} == pytest.approx(expected, rel=1e-6)
    assert all(metric.higher_is_better and not metric.is_differentiable for metric in scores.values())
    scores.reset()
    scores.update(*(torch.cat(pictures) for pictures in zip(*(tensors(TRIPLES[name]) for name in ("equal", "copy")))))
    assert float(scores.compute()["CC"]) == pytest.approx((rows["equal"]["CC"] + rows["copy"]["CC"]) / 2, rel=1e-6)
    undefined = FusionMetric("SCD")
    undefined.update(*tensors(TRIPLES["copy"]))
    assert undefined.compute().isnan()
    with pytest.raises(UserError, match="cannot be computed on tensors"):
        FusionMetric("Q_CB")


def test_two_processes_add_up():
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed (extra downstream)")
    from metrics.tensors.wrappers import FusionMetric

    here, there = FusionMetric("CC"), FusionMetric("CC")
    here.update(*tensors(TRIPLES["textured"]))
    there.update(*(torch.cat([p, p]) for p in tensors(TRIPLES["chosen"])))
    here._reduce_states({"total": there.total, "count": there.count})  # what a sync does with the other's states
    values = [calibrated(["CC"], *TRIPLES[name])["CC"] for name in ("textured", "chosen", "chosen")]
    assert float(here.compute()) == pytest.approx(np.mean(values))


def test_only_this_package_of_the_metrics_needs_pytorch():
    code = "import sys, metrics.evaluate, metrics.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
