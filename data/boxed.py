"""Pictures and pairs with boxes: checks them, and makes batches for detection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from data.boxes import Boxes, read_boxes
from data.labelled import LabelledFolder
from data.labels import LabelledPaths, faults, picture_size
from data.loading import TensorBatch, pad_batch
from utils.pictures.picture import Role
from utils.pictures.reading import AS_STORED, ReadingRule

NO_OBJECT = -1  # class of the padding


@dataclass(frozen=True)
class BoxedScene:
    """Decoded pictures of one scene and its objects.

    Attributes:
        pictures: (3P, h, w) ``uint8``, P pictures of three channels, concatenated.
        corners: (n, 4) float32, left, top, right, bottom in pixels of ``pictures``.
        classes: (n,) int64.
    """

    pictures: Tensor
    corners: Tensor
    classes: Tensor


@dataclass(frozen=True)
class BoxedBatch(TensorBatch):
    """Scenes of different sizes and numbers of objects.

    Attributes:
        pictures: (B, 3P, Hmax, Wmax) ``uint8``, zero-padded at the right and bottom.
        corners: (B, n, 4) float32.
        classes: (B, n) int64, padded with -1.
        sizes: (B, 2) int64, [h, w] of each scene.
    """

    pictures: Tensor
    corners: Tensor
    classes: Tensor
    sizes: Tensor


class BoxedFolder(LabelledFolder):
    """Scenes with boxes.

    Args:
        scenes, roles, short_side, rule: as in ``LabelledFolder``; boxes are scaled with their pictures.
        classes: names of the classes.
    """

    label = "scenes with boxes"

    def __init__(self, scenes: Sequence[LabelledPaths], roles: Sequence[Role], short_side: int | None = None,
                 rule: ReadingRule = AS_STORED, *, classes: Sequence[str]) -> None:
        super().__init__(scenes, roles, short_side, rule)
        self.classes = classes

    def read(self, index: int) -> BoxedScene:
        """Decode a scene.

        Raises:
            UserError: a file is missing or unusable.
        """
        decoded = self.decoded(index)
        height, width = decoded[0].shape[:2]
        pictures, boxes = self.shrunk(decoded), self.boxes(index, (width, height))
        scale = torch.tensor([pictures.shape[2] / width, pictures.shape[1] / height]).repeat(2)
        return BoxedScene(pictures, torch.from_numpy(boxes.corners) * scale, torch.from_numpy(boxes.classes))

    def boxes(self, index: int, size: tuple[int, int]) -> Boxes:
        """Objects of a scene whose pictures have this (width, height)."""
        return read_boxes(Path(self.scenes[index].label), size, self.classes)

    @staticmethod
    def collate(items: list[BoxedScene]) -> BoxedBatch:
        """Pad scenes to a batch."""
        pictures, sizes = pad_batch([item.pictures for item in items])
        corners = pad_sequence([item.corners for item in items], batch_first=True)
        classes = pad_sequence([item.classes for item in items], batch_first=True, padding_value=NO_OBJECT)
        return BoxedBatch(pictures, corners, classes, sizes)


def check_boxes(scenes: Sequence[LabelledPaths], classes: Sequence[str]) -> list[str]:
    """Check boxes; returns one line for each scene with unusable boxes or pictures of different sizes."""
    def look(scene: LabelledPaths) -> str | None:
        sizes = [picture_size(path) for path in scene.pictures]
        if len(set(sizes)) > 1:
            return f"{' and '.join(map(str, scene.pictures))} differ in size; register and resize the pair first"
        read_boxes(scene.label, sizes[0], classes)
        return None

    return faults(scenes, look)
