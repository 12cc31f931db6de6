"""Exported models beside PyTorch: size of the file, difference of the pictures, seconds and memory (docs/EXPORT.md).

    defusionpp export defusionpp_hr head.onnx
    python -m benchmarks.exported defusionpp_hr head.onnx [...] --size 640 480

Each file fuses the demo pairs of the three tasks, and repeatedly one pair of the size, in a process of its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from data.demo import PHOTOGRAPHS, exposures, focus_settings, infrared_visible, load_photograph
from data.simulate import to_bytes
from models.fuser import Fuser
from models.weight_files import find_weights
from utils.cli import run


def demo_pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The first demo pair of each task, (H, W, C) ``uint16``: deeper than 8 bits, so that rounding hides nothing."""
    photographs = {name: load_photograph(name) for name in PHOTOGRAPHS}
    found = {"IVF": infrared_visible, "MEF": exposures, "MFF": focus_settings}
    firsts = {task: next(iter(make(photographs).values())) for task, make in found.items()}
    return {task: tuple(to_bytes(np.atleast_3d(one)).astype(np.uint16) * 257 for one in pair)
            for task, pair in firsts.items()}


def measure(weights: str, size: tuple[int, int], repeats: int, out: Path) -> dict[str, float]:
    """Fuse with one file, in this process; writes the fused demo pairs to ``out``.

    Args:
        weights: file or name.
        size: (width, height) of the timed pair.
        repeats: of the timed pair.
        out: an .npz file.

    Returns:
        Fastest wall and processor time in seconds, and the largest memory before and after fusing in MB.
    """
    fuse = Fuser.from_pretrained(weights, device="cpu", amp="off")
    before = _peak_memory()
    np.savez(out, **{task: fuse(*pair, task=task, components=False).fused for task, pair in demo_pairs().items()})
    rng = np.random.default_rng(0)
    infrared, visible = (rng.integers(0, 256, (size[1], size[0], count), dtype=np.uint8) for count in (1, 3))
    wall, processor = [], []
    for _ in range(repeats):
        started = time.perf_counter(), time.process_time()
        fuse(infrared, visible, task="IVF", components=False)
        wall.append(time.perf_counter() - started[0])
        processor.append(time.process_time() - started[1])
    return {"wall": min(wall), "processor": min(processor), "before": before, "peak": _peak_memory()}


def _peak_memory() -> float:
    """Largest memory of this process so far, in MB. Not that of `utils/memory.py`, which loads PyTorch."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def compare(files: list[str], size: tuple[int, int], repeats: int) -> str:
    """The table of all files; differences are to the first, in levels of 255."""
    rows = ["| file | MB | largest difference | mean | seconds | processor | memory, MB | at the peak |",
            "|---|---:|---:|---:|---:|---:|---:|---:|"]
    with tempfile.TemporaryDirectory() as folder:
        first = None
        for number, name in enumerate(files):
            out = Path(folder, f"{number}.npz")
            words = [sys.executable, "-m", "benchmarks.exported", name, "--alone", str(out), "--repeats", str(repeats),
                     "--size", *map(str, size)]
            found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
            with np.load(out) as pictures:
                fused = {task: pictures[task].astype(float) / 257 for task in pictures.files}
            first = first or fused
            apart = [np.abs(fused[task] - first[task]) for task in fused]
            rows.append(f"| {Path(name).name} | {find_weights(name).stat().st_size / 1e6:.1f} "
                        f"| {max(one.max() for one in apart):.2f} | {np.mean([one.mean() for one in apart]):.3f} "
                        f"| {found['wall']:.2f} | {found['processor']:.2f} | {found['before']:.0f} "
                        f"| {found['peak']:.0f} |")
    return "\n".join(rows) + "\n"


def main(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exported", description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", help="weights; the others are compared with the first")
    parser.add_argument("--size", nargs=2, type=int, default=(640, 480), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)  # the process of one file
    given = parser.parse_args(arguments)
    if given.alone:
        print(json.dumps(measure(given.files[0], tuple(given.size), given.repeats, given.alone)))
    else:
        print(compare(given.files, tuple(given.size), given.repeats), end="")


if __name__ == "__main__":
    run(main)
