"""Processor seconds per metric on one triple, one core.

    OMP_NUM_THREADS=1 python benchmarks/metrics.py [--size 480x640] [--repeat 3]

Each metric is timed separately (nothing shared), then the common ten, the whole set without FMI, and FMI, with shared
results as in `compute`. The first run, which compiles, is not counted.
"""

import argparse
import sys
import time
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from metrics import METRICS, compute, expand


def textured_triple(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Photograph-like random pictures: edges, texture, some noise, a saturated area."""
    generator = np.random.default_rng(0)
    pictures = []
    for _ in range(2):
        coarse, fine = (cv2.GaussianBlur(generator.normal(0, 1, (rows, columns)), (0, 0), s) * s for s in (12, 1.5))
        picture = (
            120 + 90 * np.sign(coarse) * np.abs(coarse) ** 0.5 + 30 * fine + generator.normal(0, 2, (rows, columns))
        )
        pictures.append(picture)
    pictures.append(0.5 * pictures[0] + 0.5 * pictures[1])
    return tuple(np.clip(np.rint(p), 0, 255).astype(np.uint8) for p in pictures)


def seconds(names: list[str], triple: tuple[np.ndarray, ...], repeat: int) -> float:
    """Smallest processor time of ``repeat`` runs, after a warm-up."""
    compute(names, *triple)
    times = []
    for _ in range(repeat):
        start = time.process_time()
        compute(names, *triple)
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="480x640", help="rows x columns")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    rows, columns = (int(n) for n in arguments.size.split("x"))
    cv2.setNumThreads(1)
    triple = textured_triple(rows, columns)
    every = expand("all")
    fmi = [name for name in every if name.startswith("FMI")]
    print(
        f"processor seconds per metric, {rows} x {columns} grey, one core\n\n| metric | s | cost class |\n|---|---|---|"
    )
    for name in every:
        print(f"| {name} | {seconds([name], triple, arguments.repeat):.4f} | {METRICS[name].cost} |", flush=True)
    groups = {"common": expand("common"), "all but FMI": [n for n in every if n not in fmi], "FMI (all four)": fmi}
    for label, names in groups.items():
        print(f"| **{label}** | {seconds(names, triple, arguments.repeat):.3f} | |", flush=True)


if __name__ == "__main__":
    main()
