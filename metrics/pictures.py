"""Selects and encodes the pictures of a report: which pairs, which region, within a size limit."""

import base64
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from metrics.folders import read_sources
from metrics.ranking import Comparison
from utils.errors import UserError
from utils.pictures.colour import grey_levels
from utils.pictures.layouts import PairPaths
from utils.pictures.reading import read_grey_or_rgb

log = logging.getLogger(__name__)

# (description, suffix, encoder settings, scale of the side), from exact to small; the first that fits is used.
_STEPS = (
    ("lossless WebP", ".webp", (cv2.IMWRITE_WEBP_QUALITY, 101), 1.0),
    ("JPEG, quality 95", ".jpg", (cv2.IMWRITE_JPEG_QUALITY, 95), 1.0),
    ("JPEG, quality 88", ".jpg", (cv2.IMWRITE_JPEG_QUALITY, 88), 1.0),
    ("WebP, quality 80", ".webp", (cv2.IMWRITE_WEBP_QUALITY, 80), 1.0),  # below the size of that JPEG at 0.7
    ("WebP, quality 80", ".webp", (cv2.IMWRITE_WEBP_QUALITY, 80), 0.7),
    ("WebP, quality 80", ".webp", (cv2.IMWRITE_WEBP_QUALITY, 80), 0.5),
    ("WebP, quality 75", ".webp", (cv2.IMWRITE_WEBP_QUALITY, 75), 0.3),
)
_FULL_CHROMA = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
_MIME = {".webp": "image/webp", ".jpg": "image/jpeg"}


@dataclass(frozen=True)
class PictureLimits:
    """Size limits for the pictures of a report.

    Attributes:
        megabytes: total of all encoded pictures; they are compressed more, then reduced, until they fit.
        side: longest side in pixels.
    """

    megabytes: float = 8.0
    side: int = 1024

    def __post_init__(self) -> None:
        if self.megabytes <= 0 or self.side < 16:
            raise UserError(f"picture limits of {self.megabytes} MB and {self.side} pixels; report; give more than "
                            "0 MB and at least 16 pixels")


@dataclass(frozen=True)
class Shown:
    """One picture of a pair.

    Attributes:
        label: a source's or a method's name.
        role: ``source`` or ``method``.
        pixels: (H, W) or (H, W, 3) RGB uint8, not larger than the limits.
    """

    label: str
    role: str
    pixels: np.ndarray


@dataclass(frozen=True)
class ShownPair:
    """A pair in the report: sources first, then the methods in the order of the table.

    Attributes:
        size: (width, height) of the files.
        focus: (x, y) in [0, 1]: where the methods differ most.
    """

    stem: str
    size: tuple[int, int]
    focus: tuple[float, float]
    pictures: tuple[Shown, ...]


def choose_stems(comparison: Comparison, count: int) -> list[str]:
    """The pairs on which the methods disagree most, in the order of the data set.

    The disagreement on a pair is, for each metric, the standard deviation over the methods divided by the metric's
    overall standard deviation, averaged over the metrics. With one method, the first pairs are used.
    """
    stems = list(comparison.stems)
    if len(comparison.ranked) < 2 or count >= len(stems):
        return [stem for stem in stems if _has_any(comparison, stem)][:count]
    shares = []
    for name in comparison.names:
        table = np.array([comparison.scores[method].column(name) for method in comparison.ranked])
        scale = np.nanstd(table) if np.isfinite(table).any() else 0.0
        if scale > 0:
            shares.append(np.nan_to_num(np.nanstd(np.nan_to_num(table), axis=0) / scale))
    if not shares:
        return stems[:count]
    # the scores of a ranked method need not be in the order of the pairs
    order = comparison.scores[comparison.ranked[0]].stems
    chosen = {order[place] for place in np.argsort(-np.mean(shares, axis=0), kind="stable")[:count]}
    return [stem for stem in stems if stem in chosen]


def load_pairs(comparison: Comparison, stems: Sequence[str], side: int) -> list[ShownPair]:
    """Read the sources and results of the chosen pairs, with sides of at most ``side`` pixels.

    Raises:
        UserError: an unknown stem.
    """
    known = {pair.stem: pair for pair in comparison.sources.pairs}
    methods = {method.name: method for method in comparison.methods}
    shown = []
    for stem in stems:
        if stem not in known:
            raise UserError(f"no pair is called {stem}; report; the pairs are {', '.join(known)}")
        labels = source_labels(known[stem])
        files: list[tuple[str, str, Path]] = [
            (labels[0], "source", known[stem].first), (labels[1], "source", known[stem].second)]
        files += [(name, "method", methods[name].pictures[stem]) for name in comparison.order()
                  if stem in comparison.scores[name].values]
        full = read_sources(known[stem], comparison.rule, comparison.sources.task)
        full += [read_grey_or_rgb(path) for _, _, path in files[2:]]
        pictures = tuple(Shown(label, role, shrink(pixels, side))
                         for (label, role, _), pixels in zip(files, full))
        size = (full[0].shape[1], full[0].shape[0])
        shown.append(ShownPair(stem, size, _focus([one.pixels for one in pictures]), pictures))
    return shown


