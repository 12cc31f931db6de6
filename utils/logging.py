"""Logging of a run, to the console and to ``train.log`` in its folder."""

import logging
import os
import sys
import warnings
from pathlib import Path

import torch
import yaml
from tqdm import tqdm

from option.load import options_hash
from option.schema import Options
from utils.distributed import World
from utils.version import VERSION, commit

log = logging.getLogger(__name__)

_FORMAT = "%(asctime)s %(levelname)s %(message)s"


class _BarFriendly(logging.StreamHandler):
    """Writes log lines above the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except Exception:
            self.handleError(record)


def set_up_logging(run_dir: Path | None = None, world: World | None = None) -> None:
    """Send log records to the console and, in the main process, to ``run_dir/train.log``.

    The other processes log only warnings and errors, with their rank.

    Args:
        run_dir: folder of the run; an existing log file is appended to.
        world: place of this process in the run.
    """
    world = world or World()
    mark = "" if world.size == 1 else f"[{world.rank}] "
    formatter = logging.Formatter(mark + _FORMAT, "%Y-%m-%d %H:%M:%S")
    handlers: list[logging.Handler] = [_BarFriendly()]
    if run_dir is not None and world.main:
        run_dir.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(run_dir / "train.log", encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.raiseExceptions = False  # a full disk must not print a traceback for each line
    logging.basicConfig(level=logging.INFO if world.main else logging.WARNING, handlers=handlers, force=True)
    logging.captureWarnings(True)
    warnings.simplefilter("default")


def log_start(options: Options, device: torch.device, world: World) -> None:
    """The first lines of a run: version, commit, device, seed, processes and every option."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
    log.info("DeFusion++ %s, commit %s, PyTorch %s", VERSION, commit(), torch.__version__)
    log.info("device %s (%s), %d threads, %d process(es), restart %d, seed %d", device, name,
             torch.get_num_threads(), world.size, world.restarts, options.train.manual_seed)
    log_notes(options)
    text = yaml.safe_dump(options.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    log.info("options %s:\n%s", options_hash(options), text.rstrip())


def log_notes(options: Options) -> None:
    """Log, on one line, the given keys that have no effect."""
    keys = options.without_effect()
    if keys:
        log.info("accepted from published option files, without effect: %s", ", ".join(keys))


def processor_name() -> str:
    """The processor's name and the number of cores available to this process."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = "processor"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} core(s)"
