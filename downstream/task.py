"""The training task of a segmenter."""

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.labelled import LabelledBatch, LabelledCrop
from data.labels import IGNORED
from downstream.colours import in_colours

Generators = Mapping[str, torch.Generator]
_LEAST = 1e-3  # a batch may have no labelled pixel


class SegmentationTask(nn.Module):
    """Cross entropy on random crops, averaged over all labelled pixels of the batch by the weights of their classes.

    Args:
        model: maps pictures (B, 3P, S, S) in [0, 1] to logits (B, classes, S, S).
        image_size: side S of the crops in pixels.
        class_weights: weight of each class; None: 1 each.
    """

    def __init__(self, model: nn.Module, image_size: int, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.model = model
        self.crop = LabelledCrop(image_size)
        self.register_buffer("weights", None if class_weights is None else torch.tensor(class_weights),
                             persistent=False)

    def forward(self, batch: LabelledBatch, generators: Generators) -> dict[str, Tensor]:
        """The loss of a batch, as ``cross_entropy`` and as ``total_loss``."""
        pictures, labels = self.crop(batch, generators)
        logits = self.model(pictures).float()
        loss = F.cross_entropy(logits, labels, self.weights, ignore_index=IGNORED, reduction="sum")
        counts = labels != IGNORED
        if self.weights is not None:
            counts = counts * self.weights[labels * counts]
        loss = loss / counts.sum().clamp(min=_LEAST)
        return {"cross_entropy": loss, "total_loss": loss}

    def trainable(self) -> Iterator[nn.Parameter]:
        """Parameters that the optimiser moves."""
        return (weight for weight in self.model.parameters() if weight.requires_grad)

    @torch.no_grad()
    def pictures(self, batch: LabelledBatch, generators: Generators) -> dict[str, Tensor]:
        """Crops, labels and predictions, each (B, 3, S, S) in [0, 1]."""
        pictures, labels = self.crop(batch, generators)
        seen = {f"input {number + 1}": part for number, part in enumerate(pictures.split(3, dim=1))}
        return {**seen, "label": in_colours(labels), "prediction": in_colours(self.model(pictures).argmax(1))}
