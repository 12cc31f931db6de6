"""From options to a finished run, the same for every training script."""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from option.schema import Options
from utils.distributed import choose_device, joined
from utils.engine.memory import keep_freed_memory
from utils.engine.prefetch import Loader
from utils.engine.runs import open_run
from utils.engine.training import Summary, Trainer
from utils.errors import UserError
from utils.logging import log_start

Validation = Callable[[int], dict[str, float]]


def train(options: Options, build_task: Callable[[Options], nn.Module], build_loader: Callable[..., Loader],
          build_validation: Callable[[Options, nn.Module, Path], Validation] | None = None) -> Summary:
    """Trains what the options say, in this process or as one of those that torchrun started.

    Args:
        options: of the whole run; ``dataset.train`` must be there.
        build_task: makes the task, see :class:`utils.engine.step.Task`.
        build_loader: makes the source of batches from the options and ``seed``, ``run_dir``, ``rank``, ``world``
            and ``device``.
        build_validation: makes what is called every ``train.val_freq`` epochs from the options, the model and the
            run's folder; used if there is a ``dataset.val``.

    Raises:
        UserError: whatever the user can mend.
    """
    options.require("dataset.train")
    device = choose_device(options.device)
    if device.type == "cpu":
        keep_freed_memory()
    with joined(device) as world:
        run_dir, resume = open_run(options, world)
        log_start(options, device, world)
        loader = build_loader(options, seed=options.train.manual_seed, run_dir=run_dir, rank=world.rank,
                              world=world.size, device=device)
        task, validate = build_task(options), None
        if build_validation is not None and options.dataset.val is not None and world.main:
            try:
                validate = build_validation(options, task.model, run_dir)
            except UserError as error:
                raise UserError(f"{options.at('dataset.val')}: {error}; to train without validation: "
                                "--set dataset.val=null") from error
        trainer = Trainer(task, loader, options=options, run_dir=run_dir, device=device, validate=validate)
        if resume:
            trainer.resume(resume)
        return trainer.fit()