def source_labels(pair: PairPaths) -> tuple[str, str]:
    """Labels of the two sources: the names of their folders (``ir``, ``vi``), or of the files within one folder."""
    if pair.first.parent != pair.second.parent:
        names = pair.first.parent.name, pair.second.parent.name
    else:
        names = pair.first.stem, pair.second.stem
    return names if names[0] != names[1] else ("first", "second")


def shrink(pixels: np.ndarray, side: int) -> np.ndarray:
    """Reduce a picture to a longest side of at most ``side``; never enlarged."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def crop_at(pixels: np.ndarray, focus: tuple[float, float], share: float = 0.25) -> np.ndarray:
    """A square of ``share`` of the shorter side around ``focus``, moved inside the picture."""
    height, width = pixels.shape[:2]
    edge = max(1, round(min(height, width) * share))
    left = min(max(round(focus[0] * width - edge / 2), 0), width - edge)
    top = min(max(round(focus[1] * height - edge / 2), 0), height - edge)
    return pixels[top:top + edge, left:left + edge]


def encode_all(pairs: Sequence[ShownPair], limits: PictureLimits) -> tuple[list[list[str]], str]:
    """Data URIs of all pictures, within ``limits.megabytes`` if possible.

    Returns:
        For each pair the URIs of its pictures, and a description of the encoding.
    """
    budget = limits.megabytes * 1e6
    for told, ending, settings, factor in _STEPS:
        side = max(16, round(limits.side * factor))
        uris = _encode(pairs, lambda pixels, s=side: shrink(pixels, s), ending, settings, budget)
        if uris is not None:
            longest = max((max(one.pixels.shape[:2]) for pair in pairs for one in pair.pictures), default=0)
            return uris, f"{told}, longest side at most {side} pixels" if longest > side else told
    log.warning("report: the pictures are larger than %.1f MB even when coded tightly; show fewer pairs",
                limits.megabytes)
    told, ending, settings, factor = _STEPS[-1]
    side = max(16, round(limits.side * factor))
    uris = _encode(pairs, lambda pixels: shrink(pixels, side), ending, settings, np.inf)
    return uris or [], f"{told}, longest side at most {side} pixels"


def _encode(pairs: Sequence[ShownPair], prepare: Callable[[np.ndarray], np.ndarray], ending: str,
            settings: tuple[int, int], budget: float) -> list[list[str]] | None:
    """Data URIs, or None as soon as they exceed the budget."""
    flags = [*settings, *(_FULL_CHROMA if ending == ".jpg" else ())]
    uris: list[list[str]] = []
    used = 0
    for pair in pairs:
        uris.append([])
        for one in pair.pictures:
            pixels = prepare(one.pixels)
            data = cv2.imencode(ending, pixels[..., ::-1] if pixels.ndim == 3 else pixels, flags)[1].tobytes()
            uri = f"data:{_MIME[ending]};base64,{base64.b64encode(data).decode('ascii')}"
            used += len(uri)
            if used > budget:
                return None
            uris[-1].append(uri)
    return uris


def _focus(pictures: Sequence[np.ndarray]) -> tuple[float, float]:
    """Centre of the window (an eighth of the shorter side) where details of the results, or else sources, differ most.

    Details are differences from the mean of a window twice as wide, since a difference in brightness is visible without
    a magnifier.
    """
    chosen = pictures[2:] if len(pictures) > 3 else pictures
    height, width = pictures[0].shape[:2]
    grey = [cv2.resize(grey_levels(p), (width, height),
                       interpolation=cv2.INTER_AREA).astype(np.float32) for p in chosen]
    edge = max(1, min(height, width) // 8)
    details = [one - cv2.blur(one, (2 * edge, 2 * edge)) for one in grey]
    spread = cv2.blur(np.std(details, axis=0), (edge, edge), borderType=cv2.BORDER_CONSTANT)
    row, column = np.unravel_index(int(np.argmax(spread)), spread.shape)
    return (float(column) + 0.5) / width, (float(row) + 0.5) / height


def _has_any(comparison: Comparison, stem: str) -> bool:
    return any(stem in scores.values for scores in comparison.scores.values())
