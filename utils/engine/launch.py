"""Runs a training from options; shared by all training scripts."""

import glob
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from torch import nn

from option.load import dump_options
from option.schema import Options
from utils.distributed import World, barrier, choose_device, joined
from utils.engine.batches import Loader
from utils.engine.checkpoints import CheckpointFolder
from utils.engine.loop import Summary, Trainer, Validation
from utils.errors import UserError
from utils.files import archive_if_exists
from utils.locks import FolderLock
from utils.logging import log_start, set_up_logging
from utils.memory import keep_freed_memory


def train(options: Options, build_task: Callable[[Options], nn.Module], build_loader: Callable[..., Loader],
          build_validation: Callable[[Options, nn.Module, Path], Validation] | None = None) -> Summary:
    """Train as described by the options, in this process or as one of the processes started by torchrun.

    An existing run with the same name is archived only after everything has been built and the losses of one batch
    have been computed, so that a faulty start leaves it unchanged.

    Args:
        options: all options; ``dataset.train`` is required.
        build_task: builds the task, see :class:`utils.engine.step.Task`.
        build_loader: builds the source of batches from the options and ``seed``, ``run_dir``, ``rank``, ``world``
            and ``device``. It may write to ``run_dir`` but must not store the path: the folder may be renamed.
        build_validation: builds the validation, called every ``train.val_freq`` epochs, from the options, the model
            and the run's folder; used if ``dataset.val`` is given.

    Raises:
        UserError: a mistake that the user can fix.
    """
    options.require("dataset.train")
    device = choose_device(options.device)
    if device.type == "cpu":
        keep_freed_memory()
    with joined(device) as world, RunFolder(options, world) as run:
        log_start(options, device, world)
        loader = build_loader(options, seed=options.train.manual_seed, run_dir=run.workplace, rank=world.rank,
                              world=world.size, device=device)
        task, validate = build_task(options), None
        if build_validation is not None and options.dataset.val is not None and world.main:
            try:
                validate = build_validation(options, task.model, run.folder)
            except UserError as error:
                raise UserError(f"{options.at('dataset.val')}: {error}; to train without validation: "
                                "--set dataset.val=null") from error
        trainer = Trainer(task, loader, options=options, run_dir=run.folder, device=device, validate=validate,
                          on_signal=run.lock.release)
        resumed = run.resume is not None and trainer.resume(run.resume)
        if not resumed:
            run.check_not_forgotten()
        if options.train.init == "data" and not resumed:
            trainer.initialise()
        if run.replaces_another:
            trainer.rehearse()
        run.open()
        return trainer.fit()


class RunFolder:
    """The folder of a run, locked immediately and left unchanged until :meth:`open`.

    A start that does not resume uses a temporary folder until then; :meth:`open` archives an existing folder with the
    same name. A restart by torchrun after losing a process always continues from the newest checkpoint.

    Args:
        options: reads ``name``, ``path.experiments_root`` and ``path.resume_state``.
        world: its process group must be joined.

    Attributes:
        folder: folder of the run.
        lock: lock on the folder, held by the main process.
        resume: argument for ``Trainer.resume``; None for a new run.
        workplace: folder for files written during the start: ``folder`` when resuming, else a sibling of it.
        replaces_another: whether :meth:`open` will archive a run.
    """

    def __init__(self, options: Options, world: World) -> None:
        self._options, self._world = options, world
        self.folder = Path(options.path.experiments_root) / options.name
        self.lock = FolderLock(self.folder)
        self.resume = "latest" if world.restarts else options.path.resume_state
        self.workplace = self.folder if self.resume else self.folder.with_name(f".{self.folder.name}.starting")
        self.replaces_another = self.resume is None and self.folder.is_dir()

    def __enter__(self) -> "RunFolder":
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"{self.folder} is a file, a folder of that name is needed; move the file away")
        if self._world.main:
            self.lock.acquire()
            if self.workplace != self.folder:
                shutil.rmtree(self.workplace, ignore_errors=True)  # of a start that was killed
        barrier()
        set_up_logging(self.workplace, self._world)
        return self

    def check_not_forgotten(self) -> None:
        """Refuse to start a new run if ``latest`` was requested and an archived run has a checkpoint.

        Raises:
            UserError: names the archived run.
        """
        if self.resume is None or self._world.restarts:
            return
        runs = self.folder.parent.glob(f"{glob.escape(self.folder.name)}_archived_*")
        newest = (CheckpointFolder(run / "checkpoints").newest() for run in sorted(runs, reverse=True))
        found = next(filter(None, newest), None)
        if found:
            raise UserError(f"path.resume_state: no checkpoint in {self.folder}, but a run of this name that was moved "
                            f"aside has {found}; give path.resume_state that file, or leave it out to start a new run")

    def open(self) -> None:
        """Take over the folder for this run, after all other checks of the start have passed."""
        if self._world.main and self.workplace != self.folder:
            archive_if_exists(self.folder)
            self.folder.mkdir(exist_ok=True)
            set_up_logging(world=self._world)  # closes train.log: Windows cannot move open files
            for path in self.workplace.iterdir():
                os.replace(path, self.folder / path.name)
            self.workplace.rmdir()
        barrier()
        set_up_logging(self.folder, self._world)
        if self._world.main:
            dump_options(self._options, self.folder / "options.yaml")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._world.main:
            if self.workplace != self.folder and self.workplace.exists():
                set_up_logging(world=self._world)
                shutil.rmtree(self.workplace, ignore_errors=True)
            self.lock.release()
