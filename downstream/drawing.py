"""Draws what the rows of a comparison find in a picture: colours of classes, or boxes with scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data.boxed import BoxedFolder
from data.labelled import LabelledFolder
from data.labels import read_label
from downstream.colours import class_colours
from downstream.records import Record
from downstream.rows import Run, record_path
from downstream.sets import scored_set
from metrics.pictures import Shown
from option.schema import Options

_OPACITY = 0.6
_LEAST_SCORE = 0.3  # of a drawn box
_FONT, _TEXT = cv2.FONT_HERSHEY_SIMPLEX, 0.55


@dataclass(frozen=True)
class ShownScene:
    """A test picture in the report.

    Attributes:
        stem: its name.
        told: what the picture holds, in words.
        pictures: the label, then what each row finds.
    """

    stem: str
    told: str
    pictures: tuple[Shown, ...]


def shown_scenes(options: Options, records: Mapping[str, Mapping[int, Record]], runs: Mapping[str, Mapping[int, Run]],
                 indices: Sequence[int]) -> list[ShownScene]:
    """The label and the finds of each row, with its first seed, in the test pictures of these indices.

    Args:
        options: options of the comparison.
        records, runs: finished runs by row and seed.
        indices: places in the test set.
    """
    first = {row: next(iter(own.values())) for row, own in runs.items()}
    sets = {row: scored_set(one.options, "test", check=False) for row, one in first.items()} if indices else {}
    classes = options.downstream.classes
    scenes = []
    for index in indices:
        pictures: list[Shown] = []
        for row, scene_set in sets.items():
            scene, one = scene_set.scenes[index], first[row]
            seen = _seen(scene_set, index)
            if not pictures:
                pictures.append(Shown("label", "source", _labelled(scene_set, index, seen, classes)))
            found = records[row][one.seed].pictures[scene.stem]
            pictures.append(Shown(row, "method", _with_boxes(seen, found, classes) if "boxes" in found else _coloured(
                seen, read_label(record_path(options, one).with_suffix("") / f"{scene.stem}.png"))))
        scenes.append(ShownScene(scene.stem, _told(scene_set, index, classes), tuple(pictures)))
    return scenes


def legend_of(classes: Sequence[str], *, boxes: bool) -> list[tuple[str, str]]:
    """Name and CSS colour of each class. Boxes leave out the first colour, black: they have no background class."""
    colours = _palette()[int(boxes):]
    return [(name, "#" + "".join(f"{value:02x}" for value in colour)) for name, colour in zip(classes, colours)]


def _palette() -> np.ndarray:
    return (class_colours().numpy() * 255).round().astype(np.uint8)


def _seen(scenes: LabelledFolder, index: int) -> np.ndarray:
    """The last picture of a scene, (H, W, 3)."""
    return np.ascontiguousarray(np.broadcast_to(pixels := scenes.decoded(index)[-1], (*pixels.shape[:2], 3)))


def _labelled(scenes: LabelledFolder, index: int, seen: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    if not isinstance(scenes, BoxedFolder):
        return _coloured(seen, read_label(scenes.scenes[index].label))
    boxes = scenes.boxes(index, seen.shape[1::-1])
    return _with_boxes(seen, {"boxes": boxes.corners, "labels": boxes.classes}, classes)


def _coloured(seen: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """A picture with the colours of its classes; class 0 stays clear."""
    mixed = seen * (1 - _OPACITY) + _palette()[ids] * _OPACITY
    return np.where((ids > 0)[..., None], mixed, seen).round().astype(np.uint8)


def _with_boxes(seen: np.ndarray, found: Mapping[str, Any], classes: Sequence[str]) -> np.ndarray:
    """A picture with its boxes, and their classes and scores."""
    drawn, palette = seen.copy(), _palette()[1:]  # as in the legend
    scores = found.get("scores", [None] * len(found["boxes"]))
    for box, kind, score in zip(found["boxes"], found["labels"], scores):
        if score is not None and score < _LEAST_SCORE:
            continue
        colour = palette[int(kind)].tolist()
        left, top, right, bottom = (round(float(value)) for value in box)
        cv2.rectangle(drawn, (left, top), (right, bottom), colour, 2)
        text = classes[int(kind)][:3] if score is None else f"{classes[int(kind)][:3]} {score:.2f}"
        at = left, max(top - 4, 14)
        cv2.putText(drawn, text, at, _FONT, _TEXT, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.putText(drawn, text, at, _FONT, _TEXT, (255, 255, 255), 1, cv2.LINE_AA)
    return drawn


def _told(scenes: LabelledFolder, index: int, classes: Sequence[str]) -> str:
    """The labelled classes of a scene."""
    label = scenes.scenes[index].label
    if isinstance(scenes, BoxedFolder):
        kinds = scenes.boxes(index, _seen(scenes, index).shape[1::-1]).classes
        return ", ".join(f"{int((kinds == kind).sum())} {classes[kind]}" for kind in sorted(set(kinds.tolist())))
    ids = np.unique(read_label(Path(label)))
    return ", ".join(classes[i] for i in ids if 0 < i < len(classes))
