"""Computes metrics by name."""

import difflib
import logging
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Literal

import numpy as np

from utils.errors import UserError
from utils.pictures.colour import grey_levels

from .table import COMMON, METRICS, Metric
from .triple import LABELS, Triple, check_image

Colour = Literal["grey", "channels"]
logger = logging.getLogger(__name__)


def expand(names: str | Sequence[str]) -> list[str]:
    """Expand the metrics of an option file or command line to names.

    Args:
        names: "common" (the ten most reported), "all" (the default of every metric, no variants), "none", one
            name, several separated by commas, or a list of any of these.

    Returns:
        Names in the order given, each once.

    Raises:
        UserError: unknown name; the message suggests the closest ones.
    """
    if isinstance(names, str):
        names = [part.strip() for part in names.split(",") if part.strip()]
    groups = {
        "common": list(COMMON),
        "all": [metric.name for metric in METRICS.values() if metric.is_default],
        "none": [],
    }
    expanded: dict[str, None] = {}
    for name in names:
        for single in groups.get(name, [name]):
            find(single)
            expanded[single] = None
    return list(expanded)


def find(name: str) -> Metric:
    """The metric with a name.

    Raises:
        UserError: no such metric; the message suggests the closest ones.
    """
    if name in METRICS:
        return METRICS[name]
    known = {known.lower(): known for known in METRICS}
    near = [known[n] for n in difflib.get_close_matches(name.lower(), known, n=5, cutoff=0.5)]
    hint = f"nearest: {', '.join(near)}" if near else "none is near"
    raise UserError(f"metrics: unknown metric {name!r}; {hint}; `python -m metrics --list` shows all")


def compute(
    names: str | Sequence[str],
    a: np.ndarray,
    b: np.ndarray,
    f: np.ndarray,
    colour: Colour = "grey",
    truth: np.ndarray | None = None,
) -> dict[str, float]:
    """Score one fused image against its two sources.

    Args:
        names: as in `expand`.
        a, b, f: sources and fused image, uint8, (H, W), (H, W, 1) or (H, W, 3) in RGB order, equal height and
            width. a is the infrared picture for TCK and TCV; otherwise the order of a and b matters only for FMI and
            Q_G.
        colour: "grey": three channels are converted to grey first (BT.601, rounded). "channels": mean of the values
            of the three channels, as in VIFB and MEFB; a one-channel source is used for each channel; if F has one
            channel, the same as "grey".
        truth: ground truth, for metrics that need one.

    Returns:
        Value by name, in the order of the names. NaN if a metric is not defined: for images smaller than its
        `min_side`, or constant ones if it divides by a deviation; see docs/METRICS.md.

    Raises:
        UserError: unknown name, wrong type or shape, empty, NaN pixels, sizes that differ, missing ground truth.
    """
    metrics = [find(name) for name in expand(names)]
    given = {"a": a, "b": b, "f": f} | ({"t": truth} if truth is not None else {})
    pictures = _check_pictures(given, metrics, colour)
    grey = Triple(**{k: grey_levels(v) for k, v in pictures.items()})
    planes = [grey]
    if colour == "channels" and _channels(pictures["f"]) == 3:
        planes = [Triple(**{k: _plane(v, c) for k, v in pictures.items()}) for c in range(3)]
    values = _by_family([m for m in metrics if m.grey_only], [grey])
    values |= _by_family([m for m in metrics if not m.grey_only], planes)
    return {metric.name: values[metric.name] for metric in metrics}


def _by_family(metrics: Iterable[Metric], planes: list[Triple]) -> dict[str, float]:
    """Compute values family by family, so that shared arrays of a family are freed before the next."""
    families: dict[str, list[Metric]] = {}
    for metric in metrics:
        families.setdefault(metric.family, []).append(metric)
    values = {}
    for family in families.values():
        scores = {metric.name: [] for metric in family}
        for triple in planes:
            for metric in family:
                scores[metric.name].append(_value(metric, triple))
            triple.forget()
        values |= {name: float(np.mean(score)) for name, score in scores.items()}
    return values


def _value(metric: Metric, triple: Triple) -> float:
    if min(triple.shape) < metric.min_side:
        _warn_small(metric.name, metric.min_side, triple.shape)
        return float("nan")
    with np.errstate(all="ignore"):
        return float(metric.function(triple))


@cache
def _warn_small(name: str, needed: int, shape: tuple[int, int]) -> None:
    """Warn once per metric and size that an image is too small."""
    logger.warning("%s needs images of %d pixels a side or more; %d x %d gives NaN", name, needed, *shape[::-1])


def _channels(picture: np.ndarray) -> int:
    return picture.shape[2] if picture.ndim == 3 else 1


def _plane(picture: np.ndarray, channel: int) -> np.ndarray:
    return picture[:, :, channel] if _channels(picture) == 3 else grey_levels(picture)


def _check_pictures(given: dict[str, np.ndarray], metrics: list[Metric], colour: str) -> dict[str, np.ndarray]:
    if colour not in ("grey", "channels"):
        raise UserError(f"metrics: colour={colour!r}; give 'grey' or 'channels'")
    pictures = {which: check_image(picture, which) for which, picture in given.items()}
    for which, picture in pictures.items():
        if picture.shape[:2] != pictures["f"].shape[:2]:
            raise UserError(
                f"metrics: {LABELS[which]} is {picture.shape[1]} x {picture.shape[0]} pixels, the fused image "
                f"{pictures['f'].shape[1]} x {pictures['f'].shape[0]}; resize or register them first"
            )
    needing = [metric.name for metric in metrics if "t" in metric.inputs]
    if needing and "t" not in pictures:
        raise UserError(f"metrics: {', '.join(needing)} compare with a ground truth and none is given; give `truth`")
    return pictures
