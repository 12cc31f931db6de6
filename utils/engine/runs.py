"""The folder of a training run, and whether a start goes on in it or begins anew."""

import logging
from pathlib import Path

from option.load import dump_options
from option.schema import Options
from utils.distributed import World, barrier
from utils.files import archive_if_exists
from utils.logging import set_up_logging

log = logging.getLogger(__name__)


def open_run(options: Options, world: World) -> tuple[Path, str | None]:
    """Makes the run's folder ready and starts its log.

    A start that does not resume moves an existing folder of that name aside. A restart by torchrun, after one of
    the processes was lost, always goes on from the newest checkpoint.

    Args:
        options: ``name``, ``path.experiments_root`` and ``path.resume_state`` are read.
        world: the process group must be joined.

    Returns:
        The folder, and what to hand to ``Trainer.resume`` (None: begin anew).
    """
    folder = Path(options.path.experiments_root) / options.name
    resume = "latest" if world.restarts else options.path.resume_state
    archived = archive_if_exists(folder) if world.main and resume is None else None
    set_up_logging(folder, world)
    if archived is not None:
        log.info("%s existed: moved to %s", folder, archived)
    if world.main:
        dump_options(options, folder / "options.yaml")
    barrier()
    return folder, resume
