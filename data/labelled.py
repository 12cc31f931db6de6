"""Labelled pictures and pairs: matches their files, and makes batches for downstream tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data.labels import IGNORED, LabelledPaths, read_label
from data.loading import TensorBatch, pad_batch
from data.photos import shrink, to_planes
from data.synthesis import crop_resize
from utils.errors import UserError
from utils.pictures.codecs import list_pictures
from utils.pictures.depth import to_8_bit
from utils.pictures.pairs import match_stems
from utils.pictures.picture import Role
from utils.pictures.reading import AS_STORED, ReadingRule, read_scene
from utils.pictures.results import FUSED

_LARGEST_ZOOM = 2.0


@dataclass(frozen=True)
class LabelledScene:
    """Decoded pictures of one scene and its label.

    Attributes:
        pictures: (3P, h, w) ``uint8``, P pictures of three channels, concatenated.
        label: (1, h, w) ``uint8`` class ids.
    """

    pictures: Tensor
    label: Tensor


@dataclass(frozen=True)
class LabelledBatch(TensorBatch):
    """Scenes of different sizes.

    Attributes:
        pictures: (B, 3P, Hmax, Wmax) ``uint8``, zero-padded at the right and bottom.
        labels: (B, 1, Hmax, Wmax) ``uint8``, padded with 255.
        sizes: (B, 2) int64, [h, w] of each scene.
    """

    pictures: Tensor
    labels: Tensor
    sizes: Tensor


def find_labelled(folders: Sequence[Path], labels: Path, problems: list[str], stems: set[str] | None = None, *,
                  list_labels: Callable[[Path], list[Path]] = list_pictures) -> list[LabelledPaths]:
    """Find scenes by file stem, sorted.

    Args:
        folders: folder of the pictures, or folders of infrared and visible. In a folder with results of a fusing run,
            only the files ``<stem>_recover`` are used.
        labels: folder of the labels.
        problems: receives one line for each file without a partner.
        stems: the wanted scenes; None for all.
        list_labels: function that lists the label files of a folder.

    Raises:
        MissingFileError: a folder does not exist.
    """
    if len(folders) == 1:
        pictures = {stem: (path,) for stem, path in _fused_first(folders[0], problems).items()}
    else:
        pictures = {pair.stem: (pair.first, pair.second) for pair in match_stems(*folders, problems, check=False)}
    known = _by_stem(list_labels(labels), problems)
    wanted = known.keys() | pictures.keys() if stems is None else stems
    for stem in sorted(wanted):
        if stem not in known:
            problems.append(f"{stem}: no label of that stem in {labels}")
        elif stem not in pictures:
            problems.append(f"{known[stem]}: no picture of that stem in {' and '.join(map(str, folders))}")
    return [LabelledPaths(stem, pictures[stem], known[stem])
            for stem in sorted(wanted & known.keys() & pictures.keys())]


class LabelledFolder(Dataset):
    """Labelled scenes of a list.

    Args:
        scenes: the files.
        roles: role of each picture of a scene.
        short_side: short side to which pictures and labels are reduced; None keeps their size.
        rule: how values are mapped.
    """

    label = "labelled scenes"

    def __init__(self, scenes: Sequence[LabelledPaths], roles: Sequence[Role], short_side: int | None = None,
                 rule: ReadingRule = AS_STORED) -> None:
        self.scenes, self.roles, self.short_side, self.rule = scenes, roles, short_side, rule

    def __len__(self) -> int:
        return len(self.scenes)

    def read(self, index: int) -> LabelledScene:
        """Decode a scene.

        Raises:
            UserError: a file is missing or not a complete picture, or the sizes differ.
        """
        pictures = self.pictures(index)
        ids = read_label(self.scenes[index].label)
        height, width = pictures.shape[1:]
        if ids.shape != (height, width):
            ids = cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        return LabelledScene(pictures, to_planes(ids))

    def pictures(self, index: int) -> Tensor:
        """The pictures of a scene without the label, (3P, h, w) ``uint8``."""
        return self.shrunk(self.decoded(index))

    def decoded(self, index: int) -> list[np.ndarray]:
        """Decode the pictures of a scene at their own size, (H, W, 1 or 3) ``uint8``."""
        read = read_scene(self.scenes[index].pictures, self.rule, self.roles)
        if len({picture.size for picture in read}) > 1:
            raise UserError(f"{read[0].path} and {read[1].path} differ in size; register and resize the pair first")
        return [to_8_bit(picture.pixels) for picture in read]

    def shrunk(self, pixels: list[np.ndarray]) -> Tensor:
        """Reduce decoded pictures to the short side, (3P, h, w) ``uint8``."""
        if self.short_side:
            pixels = [shrink(values, self.short_side) for values in pixels]
        return torch.cat([to_planes(values).expand(3, -1, -1) for values in pixels])

    @staticmethod
    def collate(items: list[LabelledScene]) -> LabelledBatch:
        """Pad scenes to a batch."""
        pictures, sizes = pad_batch([item.pictures for item in items])
        labels, _ = pad_batch([item.label for item in items], fill=IGNORED)
        return LabelledBatch(pictures, labels, sizes)


class LabelledCrop:
    """A random square of each scene, flipped with probability 1/2; the same for its pictures and its label.

    The side of the square is 1/2 to 1 of the crop's side (log-uniform), at most the short side of the scene, so that
    objects keep their size or are enlarged up to twofold. Pictures are resized bilinearly with antialiasing, labels by
    nearest neighbour.

    Args:
        image_size: side S of the results.
    """

    def __init__(self, image_size: int) -> None:
        self.image_size = image_size

    def __call__(self, batch: LabelledBatch, generators: Mapping[str, torch.Generator]) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3P, S, S) in [0, 1] and class ids (B, S, S) int64.

        Args:
            batch: whole scenes.
            generators: "crop", on the batch's device.
        """
        generator, device = generators["crop"], batch.sizes.device
        zoom, down, across, mirror = torch.rand(4, len(batch), generator=generator, device=device)
        side = (self.image_size * _LARGEST_ZOOM ** -zoom).round().minimum(batch.sizes.amin(1))
        top, left = (((batch.sizes[:, i] - side + 1) * share).floor() for i, share in enumerate((down, across)))
        boxes, flip = torch.stack([top, left, side, side], dim=1).long(), mirror < 0.5
        labels = crop_nearest(batch.labels[:, 0], boxes, self.image_size, flip)
        return crop_resize(batch.pictures, boxes, self.image_size, flip), labels.long()


