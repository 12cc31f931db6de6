"""Labelled pairs whose label can be read off the pictures, made by formula."""

from pathlib import Path

import numpy as np

from option.schema import Options
from utils.pictures.writing import write_picture

CLASSES = ("ground", "warm", "green")


def make_scenes(root: Path, count: int = 6, size: tuple[int, int] = (40, 56)) -> None:
    """``count`` pairs: class 1 is bright in the infrared picture alone, class 2 is green in the visible one alone."""
    random = np.random.default_rng(0)
    for number in range(count):
        height, width = size
        label = np.zeros(size, np.uint8)
        label[:, : width // 3] = 1 + number % 2
        label[height // 2 :, width // 2 :] = 2 - number % 2
        infrared = (40 + 160 * (label == 1) + random.integers(0, 30, size)).astype(np.uint8)
        visible = random.integers(60, 90, (*size, 3)).astype(np.uint8)
        visible[..., 1] += (120 * (label == 2)).astype(np.uint8)
        write_picture(root / "ir" / f"{number}.png", infrared)
        write_picture(root / "vi" / f"{number}.png", visible)
        write_picture(root / "label" / f"{number}.png", label)


def scene_options(root: Path, **sections) -> Options:
    """A short run on these scenes, which are also the test pictures."""
    data = {"infrare_name": "ir", "visible_name": "vi", "label_name": "label"}
    return Options(
        name="tiny", device="cpu", use_tb_logger=False,
        dataset={"train": {**data, "irvis_dataroot": str(root), "batch_size": 3, "image_size": 32, "workers": 0,
                           **sections.pop("train_data", {})},
                 "test": {**data, "dataroot": str(root), **sections.pop("test_data", {})}},
        network_G={"embed_dim": 48, "depth": 7, "num_heads": 3, "last_heads": 3, "decoder_heads": 4},
        downstream={"classes": CLASSES, "width": 16, **sections.pop("downstream", {})},
        path=sections.pop("path"),
        train={"lr": 3e-3, "optimizer": "adamw", "schedule": "cosine", "amp": "off", "epoch": 2,
               **sections.pop("train", {})}, **sections)


def make_boxes(root: Path, count: int = 6, size: tuple[int, int] = (64, 96)) -> None:
    """``count`` pairs with boxes in YOLO's form: class 0 is bright in the infrared picture, class 1 green."""
    random = np.random.default_rng(0)
    (root / "labels").mkdir()
    height, width = size
    for number in range(count):
        infrared = random.integers(30, 60, size).astype(np.uint8)
        visible = random.integers(60, 90, (*size, 3)).astype(np.uint8)
        lines = []
        for kind, left in enumerate((6 + 3 * number, 54 + 2 * number)):
            top, side = 6 + 4 * number, 24
            cut = slice(top, top + side), slice(left, left + side)
            (infrared if kind == 0 else visible[..., 1])[cut] += 120
            lines.append(f"{kind} {(left + side / 2) / width} {(top + side / 2) / height} {side / width} "
                         f"{side / height}\n")
        write_picture(root / "ir" / f"{number}.png", infrared)
        write_picture(root / "vi" / f"{number}.png", visible)
        (root / "labels" / f"{number}.txt").write_text("".join(lines))
