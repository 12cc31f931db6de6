"""Small pictures first: what a first phase at a smaller size gives at equal time.

    python -m benchmarks.progressive --photos PHOTOS --held-back PHOTOS2 --out OUT [--images 3000] [--size 224] \\
        [--runs 224-224 160-224 112-224 112-112] [--share 0.667] [--cost 112=0.246]

A run FIRST-SECOND trains the published network on crops of FIRST pixels for ``--share`` of the time, then on crops of
SECOND pixels. All have the same weights at the start, the same photographs, and the same learning rate as a function
of time: constant after a short rise in the first phase, down to 0 along a cosine in the second, which goes on with
weights and optimiser as the first left them. Time is counted, not measured, so that a busy machine distorts nothing:
an image of SIZE pixels takes COST[SIZE], and a run may take ``--images`` in all.

After each phase the loss terms are taken over all photographs of ``--held-back``, as crops of ``--size`` with the same
draws every time. A start goes on where the last one stopped; OUT/scores.json keeps what was measured. The table goes
to standard output and to OUT/table.md.
"""

import argparse
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from benchmarks.runs import add_training_arguments, keep_text, resumed_trainer, run_options
from data.photos import PhotoFolder, build_photo_loader, photo_files
from data.synthesis import Synthesizer
from models.losses import CUDLoss
from models.registry import MODELS
from models.tasks import CUDTask
from option.schema import Options, TrainDataOptions
from utils.cli import run
from utils.distributed import choose_device
from utils.errors import UserError
from utils.memory import keep_freed_memory

log = logging.getLogger("progressive")

COSTS = {224: 1.0, 160: 2.07 / 4.27, 112: 1.05 / 4.27}  # measured: docs/SPEED.md, size of the training pictures
SCENARIOS = {"noise": 1.0}
VALIDATION_BATCH, VALIDATION_SEED = 16, 11


@dataclass(frozen=True)
class Phase:
    """A part of a run: side of the crops, time that an image takes, and the run's steps before it and at its end."""

    size: int
    cost: float
    start: int
    end: int


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line; ``runs`` as sizes by name, ``cost`` as a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_training_arguments(parser)
    parser.add_argument("--held-back", type=Path, required=True, help="folder of other photographs, to validate on")
    parser.add_argument("--images", type=int, default=3000, help="images at a cost of 1 that the time is enough for")
    parser.add_argument("--size", type=int, default=224, help="side of the crops that are validated on")
    parser.add_argument("--runs", nargs="+", default=["224-224", "112-224", "160-224"], metavar="FIRST-SECOND")
    parser.add_argument("--share", type=float, default=2 / 3, help="of the time, for the first phase")
    parser.add_argument("--warmup", type=float, default=0.05, help="share of the time in which the rate rises")
    parser.add_argument("--cost", nargs="+", default=[], metavar="SIZE=COST",
                        help="time that an image takes; known: " + ", ".join(f"{s}={c:.3f}" for s, c in COSTS.items()))
    parser.add_argument("--network", type=json.loads, default={}, help="keywords of the network, as JSON")
    args = parser.parse_args(arguments)
    try:
        args.runs = {name: tuple(map(int, name.split("-"))) for name in args.runs}
        args.cost = COSTS | {int(size): float(cost) for size, cost in (text.split("=", 1) for text in args.cost)}
    except ValueError as error:
        parser.error(f"{error}; runs are written 112-224, costs 112=0.246")
    if not 0 <= args.warmup <= args.share < 1:
        parser.error("--warmup is a part of --share, and that is less than 1")
    return args


def plan(sizes: tuple[int, ...], args: argparse.Namespace) -> list[Phase]:
    """Both phases of a run, in whole steps; what the first is rounded by is made up for by the second.

    Raises:
        UserError: a size that cannot be or whose cost is unknown, or no time for a single step.
    """
    if len(sizes) != 2 or any(size < 32 or size % 16 or size not in args.cost for size in sizes):
        raise UserError(f"run {'-'.join(map(str, sizes))}: give two multiples of 16 from 32 up whose cost is known, or "
                        "--cost SIZE=COST")
    first, second = (args.cost[size] for size in sizes)
    steps = args.images / args.batch
    one = round(args.share * steps / first)
    two = round((steps - one * first) / second)
    if one < 1 or two < 1:
        raise UserError(f"--images {args.images}: no time for a step of {args.batch} in each phase; give more")
    return [Phase(sizes[0], first, 0, one), Phase(sizes[1], second, one, one + two)]


def options_of(name: str, phases: list[Phase], number: int, batches: int, args: argparse.Namespace) -> Options:
    """The option file of one phase: the first rises, then stays; the second begins its cosine where the first ends.

    Args:
        number: of the phase, 0 or 1.
        batches: in an epoch.
    """
    phase = phases[number]
    rising = phase.start if number else args.warmup * args.images / (args.batch * phase.cost)
    return run_options(name, args, model="DeFusionPP", network=args.network, size=phase.size, cache_size=256,
                       scenarios=SCENARIOS, train={
                           "max_steps": phase.end, "warmup_epochs": rising / batches, "loss": "CUDLoss",
                           "schedule": "cosine" if number else "step", "lr_steps": [1_000_000]})