def crop_nearest(labels: Tensor, boxes: Tensor, size: int, flip: Tensor) -> Tensor:
    """Crop each label to a box and resize it by nearest neighbour.

    Args:
        labels: (B, H, W).
        boxes: (B, 4) top, left, height, width, int64.
        size: side S of the result in pixels.
        flip: (B,) bool, flip horizontally.

    Returns:
        (B, S, S).
    """
    centres = (torch.arange(size, device=labels.device) + 0.5) / size
    rows, columns = (boxes[:, i, None] + (centres * boxes[:, i + 2, None]).long() for i in (0, 1))
    columns = torch.where(flip[:, None], columns.flip(1), columns)
    return labels[torch.arange(len(labels), device=labels.device)[:, None, None], rows[:, :, None], columns[:, None]]


def _fused_first(folder: Path, problems: list[str]) -> dict[str, Path]:
    """Pictures by the stem of their scene."""
    pictures, ending = _by_stem(list_pictures(folder), problems), f"_{FUSED}"
    fused = {stem.removesuffix(ending): path for stem, path in pictures.items() if stem.endswith(ending)}
    return fused or pictures


def _by_stem(files: Sequence[Path], problems: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in files:
        if found.setdefault(path.stem, path) is not path:
            problems.append(f"{path}: has the stem of {found[path.stem].name}; keep one of them")
    return found
