"""The one table of metrics: name, definition, inputs, range, direction, cost. Everything else reads it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Literal

from . import gradient, information, perceptual, reference, structure
from .triple import Triple

Better = Literal["higher", "lower", "nearest0"]
Cost = Literal["instant", "fast", "slow"]


@dataclass(frozen=True)
class Metric:
    """One metric as one toolbox (or textbook) defines it.

    Attributes:
        name: what users type: a plain name ("SSIM") or one toolbox's variant ("SSIM@CDDFuse").
        key: definition in full, METRIC@TOOLBOX; "-flat" at its end: flat windows follow a fixed rule.
        function: from a triple of grey images to the value.
        better: which direction is better; "nearest0": the smaller magnitude.
        low, high: range of the values.
        cost: at 480 x 640 on one core; "instant" below 10 ms, "fast" below 0.2 s, "slow" above.
        min_side: smallest image side; below it the value is NaN.
        says: one line on what it measures.
        inputs: images it looks at: "a", "b" sources, "f" fused, "t" ground truth.
        grey_only: computed on grey images even where colour is asked for per channel.
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
        """Whether it is the definition that a plain name stands for (or has no other)."""
        return "@" not in self.name

    @property
    def definition(self) -> str:
        """Where the documentation defines it."""
        return f"docs/METRICS.md#{_HOMES.get(self.base, self.base).lower()}"


# Names that the documentation treats under another name's heading.
_HOMES = {
    "MI_bits": "MI",
    "SSIM_mean": "SSIM",
    "MS_SSIM_A": "MS_SSIM",
    "MS_SSIM_B": "MS_SSIM",
    "MEF_SSIM_scale1": "MEF_SSIM",
    "MEF_SSIM_scale2": "MEF_SSIM",
    "MEF_SSIM_scale3": "MEF_SSIM",
    "Q_TE185": "Q_TE",
    "Q_TE_textbook": "Q_TE",
    "NABF1": "Nabf",
    "QABFw": "LABF",
    "PSNR_true": "PSNR",
    "SSIM_truth": "PSNR_truth",
}

F = ("f",)
TRUTH = ("f", "t")
_i, _g, _r, _s, _p = information, gradient, reference, structure, perceptual

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
    Metric("MSE", "MSE@CDDFuse", _r.mse, "lower", 0, 65025, "instant", 1, "mean squared error to both"),
    Metric("RMSE", "RMSE@VIFB", _r.rmse, "lower", 0, inf, "instant", 1, "root error, divided by image size again"),
    Metric("PSNR", "PSNR@VIFB", _r.psnr, "higher", 0, inf, "instant", 1, "from RMSE@VIFB; not the textbook's"),
    Metric("CC", "CC@CDDFuse", _r.cc, "higher", -1, 1, "instant", 2, "mean correlation with both"),
    Metric("SCD", "SCD@CDDFuse", _r.scd, "higher", -2, 2, "instant", 2, "correlation of what was added to each"),
    Metric("SSIM", "SSIM@VIFB", _s.ssim, "higher", -2, 2, "fast", 11, "structural similarity to both, summed"),
    Metric("SSIM_mean", "SSIM@VIFB-mean", _s.ssim_mean, "higher", -1, 1, "fast", 11, "half of SSIM"),
    Metric("Qabf", "Qabf@VIFB", _g.qabf, "higher", 0, 0.99, "fast", 3, "edge strength and direction kept"),
    Metric("VIF", "VIF@Tang-flat", _p.vif, "higher", 0, inf, "fast", 41, "visual information of both kept, summed"),
]  # fmt: skip

_VARIANTS = {
    "EN": {"EN@VIFB": _i.en, "EN@MEFB": _i.en, "EN@Tang": _i.en, "EN@CDDFuse": _i.en},
    "SD": {"SD@VIFB": _r.sd, "SD@MEFB": _r.sd, "SD@Tang": _r.sd, "SD@CDDFuse": _r.sd},
    "AG": {"AG@VIFB": _g.ag, "AG@MEFB": _g.ag, "AG@Tang": _g.ag, "AG@CDDFuse": _g.ag_cddfuse},
    "SF": {"SF@VIFB": _g.sf, "SF@MEFB": _g.sf, "SF@Tang": _g.sf_cddfuse, "SF@CDDFuse": _g.sf_cddfuse},
    "MI": {"MI@VIFB": _i.mi, "MI@CDDFuse": _i.mi},
    "CC": {"CC@CDDFuse": _r.cc, "CC@Tang": _r.cc},
    "SCD": {"SCD@CDDFuse": _r.scd, "SCD@Tang": _r.scd},
    "SSIM": {"SSIM@VIFB": _s.ssim},
    "Qabf": {
        "Qabf@VIFB": _g.qabf, "Qabf@MEFB": _g.qabf, "Qabf@Tang": _g.qabf_plain, "Qabf@CDDFuse": _g.qabf_plain,
    },
    "VIF": {"VIF@Tang-flat": _p.vif, "VIF@Tang": _p.vif_plain, "VIF@CDDFuse": _p.vif_plain},
}  # fmt: skip


def _build() -> dict[str, Metric]:
    table = {metric.name: metric for metric in _DEFAULTS}
    for base, variants in _VARIANTS.items():
        for key, function in variants.items():
            table[key] = replace(table[base], name=key, key=key, function=function)
    return table


METRICS: dict[str, Metric] = _build()
"""Every metric by name: the defaults first, then all toolbox variants."""

COMMON = ("EN", "SD", "SF", "AG", "MI", "SCD", "VIF", "Qabf", "SSIM", "CC")
"""The ten that papers report most."""
