"""What must hold for any images: sources can be swapped, equal images reach the best value, parts add up."""

import math

import numpy as np
import pytest

from metrics import METRICS, compute, expand
from tests.metrics.triples import read_triple, textured_triple

ALL = expand("all")
# One source is treated first and leaves a trace (FMI, Q_G), is named (A, B; infrared), wins ties (VIFF), or scores 1
# where the other would score 0 (Q_C).
ORDERED = {
    "FMI_pixel", "FMI_gradient", "FMI_dct", "FMI_wavelet", "FMI_pixel@Tang", "FMI_gradient@Tang", "FMI_dct@Tang",
    "FMI_wavelet@Tang", "FMI_wavelet@Tang-flat", "Q_G", "Q_G@Liu", "MS_SSIM_A@Wang", "MS_SSIM_B@Wang",
    "Nabf@Tang-as-called", "VIFF", "VIFF@MEFB", "VIFF@MEFB-flat", "Q_C", "Q_C@MEFB", "Q_C@Liu",
    "Q_C@MEFB-flat", "TCK", "TCK@infrared", "TCV", "TCV@infrared",
}  # fmt: skip
EQUAL_IMAGES = {
    "CE": 0, "Q_MI": 2, "FMI_pixel": 1, "FMI_gradient": 1, "FMI_dct": 1, "FMI_wavelet": 1, "MSE": 0, "RMSE": 0,
    "PSNR": math.inf, "PSNR_true": math.inf, "CC": 1, "SSIM": 2, "SSIM_mean": 1, "SSIM@CDDFuse": 2, "SSIM@Tang": 1,
    "MS_SSIM": 1, "MEF_SSIM": 1, "Q_S": 1, "Q_W": 1, "Q_E": 1, "Q_C": 1, "Q_Y": 1, "Nabf": 0, "Q_M": 3, "Q_SF": 0,
    "Q_CV": 0, "Q_CB": 1, "VIF": 2, "VIFF": 1,
}  # fmt: skip


def test_sources_can_be_swapped():
    a, b, f = textured_triple()
    names = [m.name for m in METRICS.values() if m.name not in ORDERED and "t" not in m.inputs]
    forth, back = compute(names, a, b, f), compute(names, b, a, f)
    assert {n: back[n] for n in names} == pytest.approx({n: forth[n] for n in names}, rel=1e-10)


def test_the_order_matters_little_where_it_matters():
    a, b, f = textured_triple()
    names = ["FMI_pixel", "FMI_gradient", "FMI_dct", "FMI_wavelet", "Q_G", "VIFF"]
    assert compute(names, b, a, f) == pytest.approx(compute(names, a, b, f), rel=1e-2)


@pytest.mark.parametrize("name", EQUAL_IMAGES)
def test_equal_images_reach_the_known_value(name):
    a, _, _ = textured_triple()
    assert compute([name], a, a, a)[name] == pytest.approx(EQUAL_IMAGES[name], abs=1e-9)


def test_equal_images_beat_any_other_fused_image():
    a, _, f = textured_triple()
    names = [n for n in ALL if len(METRICS[n].inputs) == 3 and n not in ("CE", "SCD", "Q_TE")]
    ideal, other = compute(names, a, a, a), compute(names, a, a, f)
    for name in names:
        better = METRICS[name].better
        if better == "nearest0":
            assert abs(ideal[name]) <= abs(other[name]), name
        else:
            assert (ideal[name] >= other[name]) if better == "higher" else (ideal[name] <= other[name]), name


def test_values_lie_in_the_range_of_the_table():
    for triple in (textured_triple(), read_triple("s2"), read_triple("s5")):
        for name, value in compute([m for m in METRICS if "t" not in METRICS[m].inputs], *triple).items():
            low, high = METRICS[name].low, METRICS[name].high
            assert math.isnan(value) or low - 1e-9 <= value <= high + 1e-9, (name, value)


