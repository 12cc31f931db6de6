"""Largest deviation of each metric from each toolbox, as a Markdown table.

    python benchmarks/metrics_calibration.py [FOLDER]

FOLDER contains `values.json` and the pictures of the triples (default: the real and synthetic ones if
$DEFUSION_SHARED/golden/metrics or ../shared/golden/metrics exists, else the synthetic ones of tests/golden/metrics).
Deviations are relative; a value of 0 is compared absolutely. Colour triples are scored per channel.
"""

import json
import logging
import math
import os
import sys
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from metrics import METRICS, compute  # noqa: E402

TOOLBOXES = ("VIFB", "MEFB", "Liu", "Tang", "CDDFuse", "Wang", "composed")
SEAMED = {"SF@VIFB"}  # on colour, VIFB lays the channels side by side: see the documentation


def default_folder() -> Path:
    """Folder of the golden triples."""
    shared = Path(os.environ.get("DEFUSION_SHARED", ROOT.parent / "shared")) / "golden" / "metrics"
    return shared if (shared / "values.json").is_file() else ROOT / "tests" / "golden" / "metrics"


def read(folder: Path, triple: str, letter: str) -> np.ndarray:
    """One picture, RGB order."""
    picture = cv2.imread(str(folder / f"{triple}_{letter}.png"), cv2.IMREAD_UNCHANGED)
    return picture if picture.ndim == 2 else np.ascontiguousarray(picture[:, :, ::-1])


def deviations(folder: Path) -> dict[str, list[tuple[float, str]]]:
    """For each key: relative deviation and triple, for all triples with a value."""
    file = next(f for f in (folder / "values.json", folder / "values_synthetic.json") if f.is_file())
    found: dict[str, list[tuple[float, str]]] = {}
    for triple, golden in json.loads(file.read_text())["values"].items():
        pictures = [read(folder, triple, letter) for letter in "ABF"]
        coloured = any(p.ndim == 3 for p in pictures)
        names = sorted({key.removesuffix("-f32") for key in golden})
        values = compute(names, *pictures, colour="channels" if coloured else "grey")
        for key, expected in golden.items():
            if expected is None or (coloured and key in SEAMED):
                continue
            off = abs(values[key.removesuffix("-f32")] - expected) / (abs(expected) or 1)
            found.setdefault(key, []).append((off if math.isfinite(off) else math.inf, triple))
    return found


def cell(entries: list[str], found: dict[str, list[tuple[float, str]]]) -> str:
    """Keys of one metric and toolbox with their largest deviation and its triple."""
    parts = []
    for key in entries:
        worst, triple = max(found[key])
        _, _, variant = key.partition("@")
        label = variant.partition("-")[2]
        where = f" ({triple})" if worst > 1e-6 else ""
        parts.append(
            f"{label + ': ' if label else ''}{worst:.0e}{where}" if worst else f"{label + ': ' if label else ''}0"
        )
    return "; ".join(parts)


def main() -> None:
    """Print the table."""
    logging.disable(logging.WARNING)  # that the synthetic triples are too small for MS_SSIM
    found = deviations(Path(sys.argv[1]) if len(sys.argv) > 1 else default_folder())
    bases = list(dict.fromkeys(metric.base for metric in METRICS.values()))
    triples = len({triple for entries in found.values() for _, triple in entries})
    print(f"Largest relative deviation over {triples} triples.\n")
    print("| metric | " + " | ".join(TOOLBOXES) + " |\n" + "|---" * (len(TOOLBOXES) + 1) + "|")
    for base in bases:
        keys = [key for key in found if key.partition("@")[0] == base]
        if keys:
            by_toolbox = [[k for k in keys if k.partition("@")[2].split("-")[0] == toolbox] for toolbox in TOOLBOXES]
            print(f"| {base} | " + " | ".join(cell(sorted(entries), found) for entries in by_toolbox) + " |")


if __name__ == "__main__":
    main()
