"""Pairs of two cameras that stand beside each other, simulated from a photograph."""

from functools import cache
from pathlib import Path

import numpy as np

from data.demo import PHOTOGRAPHS, infrared_visible, load_photograph
from data.simulate import to_bytes
from utils.pictures.writing import write_picture


@cache
def _cup() -> tuple[np.ndarray, np.ndarray]:
    return infrared_visible({name: load_photograph(name) for name in PHOTOGRAPHS})["coffee"]


def rig_pair(shift: int) -> tuple[np.ndarray, np.ndarray]:
    """(infrared (H, W, 1), visible (H, W, 3)), ``uint8``; the first shows things ``shift`` pixels further right."""
    infrared, visible = _cup()
    window = np.s_[8:-8, 24:-24]
    return to_bytes(np.roll(infrared, shift, axis=1)[window])[..., None], to_bytes(visible[window])


def write_rig(folder: Path, stems: str, shift: int) -> None:
    """The pair in ``ir/`` and ``vi/``, under every letter of ``stems``."""
    for stem in stems:
        for side, pixels in zip(("ir", "vi"), rig_pair(shift)):
            write_picture(folder / side / f"{stem}.png", pixels)
