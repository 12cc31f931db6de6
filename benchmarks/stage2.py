"""What a step of stage 2 costs beside one of stage 1, in time and memory, with untrained teachers.

    python -m benchmarks.stage2 [--batch 16] [--teacher base] [--steps 3] [--amp auto] [--device auto]

Prints one line for each stage: images/s and the most memory held. The pictures are noise; only their size counts.
Each stage runs in a process of its own, so that the memory of one is not the other's.
"""

import argparse
import multiprocessing
import resource
import time
from types import SimpleNamespace

import torch

from data.streams import StreamBatch
from models.defusion import DeFusionPP
from models.losses import CUDLoss
from models.mae import SIZES, MAEEncoder
from models.multimodal import DeFusionPPMM, MCUDLoss
from models.tasks import CUDTask, MCUDTask
from models.teachers import Teachers
from utils.cli import run
from utils.distributed import choose_device
from utils.precision import autocast, autocast_dtype

SIZE = 224


def build_stage(stage: int, arguments: argparse.Namespace, device: torch.device) -> tuple[CUDTask, object]:
    """The task of a stage and a batch for it."""
    x = torch.rand(3, arguments.batch, 3, SIZE, SIZE, device=device)
    sample = SimpleNamespace(x1=x[0], x2=x[1], common=x[2], unique1=x[2], unique2=x[2], target=x[2])
    if stage == 1:
        return CUDTask(DeFusionPP(), lambda *_: sample, CUDLoss()).to(device).train(), sample
    teachers = Teachers([MAEEncoder(SIZES[arguments.teacher]), MAEEncoder(SIZES[arguments.teacher])])
    task = MCUDTask(DeFusionPPMM(teacher_widths=teachers.widths), lambda *_: sample, CUDLoss(), teachers=teachers,
                    augment=lambda *_: (x[0], x[1]), multimodal_criterion=MCUDLoss())
    return task.to(device).train(), StreamBatch(sample, sample)


def measure(stage: int, arguments: argparse.Namespace) -> None:
    """Prints the line of a stage."""
    device = choose_device(arguments.device)
    task, batch = build_stage(stage, arguments, device)
    dtype = autocast_dtype(arguments.amp, device)
    optimizer = torch.optim.Adam(task.trainable(), lr=1e-4)
    generators = {"mfm": torch.Generator(device), "order": torch.Generator(device)}
    seconds = []
    for _ in range(arguments.steps + 1):  # the first one warms up
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with autocast(dtype, device):
            loss = task(batch, generators)["total_loss"]
        loss.backward()
        optimizer.step()
        float(loss.detach())  # waits for the device
        seconds.append(time.perf_counter() - start)
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(device)
    else:
        memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step = min(seconds[1:])
    print(f"stage {stage}: {step:.2f} s a step, {arguments.batch / step:.1f} images/s, "
          f"{memory / 2**30:.2f} GiB at most ({device}, {dtype or 'float32'}, batch {arguments.batch})", flush=True)


def main(argv: list[str]) -> None:
    """Parses the arguments and measures both stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--teacher", choices=list(SIZES), default="base")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--amp", choices=("auto", "off", "bf16"), default="auto")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args(argv)
    context = multiprocessing.get_context("spawn")
    for stage in (1, 2):
        process = context.Process(target=measure, args=(stage, arguments))
        process.start()
        process.join()


if __name__ == "__main__":
    run(main)
