"""The table of all metrics: name, definition, inputs, range, direction, cost."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Literal

from . import (
    contrast,
    edges,
    fmi,
    gradient,
    information,
    mef_ssim,
    perceptual,
    phase,
    quality_index,
    reference,
    structure,
    targets,
)
from .triple import Triple

Better = Literal["higher", "lower", "nearest0"]
Cost = Literal["instant", "fast", "slow"]


@dataclass(frozen=True)
class Metric:
    """One metric as one toolbox (or textbook) defines it.

    Attributes:
        name: name for users: plain ("SSIM") or with a toolbox ("SSIM@CDDFuse").
        key: full definition, METRIC@TOOLBOX; the suffix "-flat" marks the fixed rule for flat windows.
        function: from a triple of grey images to the value.
        better: which direction is better; "nearest0": the smaller magnitude.
        low, high: range of the values.
        cost: at 480 x 640 on one core; "instant" below 20 ms, "fast" below 0.2 s, "slow" above.
        min_side: smallest image side; below it the value is NaN.
        says: one line about what it measures.
        inputs: images that it uses: "a", "b" sources, "f" fused, "t" ground truth.
        grey_only: computed on grey images even with ``colour="channels"``.
    """

    name: str
    key: str
    function: Callable[[Triple], float]
    better: Better
    low: float
    high: float
    cost: Cost
    min_side: int
    says: str
    inputs: tuple[str, ...] = ("a", "b", "f")
    grey_only: bool = False

    @property
    def family(self) -> str:
        """Module that computes it; metrics of one family share intermediate results."""
        return self.function.__module__.rpartition(".")[2]

    @property
    def base(self) -> str:
        """Name without the toolbox."""
        return self.name.partition("@")[0]

    @property
    def is_default(self) -> bool:
        """Whether it is the definition of a plain name; variants are named by their key."""
        return self.name != self.key

    @property
    def definition(self) -> str:
        """Its section in the documentation."""
        return f"docs/METRICS.md#{_HEADINGS.get(self.base, self.base).lower()}"


# Names documented under the heading of another name.
_HEADINGS = {
    "MI_bits": "MI", "SSIM_mean": "SSIM", "SSIM_truth": "PSNR_truth", "PSNR_true": "PSNR", "Q_TE185": "Q_TE",
    "Q_TE_textbook": "Q_TE", "MS_SSIM_A": "MS_SSIM", "MS_SSIM_B": "MS_SSIM", "MEF_SSIM_scale1": "MEF_SSIM",
    "MEF_SSIM_scale2": "MEF_SSIM", "MEF_SSIM_scale3": "MEF_SSIM", "LABF": "Nabf", "NABF1": "Nabf", "QABFw": "Nabf",
    "FMI_pixel": "FMI", "FMI_gradient": "FMI", "FMI_dct": "FMI", "FMI_wavelet": "FMI",
}  # fmt: skip

F, TRUTH = ("f",), ("f", "t")
_c, _e, _g, _i, _p, _q, _r, _s = (
    contrast, edges, gradient, information, perceptual, quality_index, reference, structure,
)  # fmt: skip

_DEFAULTS = [
    Metric("EN", "EN@VIFB", _i.en, "higher", 0, 8, "instant", 1, "spread of F's grey levels, bits", F),
    Metric("SD", "SD@VIFB", _r.sd, "higher", 0, 127.5, "instant", 1, "contrast of F", F),
    Metric("AG", "AG@VIFB", _g.ag, "higher", 0, inf, "instant", 2, "mean gradient of F", F),
    Metric("SF", "SF@VIFB", _g.sf, "higher", 0, inf, "instant", 2, "activity of F from pixel to pixel", F),
    Metric("EI", "EI@VIFB", _g.ei, "higher", 0, inf, "instant", 3, "mean Sobel magnitude of F", F),
    Metric("CE", "CE@VIFB", _i.ce, "lower", -inf, inf, "instant", 1, "grey histogram of F against the sources'"),
    Metric("MI", "MI@VIFB", _i.mi, "higher", 0, inf, "instant", 1, "level information shared with both, nats"),
    Metric("MI_bits", "MI_bits@CDDFuse", _i.mi_bits, "higher", 0, 16, "instant", 1, "MI in bits"),
    Metric("Q_MI", "Q_MI@MEFB", _i.q_mi, "higher", 0, 2, "instant", 1, "MI normalised by the entropies"),
    Metric("Q_TE", "Q_TE@MEFB", _i.q_te, "higher", -inf, inf, "instant", 1, "Tsallis MI, swapped marginals kept"),
    Metric("Q_NCIE", "Q_NCIE@MEFB", _i.q_ncie, "higher", 0.8, 1, "instant", 1, "joint correlation of A, B, F"),
    Metric("FMI_pixel", "FMI_pixel@Tang", fmi.fmi_pixel, "higher", 0, 1, "slow", 3, "pixel order in 3 x 3 windows"),
    Metric("FMI_gradient", "FMI_gradient@Tang", fmi.fmi_gradient, "higher", 0, 1, "slow", 3, "same, x derivative"),
    Metric("FMI_dct", "FMI_dct@Tang", fmi.fmi_dct, "higher", 0, 1, "slow", 3, "same, cosine transform"),
    Metric("FMI_wavelet", "FMI_wavelet@Tang-flat", fmi.fmi_wavelet, "higher", 0, 1, "slow", 3, "same, wavelet"),
    Metric("MSE", "MSE@CDDFuse", _r.mse, "lower", 0, 65025, "instant", 1, "mean squared error to both"),
    Metric("RMSE", "RMSE@VIFB", _r.rmse, "lower", 0, inf, "instant", 1, "root error, divided by image size again"),
    Metric("PSNR", "PSNR@VIFB", _r.psnr, "higher", 0, inf, "instant", 1, "from RMSE@VIFB; not the textbook's"),
    Metric("CC", "CC@CDDFuse", _r.cc, "higher", -1, 1, "instant", 2, "mean correlation with both"),
    Metric("SCD", "SCD@CDDFuse", _r.scd, "higher", -2, 2, "instant", 2, "correlation of what was added to each"),
    Metric("SSIM", "SSIM@VIFB", _s.ssim, "higher", -2, 2, "fast", 11, "structural similarity to both, summed"),
    Metric("SSIM_mean", "SSIM@VIFB-mean", _s.ssim_mean, "higher", -1, 1, "fast", 11, "half of SSIM"),
    Metric("MS_SSIM", "MS_SSIM@Wang-mean", _s.ms_ssim_mean, "higher", 0, 1, "fast", 176, "SSIM on five scales"),
    Metric("MEF_SSIM", "MEF_SSIM@MEFB", mef_ssim.mef_ssim, "higher", 0, 1, "fast", 44,
           "structure of an exposure stack kept", grey_only=True),
    Metric("Q_S", "Q_S@Liu-flat", _q.q_s, "higher", -1, 1, "fast", 11, "SSIM to the more varied source"),
    Metric("Q_W", "Q_W@MEFB-flat", _q.q_w, "higher", -1, 1, "fast", 11, "same on gradients, weighted"),
    Metric("Q_E", "Q_E@composed-flat", _q.q_e, "higher", -1, 1, "fast", 11, "same on pixels times on gradients"),
    Metric("Q_C", "Q_C@MEFB-flat", _q.q_c, "higher", -1, 1, "fast", 11, "similarity weighted by covariance"),
    Metric("Q_Y", "Q_Y@MEFB-flat", _q.q_y, "higher", -1, 1, "fast", 11, "similarity to the better source"),
    Metric("Qabf", "Qabf@VIFB", _e.qabf, "higher", 0, 0.99, "fast", 3, "edge strength and direction kept"),
    Metric("Q_G", "Q_G@Liu", _e.q_g, "higher", 0, 1, "fast", 3, "same, flat areas count as much"),
    Metric("Nabf", "Nabf@Tang", _e.nabf, "lower", 0, 1, "fast", 3, "edges invented by the fusion"),
    Metric("LABF", "LABF@Tang", _e.labf, "lower", 0, 1, "fast", 3, "edges lost by the fusion"),
    Metric("Q_M", "Q_M@Liu", _g.q_m, "higher", 0, 3, "instant", 4, "wavelet details kept exactly"),
    Metric("Q_SF", "Q_SF@Liu", _g.q_sf, "nearest0", -1, inf, "instant", 2, "excess of activity over the sources"),
    Metric("Q_P", "Q_P@MEFB", phase.q_p, "higher", 0, 1, "slow", 16, "contours (phase congruency) found again"),
    Metric("Q_CV", "Q_CV@VIFB", _c.q_cv, "lower", 0, inf, "fast", 1, "visible error near strong edges"),
    Metric("Q_CB", "Q_CB@VIFB", _c.q_cb, "higher", 0, 1, "fast", 1, "local contrast kept"),
    Metric("VIF", "VIF@Tang-flat", _p.vif, "higher", 0, inf, "fast", 41, "visual information of both kept, summed"),
    Metric("VIFF", "VIFF@MEFB-flat", _p.viff, "higher", 0, 1, "fast", 41, "visual information of the worse-kept"),
    Metric("TCK", "TCK@infrared", targets.tck, "higher", -1, 1.2, "instant", 1, "infrared contrast of targets kept"),
    Metric("TCV", "TCV@infrared", targets.tcv, "higher", 0, 1.2, "instant", 1, "targets seen, warm or dark"),
]  # fmt: skip

_VARIANTS = {
    "EN": {"EN@VIFB": _i.en, "EN@MEFB": _i.en, "EN@Tang": _i.en, "EN@CDDFuse": _i.en},
    "SD": {"SD@VIFB": _r.sd, "SD@MEFB": _r.sd, "SD@Tang": _r.sd, "SD@CDDFuse": _r.sd},
    "AG": {"AG@VIFB": _g.ag, "AG@MEFB": _g.ag, "AG@Tang": _g.ag, "AG@CDDFuse": _g.ag_cddfuse},
    "SF": {"SF@VIFB": _g.sf, "SF@MEFB": _g.sf, "SF@Tang": _g.sf_cddfuse, "SF@CDDFuse": _g.sf_cddfuse},
    "EI": {"EI@VIFB": _g.ei, "EI@MEFB": _g.ei},
    "CE": {"CE@VIFB": _i.ce, "CE@MEFB": _i.ce},
    "MI": {"MI@VIFB": _i.mi, "MI@CDDFuse": _i.mi},
    "MI_bits": {"MI_bits@CDDFuse": _i.mi_bits, "MI_bits@Tang": _i.mi_bits_tang},
    "Q_MI": {"Q_MI@MEFB": _i.q_mi, "Q_MI@Liu": _i.q_mi},
    "Q_TE": {
        "Q_TE@MEFB": _i.q_te, "Q_TE@Liu": _i.q_te_liu, "Q_TE185@Liu": _i.q_te, "Q_TE_textbook": _i.q_te_textbook,
    },
    "Q_NCIE": {"Q_NCIE@MEFB": _i.q_ncie, "Q_NCIE@Liu": _i.q_ncie},
    "FMI_pixel": {"FMI_pixel@Tang": fmi.fmi_pixel},
    "FMI_gradient": {"FMI_gradient@Tang": fmi.fmi_gradient},
    "FMI_dct": {"FMI_dct@Tang": fmi.fmi_dct},
    "FMI_wavelet": {"FMI_wavelet@Tang-flat": fmi.fmi_wavelet, "FMI_wavelet@Tang": fmi.fmi_wavelet_plain},
    "MSE": {"MSE@CDDFuse": _r.mse, "MSE@Tang": _r.mse_tang},
    "RMSE": {"RMSE@VIFB": _r.rmse},
    "PSNR": {
        "PSNR@VIFB": _r.psnr, "PSNR@MEFB": _r.psnr, "PSNR@Tang": _r.psnr_tang, "PSNR@CDDFuse": _r.psnr_cddfuse,
        "PSNR_true": _r.psnr_true, "PSNR_truth": _r.psnr_truth,
    },
    "CC": {"CC@CDDFuse": _r.cc, "CC@Tang": _r.cc},
    "SCD": {"SCD@CDDFuse": _r.scd, "SCD@Tang": _r.scd},
    "SSIM": {"SSIM@VIFB": _s.ssim, "SSIM@CDDFuse": _s.ssim_cddfuse},
    "SSIM_mean": {"SSIM@VIFB-mean": _s.ssim_mean, "SSIM@Tang": _s.ssim_tang, "SSIM_truth": _s.ssim_truth},
    "MS_SSIM": {
        "MS_SSIM@Wang-mean": _s.ms_ssim_mean, "MS_SSIM_A@Wang": _s.ms_ssim_a, "MS_SSIM_B@Wang": _s.ms_ssim_b,
    },
    "MEF_SSIM": {
        "MEF_SSIM@MEFB": mef_ssim.mef_ssim,
        "MEF_SSIM_scale1@MEFB": mef_ssim.mef_ssim_scale1,
        "MEF_SSIM_scale2@MEFB": mef_ssim.mef_ssim_scale2,
        "MEF_SSIM_scale3@MEFB": mef_ssim.mef_ssim_scale3,
    },
    "Q_S": {"Q_S@Liu-flat": _q.q_s, "Q_S@Liu": _q.q_s_plain},
    "Q_W": {
        "Q_W@MEFB-flat": _q.q_w, "Q_W@MEFB": _q.q_w_plain, "Q_W@Liu-flat": _q.q_w_liu, "Q_W@Liu": _q.q_w_liu_plain,
    },
    "Q_E": {"Q_E@composed-flat": _q.q_e},
    "Q_C": {"Q_C@MEFB-flat": _q.q_c, "Q_C@MEFB": _q.q_c_plain, "Q_C@Liu": _q.q_c_liu},
    "Q_Y": {"Q_Y@MEFB-flat": _q.q_y, "Q_Y@MEFB": _q.q_y_plain, "Q_Y@Liu": _q.q_y_liu},
    "Qabf": {
        "Qabf@VIFB": _e.qabf, "Qabf@MEFB": _e.qabf, "Qabf@Tang": _e.qabf_plain, "Qabf@CDDFuse": _e.qabf_plain,
    },
    "Q_G": {"Q_G@Liu": _e.q_g},
    "Nabf": {
        "Nabf@Tang": _e.nabf, "Nabf@Tang-as-called": _e.nabf_as_called, "NABF1@Tang": _e.nabf_first_form,
    },
    "LABF": {"LABF@Tang": _e.labf},
    "Q_M": {"Q_M@Liu": _g.q_m},
    "Q_SF": {"Q_SF@Liu": _g.q_sf},
    "Q_P": {"Q_P@MEFB": phase.q_p, "Q_P@Liu": phase.q_p},
    "Q_CV": {"Q_CV@VIFB": _c.q_cv, "Q_CV@MEFB": _c.q_cv, "Q_CV@Liu": _c.q_cv},
    "Q_CB": {"Q_CB@VIFB": _c.q_cb, "Q_CB@Liu": _c.q_cb, "Q_CB@MEFB": _c.q_cb_mefb},
    "VIF": {"VIF@Tang-flat": _p.vif, "VIF@Tang": _p.vif_plain, "VIF@CDDFuse": _p.vif_cddfuse},
    "VIFF": {"VIFF@MEFB-flat": _p.viff, "VIFF@MEFB": _p.viff_plain},
    "TCK": {"TCK@infrared": targets.tck},
    "TCV": {"TCV@infrared": targets.tcv},
}  # fmt: skip

# Variants that differ from their namesake in more than the function.
_CHANGES = {
    "Q_TE_textbook": {"low": 0, "high": inf, "says": "Tsallis MI, marginals as the formula has them"},
    "MSE@Tang": {"high": 1},
    "PSNR@CDDFuse": {"low": -inf},
    "PSNR_true": {"says": "10 log10(255² / MSE)"},
    "PSNR_truth": {"says": "PSNR against a ground truth", "inputs": TRUTH},
    "SSIM_truth": {"says": "SSIM against a ground truth", "inputs": TRUTH},
    "SSIM@CDDFuse": {"min_side": 7},
    "SSIM@Tang": {"min_side": 1},
    "MS_SSIM_A@Wang": {"inputs": ("a", "f")},
    "MS_SSIM_B@Wang": {"inputs": ("b", "f")},
    "MEF_SSIM_scale1@MEFB": {"low": -1, "min_side": 11},
    "MEF_SSIM_scale2@MEFB": {"low": -1, "min_side": 22},
    "MEF_SSIM_scale3@MEFB": {"low": -1},
    "NABF1@Tang": {"high": 2},
    # Rounding noise in flat windows is unbounded.
    "Q_C@MEFB": {"low": -inf, "high": inf},
    "Q_C@Liu": {"low": -inf, "high": inf},
    "Q_Y@MEFB": {"low": -inf, "high": inf},
    "Q_Y@Liu": {"low": -inf, "high": inf},
}


def _build() -> dict[str, Metric]:
    table = {metric.name: metric for metric in _DEFAULTS}
    table["QABFw@Tang"] = Metric(
        "QABFw@Tang", "QABFw@Tang", _e.qabf_weighted, "higher", 0, 1, "fast", 3, "what LABF and Nabf leave"
    )
    for base, variants in _VARIANTS.items():
        for key, function in variants.items():
            table[key] = replace(table[base], name=key, key=key, function=function, **_CHANGES.get(key, {}))
    return table


METRICS: dict[str, Metric] = _build()
"""Every metric by name: the defaults first, then all toolbox variants."""

COMMON = ("EN", "SD", "SF", "AG", "MI", "SCD", "VIF", "Qabf", "SSIM", "CC")
"""The ten that papers report most."""
