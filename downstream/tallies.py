"""Scores of a run for any weighting of its test pictures, from its record."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from data.boxed import BoxedFolder
from data.labelled import LabelledFolder
from downstream.precision import THRESHOLDS, average_precision, match_class, recall_at
from downstream.records import Record
from utils.pictures.reading import read_scene


class Tally(Protocol):
    """What a run counted in each test picture."""

    def scores(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Scores by name, (R,) each, of R weightings (R, n) of the n pictures; NaN where one is not defined."""

    def each(self) -> np.ndarray:
        """One number for each picture, (n,), higher is better, to find the worst pictures."""


class SegmentationTally:
    """Scores from confusion matrices, as in ``SegmentationScores``.

    Args:
        confusions: (n, K, K) pixel counts by label and prediction.
        classes: K names.
    """

    def __init__(self, confusions: np.ndarray, classes: Sequence[str]) -> None:
        self._confusions, self._classes = np.asarray(confusions, float), classes

    def scores(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        iou, accuracy = self._iou(np.tensordot(weights, self._confusions, 1))
        return {"mIoU": _mean(iou), "mIoU without background": _mean(iou[:, 1:]), "pixel accuracy": accuracy,
                **{f"IoU {name}": iou[:, number] for number, name in enumerate(self._classes)}}

    def each(self) -> np.ndarray:
        return _mean(self._iou(self._confusions)[0])

    @staticmethod
    def _iou(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        right = np.diagonal(counts, axis1=1, axis2=2)
        union = counts.sum(1) + counts.sum(2) - right
        with np.errstate(invalid="ignore", divide="ignore"):
            return right / union, right.sum(1) / counts.sum((1, 2))


class DetectionTally:
    """Scores from boxes: COCO's average precision, and recall at one false alarm a picture (IoU .5).

    Args:
        pictures: the boxes found, by stem, as in ``Record.pictures``.
        wanted: corners and classes of the labels of each picture, in the order of ``stems``.
        stems: the pictures.
        classes: names of the classes.
    """

    def __init__(self, pictures: Mapping[str, Mapping[str, Any]], wanted: Sequence[tuple[np.ndarray, np.ndarray]],
                 stems: Sequence[str], classes: Sequence[str]) -> None:
        found = [pictures[stem] for stem in stems]
        self._classes = classes
        self._matches = [match_class(found, wanted, kind) for kind in range(len(classes))]
        self._count = len(stems)

    def scores(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        levels = np.array([[average_precision(one, weights, level) for level in range(len(THRESHOLDS))]
                           for one in self._matches])  # (K, 10, R)
        return {"mAP": _mean(levels.mean(1).T), "mAP50": _mean(levels[:, 0].T),
                **{f"AP50 {name}": levels[number, 0] for number, name in enumerate(self._classes)},
                **{f"recall {name}": recall_at(one, weights) for name, one in zip(self._classes, self._matches)}}

    def each(self) -> np.ndarray:
        return self.scores(np.eye(self._count))["mAP50"]


def labels_of(scenes: BoxedFolder) -> list[tuple[np.ndarray, np.ndarray]]:
    """Corners and classes of the labels of each scene, in pixels of its pictures."""
    wanted = []
    for index, scene in enumerate(scenes.scenes):
        picture = read_scene(scene.pictures[:1], scenes.rule, scenes.roles[:1])[0]
        boxes = scenes.boxes(index, picture.size)
        wanted.append((boxes.corners, boxes.classes))
    return wanted


def tally_of(record: Record, scenes: LabelledFolder, classes: Sequence[str],
             wanted: Sequence[tuple[np.ndarray, np.ndarray]] | None) -> Tally:
    """The tally of a run.

    Args:
        record: the run's record.
        scenes: its test scenes.
        classes: names of the classes.
        wanted: ``labels_of(scenes)`` for detection.
    """
    stems = [scene.stem for scene in scenes.scenes]
    if wanted is not None:
        return DetectionTally(record.pictures, wanted, stems, classes)
    return SegmentationTally(np.array([record.pictures[stem]["confusion"] for stem in stems]), classes)


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean of the defined values of each row, (R,) of (R, K); NaN for a row without any."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(1) / known.sum(1)
