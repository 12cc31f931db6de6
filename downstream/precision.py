"""Average precision and recall from matched boxes, for many weightings of the pictures at once.

Boxes are matched once; a bootstrap sample only changes how often each picture counts. With weights of 1 the numbers are
those of COCO's evaluation (all areas, 100 boxes a picture and class).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torchvision.ops import box_iou

THRESHOLDS = np.arange(50, 100, 5) / 100  # of the overlap (IoU)
_RECALLS = np.linspace(0, 1, 101)
_MOST = 100  # boxes of a picture and class
_TINY = 1e-12


@dataclass(frozen=True)
class Matches:
    """The boxes found for one class, best score first, and how many there are to find.

    Attributes:
        scores: (m,) float64, descending.
        pictures: (m,) int64, index of the picture.
        hits: (m, 10) bool: whether the box is matched with an object, for each of ``THRESHOLDS``.
        objects: (n,) int64, labelled objects of each of the n pictures.
    """

    scores: np.ndarray
    pictures: np.ndarray
    hits: np.ndarray
    objects: np.ndarray


def match_class(found: Sequence[Mapping[str, Any]], wanted: Sequence[tuple[np.ndarray, np.ndarray]], kind: int
                ) -> Matches:
    """Match the boxes of one class, in each picture from the highest score down, each with the free object that it
    overlaps most.

    Args:
        found: ``boxes`` (m, 4), ``scores`` and ``labels`` of each picture.
        wanted: corners (k, 4) and classes (k,) of each picture.
        kind: the class.
    """
    scores, pictures, hits, objects = [], [], [np.zeros((0, len(THRESHOLDS)), bool)], []
    for index, (one, (corners, classes)) in enumerate(zip(found, wanted)):
        chosen = np.flatnonzero(np.asarray(one["labels"], int) == kind)
        own = np.asarray(one["scores"], float)[chosen]
        best = np.argsort(-own, kind="stable")[:_MOST]
        boxes = np.asarray(one["boxes"], float).reshape(-1, 4)[chosen[best]]
        there = np.asarray(corners, float).reshape(-1, 4)[np.asarray(classes) == kind]
        scores.append(own[best])
        pictures.append(np.full(len(best), index))
        hits.append(_hits(boxes, there))
        objects.append(len(there))
    joined = np.concatenate(scores) if scores else np.zeros(0)
    order = np.argsort(-joined, kind="stable")
    return Matches(joined[order], np.concatenate(pictures)[order].astype(int), np.concatenate(hits)[order],
                   np.array(objects))


def _hits(boxes: np.ndarray, there: np.ndarray) -> np.ndarray:
    """(m, 10) for boxes (m, 4), best first, and objects (k, 4)."""
    hits = np.zeros((len(boxes), len(THRESHOLDS)), bool)
    if not len(boxes) or not len(there):
        return hits
    overlap = box_iou(torch.from_numpy(boxes), torch.from_numpy(there)).numpy()
    free = np.ones((len(THRESHOLDS), len(there)), bool)
    for number, row in enumerate(overlap):
        for level, least in enumerate(THRESHOLDS):
            candidates = np.where(free[level], row, -1.0)
            best = int(candidates.argmax())
            if candidates[best] >= least:
                hits[number, level], free[level, best] = True, False
    return hits


def average_precision(matches: Matches, weights: np.ndarray, level: int) -> np.ndarray:
    """Mean precision over 101 recalls, (R,); NaN where no object counts.

    Args:
        matches: matched boxes of a class.
        weights: (R, n) how often each picture counts.
        level: index into ``THRESHOLDS``.
    """
    right, wrong = _running(matches, weights, level)
    total = weights @ matches.objects
    precision = right / np.maximum(right + wrong, _TINY)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = right / np.maximum(total, _TINY)[:, None]
    result = np.full(len(weights), np.nan)
    for row in np.flatnonzero(total > 0):
        places = np.searchsorted(recall[row], _RECALLS)
        reached = places < recall.shape[1]
        result[row] = precision[row, places[reached]].sum() / len(_RECALLS)
    return result


def recall_at(matches: Matches, weights: np.ndarray, alarms: float = 1.0, level: int = 0) -> np.ndarray:
    """Share of objects found, (R,), at the lowest score with at most ``alarms`` false boxes a picture; NaN where no
    object counts."""
    right, wrong = _running(matches, weights, level)
    total, allowed = weights @ matches.objects, alarms * weights.sum(1)
    reached = (wrong <= allowed[:, None] + _TINY).sum(1)  # ``wrong`` only grows
    padded = np.concatenate([np.zeros((len(right), 1)), right], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, padded[np.arange(len(right)), reached] / total, np.nan)


def _running(matches: Matches, weights: np.ndarray, level: int) -> tuple[np.ndarray, np.ndarray]:
    """Weighted counts (R, m) of right and wrong boxes down to each box."""
    own, hit = weights[:, matches.pictures], matches.hits[:, level]
    return (own * hit).cumsum(1), (own * ~hit).cumsum(1)
