"""The training task of a detector, and its scores."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torchvision.utils import draw_bounding_boxes

from data.boxed import BoxedBatch
from downstream.detector import Detector

Generators = Mapping[str, torch.Generator]
_SHOWN_SCORE = 0.3


class DetectionTask(nn.Module):
    """Losses of FCOS on whole pictures, flipped with probability 1/2.

    Args:
        model: the detector.
    """

    def __init__(self, model: Detector) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: BoxedBatch, generators: Generators) -> dict[str, Tensor]:
        """The losses of a batch and their sum as ``total_loss``."""
        terms = self.model.losses(*mirror_some(batch, generators["crop"]))
        return {**terms, "total_loss": sum(terms.values())}

    def trainable(self) -> Iterator[nn.Parameter]:
        """Parameters that the optimiser moves."""
        return (weight for weight in self.model.parameters() if weight.requires_grad)

    @torch.no_grad()
    def pictures(self, batch: BoxedBatch, generators: Generators) -> dict[str, Tensor]:
        """The last picture of each scene with its labels, and with its predictions; (B, 3, H, W) in [0, 1]."""
        shown = batch.pictures[:, -3:]
        wanted = [classes >= 0 for classes in batch.classes]
        labels = [draw_bounding_boxes(picture, corners[there]) if there.any() else picture
                  for picture, corners, there in zip(shown, batch.corners, wanted)]
        found = [draw_bounding_boxes(picture, boxes) if len(boxes) else picture for picture, boxes in zip(
            shown, (one["boxes"][one["scores"] > _SHOWN_SCORE] for one in self.model(whole_pictures(batch))))]
        return {"label": torch.stack(labels) / 255, "prediction": torch.stack(found) / 255}


def whole_pictures(batch: BoxedBatch) -> list[Tensor]:
    """The pictures of a batch without the padding, (3P, h, w) in [0, 1] each."""
    return [picture[:, :h, :w].float() / 255 for picture, (h, w) in zip(batch.pictures, batch.sizes.tolist())]


def mirror_some(batch: BoxedBatch, generator: torch.Generator) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Flip each scene horizontally with probability 1/2.

    Args:
        batch: scenes.
        generator: on their device.

    Returns:
        Pictures (3P, h, w) in [0, 1], and ``boxes`` and ``labels`` of each.
    """
    flips = torch.rand(len(batch), generator=generator, device=batch.sizes.device) < 0.5
    pictures, targets = [], []
    for picture, corners, classes, flip in zip(whole_pictures(batch), batch.corners, batch.classes, flips.tolist()):
        corners, classes = corners[classes >= 0], classes[classes >= 0]
        if flip:
            left, top, right, bottom = corners.unbind(1)
            width = picture.shape[2]
            picture, corners = picture.flip(2), torch.stack([width - right, top, width - left, bottom], dim=1)
        pictures.append(picture)
        targets.append({"boxes": corners, "labels": classes})
    return pictures, targets


class DetectionMeter:
    """Mean average precision of boxes as defined by COCO, computed by torchmetrics.

    Args:
        classes: class names.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        from torchmetrics.detection import MeanAveragePrecision  # an extra, needed only for scores

        self._classes = classes
        self._metric = MeanAveragePrecision(class_metrics=True)

    def add(self, found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
        """Add one picture.

        Args:
            found: ``boxes``, ``scores`` and ``labels``.
            wanted: ``boxes`` and ``labels``.
        """
        self._metric.update([{name: value.detach().cpu() for name, value in found.items()}], [wanted])

    def numbers(self) -> dict[str, float]:
        """mAP over IoU thresholds of .5 to .95, at .5 and at .75, and per class; NaN for a class without labels."""
        values = self._metric.compute()
        each = dict(zip(values["classes"].reshape(-1).tolist(), values["map_per_class"].reshape(-1).tolist()))
        scores = {"mAP": float(values["map"]), "mAP50": float(values["map_50"]), "mAP75": float(values["map_75"]),
                  **{f"AP {name}": each.get(number, -1.0) for number, name in enumerate(self._classes)}}
        return {name: value if value >= 0 else float("nan") for name, value in scores.items()}  # -1: undefined
