"""Small made-up data sets on disk: two source folders and the results of some methods."""

from pathlib import Path

import cv2
import numpy as np

from metrics.folders import Method, find_sources, name_methods
from utils.pictures.pairs import PairList


def texture(seed: int, shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    """Blurred noise with full contrast, (H, W) uint8."""
    noise = np.random.default_rng(seed).normal(0, 1, shape)
    return np.clip(np.rint(127 + 160 * cv2.GaussianBlur(noise, (0, 0), 1.5)), 0, 255).astype(np.uint8)


def write_set(root: Path, pairs: int = 3, methods: dict[str, float] | None = None, *, shape=(60, 80),
              suffix: str = "", colour: bool = False) -> tuple[PairList, list[Method]]:
    """Write ``ir/``, ``vi/`` and one folder a method, each fusing with its own weight of the first source."""
    methods = {"Mean": 0.5, "First": 0.9, "Second": 0.1} if methods is None else methods
    for number in range(pairs):
        a, b = (texture(10 * number + k, shape).astype(np.float64) for k in (0, 1))
        pictures = {"ir": a, "vi": b} | {name: share * a + (1 - share) * b for name, share in methods.items()}
        for folder, pixels in pictures.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            stem = f"scene{number}{suffix if folder in methods else ''}"
            pixels = np.rint(pixels).astype(np.uint8)
            if colour and folder != "ir":
                pixels = np.dstack([pixels, pixels[::-1], 255 - pixels])
            cv2.imwrite(str(root / folder / f"{stem}.png"), pixels)
    return find_sources(root / "ir", root / "vi"), name_methods([root / name for name in methods])
