"""Computes the metrics of tensors by name."""

import logging
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from metrics.scoring import expand
from metrics.table import METRICS
from utils.errors import UserError

from . import edges, fidelity, pixels, structure
from .inputs import check_range, check_sizes, grey_batch, whole

log = logging.getLogger(__name__)

Function = Callable[[Tensor, Tensor, Tensor], Tensor]

FUNCTIONS: dict[str, Function] = {
    "EN": pixels.en, "SD": pixels.sd, "SF": pixels.sf, "AG": pixels.ag, "MI": pixels.mi, "SCD": pixels.scd,
    "VIF": fidelity.vif, "Qabf": edges.qabf, "SSIM": structure.ssim, "CC": pixels.cc,
    "MEF_SSIM": structure.mef_ssim,
}  # fmt: skip
NAMES = tuple(FUNCTIONS)
"""The ten common metrics and MEF_SSIM."""

DIFFERENTIABLE = tuple(name for name in NAMES if name not in ("EN", "MI"))
"""Those with a gradient; EN and MI count levels."""


def compute(names: str | Sequence[str], a: Tensor, b: Tensor, f: Tensor, *, rounded: bool = False,
            check: bool = True) -> dict[str, Tensor]:
    """Score a batch of fused images against their sources.

    The gradient reaches ``f`` alone; the sources are constants. Sums run in float64 where the device has it.

    Args:
        names: some of `NAMES`, or "common".
        a, b, f: sources and fused images, (B, 1, H, W) or (B, 3, H, W), floats in [0, 1] or uint8, equal sizes.
            Colour becomes grey first.
        rounded: round to 8 bits first, as in picture files; then there is no gradient. EN and MI always round.
        check: look at the values of floats, for which a GPU has to be waited for.

    Returns:
        (B,) by name, in the order of the names, float32, or float64 if ``f`` is. NaN, with no
        gradient, where a metric is not defined: constant images for some, and pictures below its smallest side.

    Raises:
        UserError: unknown name, wrong type, shape or range, or sizes or devices that differ.
    """
    names = known(names)
    given = {"a": a, "b": b, "f": f}
    levels = {which: grey_batch(picture, which) for which, picture in given.items()}
    check_sizes(a, b, f)
    if check:
        for which, picture in given.items():
            check_range(picture, which)
    a, b, f = levels["a"].detach(), levels["b"].detach(), levels["f"]
    if rounded:
        a, b, f = whole(a), whole(b), whole(f.detach())
    dtype = given["f"].dtype if given["f"].dtype in (torch.float32, torch.float64) else torch.float32
    return {name: _values(name, a, b, f).to(dtype) for name in names}


def known(names: str | Sequence[str]) -> list[str]:
    """Names of metrics, each once, in order.

    Raises:
        UserError: one is not among `NAMES`.
    """
    names = expand(names)
    if foreign := [name for name in names if name not in FUNCTIONS]:
        raise UserError(f"metrics: {', '.join(foreign)} cannot be computed on tensors; those that can: "
                        f"{', '.join(NAMES)}; metrics.compute has all")
    return names


def _values(name: str, a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    side = METRICS[name].min_side
    if min(f.shape[-2:]) < side:
        _warn_small(name, side, tuple(f.shape[-2:]))
        return f.new_full((len(f),), torch.nan)
    return FUNCTIONS[name](a, b, f)


@cache
def _warn_small(name: str, needed: int, shape: tuple[int, int]) -> None:
    """Warn once per metric and size that pictures are too small."""
    log.warning("%s needs images of %d pixels a side or more; %d x %d gives NaN", name, needed, *shape[::-1])
