"""The golden triples (two sources, fused image) and the toolboxes' values for them."""

import json
from pathlib import Path

import cv2
import numpy as np

SYNTHETIC = Path(__file__).resolve().parent.parent / "golden" / "metrics"
SYNTHETIC_VALUES = json.loads((SYNTHETIC / "values_synthetic.json").read_text())["values"]


def read_triple(name: str, folder: Path = SYNTHETIC) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A, B, F of one triple: uint8, (H, W) or (H, W, 3) in RGB order."""
    pictures = (cv2.imread(str(folder / f"{name}_{letter}.png"), cv2.IMREAD_UNCHANGED) for letter in "ABF")
    return tuple(p if p.ndim == 2 else np.ascontiguousarray(p[:, :, ::-1]) for p in pictures)


def textured_triple(rows: int = 200, columns: int = 190, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Blurred noise with full contrast; the fused image is the rounded mean of the sources with some of its own."""
    generator = np.random.default_rng(seed)
    noise = (cv2.GaussianBlur(generator.normal(0, 1, (rows, columns)), (0, 0), 2) for _ in range(3))
    a, b, own = (127 + 300 * n for n in noise)
    return tuple(np.clip(np.rint(p), 0, 255).astype(np.uint8) for p in (a, b, 0.4 * a + 0.5 * b + 0.1 * own))
