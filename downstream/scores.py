"""Scores of a segmentation, by torchmetrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from data.labels import IGNORED
from utils.files import atomic_write

_ACROSS = 0.9  # inches a class in the drawing


@dataclass(frozen=True)
class SegmentationScores:
    """How well some pictures are segmented, over all their labelled pixels together.

    Attributes:
        iou: (K,) intersection over union of each class; NaN for a class that neither labels nor predictions hold.
        accuracy: share of the pixels with the right class.
        confusion: (K, K) pixels by label (row) and prediction (column), int64.
    """

    iou: Tensor
    accuracy: float
    confusion: Tensor

    @property
    def miou(self) -> float:
        """Mean of the defined values of ``iou``."""
        return float(self.iou.nanmean())

    @property
    def miou_foreground(self) -> float:
        """The same without class 0, the background."""
        return float(self.iou[1:].nanmean())

    def numbers(self, classes: Sequence[str]) -> dict[str, float]:
        """All scores by name."""
        return {"mIoU": self.miou, "mIoU without background": self.miou_foreground, "pixel accuracy": self.accuracy,
                **{f"IoU {name}": value for name, value in zip(classes, self.iou.tolist())}}


class SegmentationMeter:
    """Counts predictions against labels.

    Args:
        classes: how many.
    """

    def __init__(self, classes: int) -> None:
        from torchmetrics import MetricCollection  # an extra, needed for scores alone
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
        """Counts one picture and gives its own scores.

        Args:
            prediction, label: (H, W) class ids on the CPU; pixels labelled 255 do not count.
        """
        return _scores(self._metrics(prediction.long(), label.long()))

    def scores(self) -> SegmentationScores:
        """Of all pictures so far."""
        return _scores(self._metrics.compute())


def _scores(values: dict[str, Tensor]) -> SegmentationScores:
    return SegmentationScores(values["iou"], float(values["accuracy"]), values["confusion"])


def draw_confusion(confusion: Tensor, classes: Sequence[str], path: Path) -> None:
    """Writes the confusion matrix as a picture: each row in percent of the pixels that have that label.

    Args:
        confusion: (K, K) pixels by label and prediction.
        classes: K names.
        path: a PNG.
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
