"""Bad input is refused in one clear line, or gives the value that the documentation promises."""

import logging
import math

import numpy as np
import pytest

from metrics import COMMON, METRICS, compute, expand
from tests.metrics.triples import textured_triple
from utils.errors import UserError

A, B, F = textured_triple()
EVERY = [name for name, metric in METRICS.items() if "t" not in metric.inputs]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (A[:100], "source A is 190 x 100 pixels, the fused image 190 x 200"),
        (A[:0], "source A is empty"),
        (A / 255, "source A is float64.*times 255"),
        (np.where(A > 200, np.nan, A / 255), "source A holds NaN"),
        (A.astype(np.uint16), "source A is uint16.*divide by 257"),
        (A > 9, "source A is bool"),
        (A.tolist(), "source A is a list"),
        (None, "source A is a NoneType"),
        (np.dstack([A] * 4), r"source A has shape \(200, 190, 4\)"),
        (A[0], r"source A has shape \(190,\)"),
    ],
)
def test_bad_pictures_are_refused(bad, message):
    with pytest.raises(UserError, match=message):
        compute("common", bad, B, F)


def test_unknown_names_get_the_nearest():
    with pytest.raises(UserError, match="unknown metric 'SSIMM'; nearest: SSIM"):
        compute(["EN", "SSIMM"], A, B, F)
    with pytest.raises(UserError, match="nearest: Qabf"):
        expand("qab_f")


def test_unknown_colour_is_refused():
    with pytest.raises(UserError, match="give 'grey' or 'channels'"):
        compute("common", A, B, F, colour="rgb")


def test_missing_ground_truth_is_refused():
    with pytest.raises(UserError, match="PSNR_truth compare"):
        compute(["PSNR_truth"], A, B, F)


def test_groups_of_names():
    assert expand("common") == list(COMMON)
    assert expand("none") == []
    assert len(expand("all")) == 42 and set(COMMON) < set(expand("all"))
    assert expand("SSIM, VIF") == ["SSIM", "VIF"]
    assert expand(["common", "SSIM", "Q_P", "SSIM@CDDFuse"]) == [*COMMON, "Q_P", "SSIM@CDDFuse"]
    assert compute("none", A, B, F) == {}
    assert list(compute(["VIF", "EN"], A, B, F)) == ["VIF", "EN"]


@pytest.mark.parametrize("level", [0, 90])
@pytest.mark.parametrize("constant", ["a", "b", "f", "abf"])
def test_constant_images_give_a_number_or_nan_quietly(constant, level, recwarn):
    pictures = {"a": A, "b": B, "f": F}
    pictures |= {k: np.full_like(A, level) for k in constant}
    values = compute(EVERY, **pictures)
    assert set(values) == set(EVERY) and all(isinstance(v, float) for v in values.values())
    assert not recwarn.list


def test_constant_images_give_the_documented_values():
    flat = np.full_like(A, 90)
    undefined = ["Q_MI", "Q_TE", "Q_NCIE", "CC", "Q_P", "Q_CV", "Q_CB"]
    assert all(math.isnan(v) for v in compute(undefined, A, B, flat).values())
    assert all(math.isnan(v) for v in compute([*undefined, "SCD", "VIF"], flat, B, F).values())
    assert compute(["EN", "SD", "MI", "VIF", "VIF@CDDFuse"], A, B, flat) == pytest.approx(
        {"EN": 0, "SD": 0, "MI": 0, "VIF": 0, "VIF@CDDFuse": 0}, abs=1e-12
    )
    assert compute(["VIF@CDDFuse"], flat, flat, F) == {"VIF@CDDFuse": 2}


def test_fused_image_equal_to_a_source():
    values = compute(["SCD", "CC", "SSIM"], A, B, A)
    assert math.isnan(values["SCD"]) and values["CC"] > 0.49 and values["SSIM"] > 1


@pytest.mark.parametrize("name", EVERY)
def test_smallest_side(name):
    side = METRICS[name].min_side
    patch = [p[:side, :side] for p in textured_triple(seed=5)]
    value = compute([name], *patch)[name]
    if side > 3:  # on a handful of pixels correlations and the like have nothing to divide by
        assert math.isfinite(value)
    if side > 1:
        short = [p[: side - 1, :64] if side <= 64 else p[: side - 1] for p in patch]
        assert math.isnan(compute([name], *short)[name])


def test_too_small_is_said_once(caplog):
    small = [np.ascontiguousarray(p[:33, :37]) for p in (A, B, F)]
    with caplog.at_level(logging.WARNING, logger="metrics"):
        first = compute("common", *small)
        compute("common", *small)
    assert math.isnan(first["VIF"]) and math.isfinite(first["SSIM"])
    assert [r.getMessage() for r in caplog.records] == [
        "VIF needs images of 41 pixels a side or more; 37 x 33 gives NaN"
    ]


def test_views_and_read_only_arrays_are_fine():
    flipped = [p[::-1, ::-1] for p in (A, B, F)]
    for p in flipped:
        p.flags.writeable = False
    assert compute("common", *flipped) == compute("common", *(p.copy() for p in flipped))


def test_colour_of_equal_channels_is_grey():
    grey = compute("common", A, B, F)
    coloured = [np.dstack([p] * 3) for p in (A, B, F)]
    assert compute("common", *coloured) == pytest.approx(grey, rel=1e-12)
    assert compute("common", *coloured, colour="channels") == pytest.approx(grey, rel=1e-12)
    assert compute("common", A[:, :, None], B, coloured[2], colour="channels") == pytest.approx(grey, rel=1e-12)


def test_channels_are_averaged_and_a_grey_source_serves_each():
    fused = np.dstack([F, A, B])
    values = compute(["MI", "SSIM"], A, np.dstack([B, F, A]), fused, colour="channels")
    parts = [compute(["MI", "SSIM"], A, b, f) for b, f in ((B, F), (F, A), (A, B))]
    assert values == pytest.approx({n: np.mean([p[n] for p in parts]) for n in values}, rel=1e-12)


def test_grey_fused_image_turns_the_sources_grey():
    sources = np.dstack([A, B, F]), np.dstack([B, B, A])
    assert compute("common", *sources, F, colour="channels") == compute("common", *sources, F, colour="grey")


def test_colour_is_scored_by_the_toolboxes_grey():
    """Pure red, green and blue are the levels 76, 150 and 29 (BT.601); BT.709 or one channel would give others."""
    kinds = np.random.default_rng(0).integers(0, 3, (3, 40, 50))
    colours, levels = np.eye(3, dtype=np.uint8)[kinds] * 255, np.uint8([76, 150, 29])[kinds]
    names = ["EN", "SD", "MI", "CC"]
    assert compute(names, *colours) == compute(names, *levels)
    assert compute(["SD"], *colours)["SD"] == pytest.approx(levels[2].std(), rel=1e-3)
