"""The record of a finished run: what it found in each test picture, from which all scores follow."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from data.boxed import BoxedFolder
from data.labelled import LabelledFolder
from data.labels import read_label
from downstream.evaluate import segment
from utils.files import atomic_write
from utils.pictures.writing import write_picture
from utils.precision import autocast, autocast_dtype

_DECIMALS = 2  # of box corners, in pixels
_SCORE_DECIMALS = 4


@dataclass(frozen=True)
class Record:
    """A finished run.

    Attributes:
        about: digest, row, seed, origin of the pictures, version, seconds.
        pictures: what was found, by stem. Segmentation: ``confusion``, (K, K) pixel counts by label and prediction.
            Detection: ``boxes`` (n, 4) in pixels of the picture's own size, ``scores``, ``labels``.
    """

    about: dict[str, Any]
    pictures: dict[str, dict[str, Any]]


def read_record(path: Path, digest: str) -> Record | None:
    """The record in a file; None if there is none, or one of another digest."""
    if not path.is_file():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    return Record(content["about"], content["pictures"]) if content["about"]["digest"] == digest else None


def write_record(record: Record, path: Path) -> None:
    """Write a record atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({"about": record.about, "pictures": record.pictures}) + "\n", encoding="utf-8")


def confusion_of(found: np.ndarray, label: np.ndarray, classes: int) -> np.ndarray:
    """(K, K) pixel counts by label and prediction, without pixels labelled 255.

    Args:
        found, label: (H, W) class ids.
        classes: number K of classes.
    """
    known = label < classes
    pairs = label[known].astype(np.int64) * classes + found[known]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def found_in(model: nn.Module, scenes: LabelledFolder, classes: int, device: torch.device, *, amp: str,
             maps: Path) -> dict[str, dict[str, Any]]:
    """What a trained network finds in each scene, in the form of ``Record.pictures``.

    Args:
        model: segmenter or detector, in eval mode, on the device.
        scenes: test pictures and labels.
        classes: number of classes.
        device: device of the model.
        amp: "auto", "bf16" or "off".
        maps: folder for the predicted class ids of a segmentation, ``<stem>.png``.
    """
    found: dict[str, dict[str, Any]] = {}
    for index, scene in enumerate(tqdm(scenes.scenes, unit="picture", desc="score", disable=None, leave=False)):
        if isinstance(scenes, BoxedFolder):
            found[scene.stem] = _boxes(model, scenes, index, device, amp)
            continue
        label = read_label(scene.label)
        ids = segment(model, scenes.pictures(index).to(device), label.shape, amp).numpy()
        write_picture(maps / f"{scene.stem}.png", ids)
        found[scene.stem] = {"confusion": confusion_of(ids, label, classes).tolist()}
    return found


@torch.no_grad()
def _boxes(model: nn.Module, scenes: BoxedFolder, index: int, device: torch.device, amp: str) -> dict[str, Any]:
    decoded = scenes.decoded(index)
    height, width = decoded[0].shape[:2]
    pictures: Tensor = scenes.shrunk(decoded)
    with autocast(autocast_dtype(amp, device), device):
        one = model([pictures.to(device).float() / 255])[0]
    scale = torch.tensor([width / pictures.shape[2], height / pictures.shape[1]]).repeat(2)
    boxes = one["boxes"].float().cpu() * scale
    return {"boxes": [[round(value, _DECIMALS) for value in box] for box in boxes.tolist()],
            "scores": [round(value, _SCORE_DECIMALS) for value in one["scores"].float().tolist()],
            "labels": one["labels"].tolist()}