def build_task(model: nn.Module, size: int) -> CUDTask:
    """What is trained and what is validated, on crops of ``size`` pixels."""
    return CUDTask(model, Synthesizer(size, SCENARIOS), CUDLoss())


@torch.no_grad()  # not inference_mode: tables that are kept for later steps are computed here
def validate(model: nn.Module, args: argparse.Namespace, device: torch.device) -> dict[str, float]:
    """Loss terms, means over all held-back photographs, in float32, with the same draws at every call.

    Raises:
        UserError: a photograph cannot be read.
    """
    root, files = photo_files(TrainDataOptions(dataroot=str(args.held_back)), seed=0, run_dir=None)
    photographs, task = PhotoFolder(root, files), build_task(model, args.size).to(device).eval()
    generators = {name: torch.Generator("cpu" if name == "order" else device).manual_seed(VALIDATION_SEED)
                  for name in task.generator_names}
    sums: dict[str, float] = {}
    for start in range(0, len(files), VALIDATION_BATCH):
        items = [photographs.read(index) for index in range(len(files))[start:start + VALIDATION_BATCH]]
        terms = task(photographs.collate(items).to(device), generators)
        sums = {name: sums.get(name, 0.0) + float(value) * len(items) for name, value in terms.items()}
    return {name: value / len(files) for name, value in sums.items()}


def train(name: str, phases: list[Phase], args: argparse.Namespace, device: torch.device, done: int) -> Iterator[dict]:
    """Trains the phases of a run after the first ``done``; gives a line of results after each."""
    folder = args.out / name
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    model = MODELS.create("DeFusionPP", **args.network)
    first = options_of(name, phases, 0, 1, args)
    loader = build_photo_loader(first.dataset.train, seed=args.seed, run_dir=folder, device=device)
    for number, phase in list(enumerate(phases))[done:]:
        options = options_of(name, phases, number, len(loader), args)
        trainer = resumed_trainer(build_task(model, phase.size), loader, options, folder, device)
        if number and trainer.step < phase.start:
            raise UserError(f"{folder}: the checkpoint of the first phase is gone; remove {name} from scores.json")
        summary = trainer.fit()
        yield {"size": phase.size, "steps": phase.end, "images": summary.images, "minutes": summary.seconds / 60,
               "time": args.batch * sum((part.end - part.start) * part.cost for part in phases[:number + 1]),
               "losses": validate(model, args, device)}


def table(rows: dict[str, list[dict]]) -> str:
    """Markdown table, a line for each phase."""
    columns = list(dict.fromkeys(name for row in rows.values() for phase in row for name in phase["losses"]))
    columns.sort(key=lambda name: name != "total_loss")
    heads = [name.removeprefix("self_supervised_").replace("_", " ") for name in columns]
    lines = ["| run | after | steps | images | time, in images | minutes | " + " | ".join(heads) + " |",
             "| --- | --- |" + " ---: |" * (len(columns) + 4)]
    for name, number, phase in ((name, *pair) for name, row in rows.items() for pair in enumerate(row, 1)):
        values = " | ".join(f"{phase['losses'][column]:.3f}" for column in columns)
        lines.append(f"| {name} | phase {number} | {phase['steps']} | {phase['images']} | {phase['time']:.0f} | "
                     f"{phase['minutes']:.1f} | {values} |")
    return "\n".join(lines) + "\n"


def settings_of(args: argparse.Namespace) -> dict:
    """What all runs of a folder must agree on, as JSON keeps it."""
    free = ("out", "runs", "minutes", "device", "workers")
    return json.loads(json.dumps({name: value for name, value in vars(args).items() if name not in free}, default=str))


def main(arguments: list[str]) -> None:
    """Trains and measures what is still missing, and prints the table."""
    args = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    keep_freed_memory()
    device, kept = choose_device(args.device), args.out / "scores.json"
    new = {"settings": settings_of(args), "runs": {}}
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else new
    if known["settings"] != new["settings"]:
        raise UserError(f"{kept} is of runs with other settings ({known['settings']}); give another --out")
    plans = {name: plan(sizes, args) for name, sizes in args.runs.items()}  # before any is trained
    for name, phases in plans.items():
        row = known["runs"].setdefault(name, [])
        for phase in train(name, phases, args, device, len(row)) if len(row) < 2 else ():
            row.append(phase)
            keep_text(json.dumps(known, indent=1), kept)
            log.info("%s, after phase %d: %s", name, len(row), phase["losses"])
    keep_text(table(known["runs"]), args.out / "table.md")
    print(table(known["runs"]))


if __name__ == "__main__":
    run(main)
