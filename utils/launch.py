"""From options to a finished run, the same for every training script."""

from collections.abc import Callable

from torch import nn

from option.schema import Options
from utils.distributed import choose_device, joined
from utils.logging import log_start
from utils.prefetch import Loader
from utils.runs import open_run
from utils.training import Summary, Trainer


def train(options: Options, build_task: Callable[[Options], nn.Module],
          build_loader: Callable[..., Loader]) -> Summary:
    """Trains what the options say, in this process or as one of those that torchrun started.

    Args:
        options: of the whole run; ``dataset.train`` must be there.
        build_task: makes the task, see :class:`utils.step.Task`.
        build_loader: makes the source of batches from the options and ``seed``, ``run_dir``, ``rank``, ``world``
            and ``device``.
    """
    options.require("dataset.train")
    device = choose_device(options.device)
    with joined(device) as world:
        run_dir, resume = open_run(options, world)
        log_start(options, device, world)
        loader = build_loader(options, seed=options.train.manual_seed, run_dir=run_dir, rank=world.rank,
                              world=world.size, device=device)
        trainer = Trainer(build_task(options), loader, options=options, run_dir=run_dir, device=device)
        if resume:
            trainer.resume(resume)
        return trainer.fit()
