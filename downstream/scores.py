"""Scores of a segmentation, by torchmetrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from data.labels import IGNORED
from utils.files import atomic_write

_ACROSS = 0.9  # inches per class in the drawing


@dataclass(frozen=True)
class SegmentationScores:
    """Segmentation scores over all labelled pixels of some pictures.

    Attributes:
        iou: (K,) intersection over union of each class; NaN for a class absent from labels and predictions.
        accuracy: share of pixels with the correct class.
        confusion: (K, K) pixel counts by label (row) and prediction (column), int64.
    """

    iou: Tensor
    accuracy: float
    confusion: Tensor

    @property
    def miou(self) -> float:
        """Mean of the defined ``iou`` values."""
        return float(self.iou.nanmean())

    @property
    def miou_foreground(self) -> float:
        """Mean of the defined ``iou`` values without class 0, the background."""
        return float(self.iou[1:].nanmean())

    def numbers(self, classes: Sequence[str]) -> dict[str, float]:
        """All scores by name."""
        return {"mIoU": self.miou, "mIoU without background": self.miou_foreground, "pixel accuracy": self.accuracy,
                **{f"IoU {name}": value for name, value in zip(classes, self.iou.tolist())}}


class SegmentationMeter:
    """Accumulates predictions and labels.

    Args:
        classes: number of classes.
    """

    def __init__(self, classes: int) -> None:
        from torchmetrics import MetricCollection  # an extra, needed only for scores
        from torchmetrics.classification import (
            MulticlassAccuracy,
            MulticlassConfusionMatrix,
            MulticlassJaccardIndex,
        )
        self._metrics = MetricCollection({
            "iou": MulticlassJaccardIndex(classes, average="none", ignore_index=IGNORED, zero_division=torch.nan),
            "accuracy": MulticlassAccuracy(classes, average="micro", ignore_index=IGNORED),
            "confusion": MulticlassConfusionMatrix(classes, ignore_index=IGNORED),
        })

    def add(self, prediction: Tensor, label: Tensor) -> SegmentationScores:
        """Add one picture and return its scores.

        Args:
            prediction, label: (H, W) class ids on the CPU; pixels labelled 255 are ignored.
        """
        return _scores(self._metrics(prediction.long(), label.long()))

    def scores(self) -> SegmentationScores:
        """Scores of all pictures so far."""
        return _scores(self._metrics.compute())


def _scores(values: dict[str, Tensor]) -> SegmentationScores:
    return SegmentationScores(values["iou"], float(values["accuracy"]), values["confusion"])


def draw_confusion(confusion: Tensor, classes: Sequence[str], path: Path) -> None:
    """Draw the confusion matrix, with each row in percent of the pixels with that label.

    Args:
        confusion: (K, K) pixel counts by label and prediction.
        classes: K names.
        path: output PNG.
    """
    from matplotlib.figure import Figure  # an extra, as above

    share = 100 * confusion / confusion.sum(1, keepdim=True).clamp(min=1)
    side = 2 + _ACROSS * len(classes)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot(xlabel="prediction", ylabel="label", xticks=range(len(classes)),
                              yticks=range(len(classes)), title="percent of the pixels of each label")
    axes.imshow(share.numpy(), cmap="Blues", vmin=0, vmax=100)
    axes.set_xticklabels(classes, rotation=45, ha="right")
    axes.set_yticklabels(classes)
    for row, values in enumerate(share.tolist()):
        for column, value in enumerate(values):
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", color="white" if value > 50 else "black")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