def odd_picture(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Noise, a constant, black and white, half black, or a ramp; grey or colour."""
    kind, channels = generator.integers(5), (1, 3)[generator.integers(2)]
    picture = generator.integers(0, 256, (*shape, channels), dtype=np.uint8)
    if kind == 1:
        picture[:] = generator.integers(256)
    elif kind == 2:
        picture = (picture > 127).astype(np.uint8) * 255
    elif kind == 3:
        picture[: shape[0] // 2] = 0
    elif kind == 4:
        picture[:] = np.arange(shape[1])[None, :, None]
    return picture


@pytest.mark.parametrize("seed", range(12))
def test_odd_pictures_of_any_size_give_values_in_range_or_nan_quietly(seed, recwarn):
    generator = np.random.default_rng(seed)
    shape = tuple(generator.integers(1, 90, 2))
    pictures = [odd_picture(generator, shape) for _ in range(3)]
    names = [m for m in METRICS if "t" not in METRICS[m].inputs]
    for name, value in compute(names, *pictures, colour=("grey", "channels")[seed % 2]).items():
        low, high = METRICS[name].low, METRICS[name].high
        assert math.isnan(value) or low - 1e-9 <= value <= high + 1e-9, (name, value)
    assert not recwarn.list


def test_kept_lost_and_invented_edges_add_to_one():
    parts = compute(["QABFw@Tang", "LABF", "Nabf"], *textured_triple())
    assert sum(parts.values()) == pytest.approx(1, abs=1e-12)


def test_metrics_of_the_fused_image_alone_ignore_the_sources():
    a, b, f = textured_triple()
    alone = [n for n in ALL if METRICS[n].inputs == ("f",)]
    assert alone == ["EN", "SD", "AG", "SF", "EI"]
    assert compute(alone, a, b, f) == compute(alone, b, f, f)


def test_together_as_alone():
    triple = textured_triple()
    together = compute(ALL, *triple)
    assert together == pytest.approx({n: compute([n], *triple)[n] for n in ALL}, rel=1e-14, nan_ok=True)


def test_formulas_from_numpy():
    a, b, f = (p.astype(float) for p in textured_triple())
    values = compute(["SD", "MSE", "PSNR_true", "CC", "SCD"], *textured_triple())

    def r(x, y):
        return np.corrcoef(x.ravel(), y.ravel())[0, 1]

    mse = (np.mean((a - f) ** 2) + np.mean((b - f) ** 2)) / 2
    expected = {
        "SD": f.std(),
        "MSE": mse,
        "PSNR_true": 10 * np.log10(255**2 / mse),
        "CC": (r(a, f) + r(b, f)) / 2,
        "SCD": r(f - b, a) + r(f - a, b),
    }
    assert values == pytest.approx(expected, rel=1e-12)


def test_ground_truth_metrics_agree_with_scikit_image():
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    a, b, f = textured_triple()
    values = compute(["PSNR_truth", "SSIM_truth"], a, b, f, truth=a)
    assert values["PSNR_truth"] == pytest.approx(peak_signal_noise_ratio(a, f), rel=1e-12)
    _, full = structural_similarity(a, f, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True)
    assert values["SSIM_truth"] == pytest.approx(full[5:-5, 5:-5].mean(), rel=1e-9)


def test_ssim_of_tang_is_matlabs_on_doubles():
    from skimage.metrics import structural_similarity

    # MATLAB repeats the border and takes 1 as the range of doubles; no toolbox value exists to compare with.
    padded = [np.pad(p.astype(float), 5, mode="edge") for p in textured_triple()]
    means = []
    for source in padded[:2]:
        options = {"data_range": 1, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        _, full = structural_similarity(source, padded[2], full=True, **options)
        means.append(full[5:-5, 5:-5].mean())
    assert compute(["SSIM@Tang"], *textured_triple())["SSIM@Tang"] == pytest.approx(np.mean(means), rel=1e-8)
