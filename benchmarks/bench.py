"""Measures the speed of training and fusing, compared with the machine's limits and the literal version.

    python -m benchmarks.bench [--device auto] [--quick] [--json bench.json] [--compare OLD.json] [--compile]

Each line is measured in a separate process, so that memory is counted separately. Times are those of the fastest
repeat, the one least disturbed on a shared machine. A full run takes about three minutes on two cores, ``--quick`` a
little more than one.
"""

import argparse
import logging
import multiprocessing
import platform
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks import fusing, table, training
from benchmarks.ceiling import measure_ceiling
from benchmarks.measure import Row
from utils.cli import run
from utils.distributed import choose_device
from utils.version import commit

log = logging.getLogger(__name__)

BATCH = 16
LARGE_BATCH = {"cpu": 32, "cuda": 512}
COMMON_PAIR = (640, 512)
PAIRS = ((224, 224), COMMON_PAIR, (1024, 768), (3840, 2160))
Measurement = Callable[[], Row]


def main(argv: list[str]) -> None:
    """Parse the arguments, measure, print and save the table."""
    arguments = parse(argv)
    device = choose_device(arguments.device)
    old = table.load(arguments.compare) if arguments.compare else None
    with tempfile.TemporaryDirectory(prefix="defusion-bench-") as folder:
        for result in measure_all(arguments, device, Path(folder)):
            if arguments.json:
                table.save(result, arguments.json)  # after each line, so that an interrupted run keeps its results
    print(table.render(result))
    if old:
        print("\n" + table.compare(result, old))


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--amp", choices=("auto", "bf16", "off"), default="auto", help="precision of our rows")
    parser.add_argument("--quick", action="store_true", help="only batch 16 and pairs of 640 x 512, fewer repeats")
    parser.add_argument("--compile", action="store_true", help="also measure train.compile (minutes on a CPU)")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--compare", type=Path, help="print ratios to the JSON of an earlier run")
    parser.add_argument("--only", default="", help="only rows whose name contains this text")
    return parser.parse_args(argv)


def measure_all(arguments: argparse.Namespace, device: torch.device, folder: Path) -> Iterator[dict[str, Any]]:
    """Measure everything requested; yields the JSON content with one more row each time."""
    budget = 4.0 if arguments.quick else 6.0
    ceiling = apart(partial(measure_ceiling, device, budget=budget / 6))
    machine = f"PyTorch {torch.__version__}, Python {platform.python_version()}, commit {commit()}"
    result = {"machine": machine, "ceiling": ceiling.to_json(), "rows": []}
    yield result
    planned = [(name, work) for name, work in plan(arguments, device, folder, budget) if arguments.only in name]
    for name, work in (progress := tqdm(planned, leave=False, disable=None)):
        progress.set_description(name)
        try:
            result["rows"].append(apart(work).to_json())
        except (BrokenProcessPool, RuntimeError) as error:
            log.warning("%s: not measured: %s", name, str(error).splitlines()[0])
        yield result


def plan(arguments: argparse.Namespace, device: torch.device, folder: Path,
         budget: float) -> Iterator[tuple[str, Measurement]]:
    """The measurements in order: a label, and a function for a separate process."""
    large = LARGE_BATCH.get(device.type, BATCH)
    photographs = training.write_photographs(folder / "photographs", 8 * (BATCH if arguments.quick else large))
    ours = partial(training.measure_ours, photographs, device, amp=arguments.amp, budget=budget)
    yield "training", partial(ours, batch=BATCH, compiled=False)
    if arguments.compile:
        yield "training compiled", partial(ours, batch=BATCH, compiled=True)
    yield "training literal", partial(training.measure_naive, photographs, device, batch=BATCH, budget=budget)
    fuse = partial(fusing.measure_fusing, device, amp=arguments.amp, budget=budget / 2)
    for width, height in (COMMON_PAIR,) if arguments.quick else PAIRS:
        yield f"fusing {width} x {height}", partial(fuse, model="DeFusionPP", width=width, height=height)
    width, height = COMMON_PAIR
    yield "fusing literal", partial(fusing.measure_naive_fusing, device, width=width, height=height, budget=budget / 2)
    if not arguments.quick:
        yield "fusing DeFusionPPHR", partial(fuse, model="DeFusionPPHR", width=width, height=height)
        yield f"training batch {large}", partial(ours, batch=large, compiled=False)
        yield "training float32", partial(ours, batch=BATCH, compiled=False, amp="off")


def apart(work: Callable[[], Any]) -> Any:
    """Run a function in a new process and return its result."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(work).result()


if __name__ == "__main__":
    run(main)
