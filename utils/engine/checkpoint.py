"""Checkpoints of a training run: whole or not there, checked when read, the one before as a net.

A file is a plain ``torch.save`` archive. It holds the published keys ``state_dict``, ``optimizers``,
``schedulers`` and ``epoch`` and what an exact resume needs besides. The archive's own CRC-32 sums are verified
before it is read, so that a truncated or corrupted file is told from a whole one.
"""

import logging
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from utils.errors import MissingFileError, UserError
from utils.files import atomic_write

log = logging.getLogger(__name__)

FORMAT = 1
_NAME = re.compile(r"step-(\d+)(-epoch-\d+)?\.pt")
_NEEDED = ("state_dict", "optimizers", "schedulers", "epoch", "step")


class BrokenCheckpoint(Exception):
    """A file that is there and cannot be used: truncated, corrupted, or no checkpoint at all."""


def write_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Writes one checkpoint beside ``path`` and renames it.

    Args:
        state: tensors, numbers, strings, and lists, tuples and dicts of these.
        path: the final name.

    Raises:
        UserError: the disk is full. No part of the file is left and older checkpoints are untouched.
    """
    with atomic_write(path) as temporary:
        torch.save(state, temporary)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads and verifies one checkpoint, onto the CPU.

    Raises:
        MissingFileError: no such file.
        BrokenCheckpoint: the file is truncated, corrupted or lacks keys.
    """
    if not path.is_file():
        raise MissingFileError(f"checkpoint {path} is not there; give path.resume_state another file, or latest")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise BrokenCheckpoint(f"truncated or no checkpoint ({error})") from error
    if damaged:
        raise BrokenCheckpoint(f"corrupted (checksum of {damaged} is wrong)")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # The reader raises whatever the bytes lead it to; all of it means the same here.
        raise BrokenCheckpoint(f"cannot be read ({str(error).splitlines()[0]})") from error
    lacking = [key for key in _NEEDED if key not in state] if isinstance(state, dict) else list(_NEEDED)
    if lacking:
        raise BrokenCheckpoint(f"lacks {', '.join(lacking)}: weights, not a checkpoint of a training run")
    return state


class CheckpointFolder:
    """The checkpoints of one run, ``step-00001234.pt`` or, at a kept epoch, ``step-00001234-epoch-0002.pt``.

    Args:
        folder: where they are; made on the first save.
        keep: how many of the newest stay. Those of kept epochs stay all.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self._keep = max(1, keep)

    def paths(self) -> list[Path]:
        """All checkpoints, newest (most steps) first."""
        found = [(int(match[1]), path) for path in self.folder.glob("step-*.pt")
                 if (match := _NAME.fullmatch(path.name))]
        return [path for _, path in sorted(found, key=lambda item: (item[0], item[1].name), reverse=True)]

    def newest(self) -> Path | None:
        """The newest checkpoint, unverified; None when there is none."""
        return next(iter(self.paths()), None)

    def save(self, state: dict[str, Any], *, kept_epoch: bool = False) -> Path:
        """Writes ``state``, points ``latest.pt`` at it and removes what is older than the newest few.

        Args:
            state: with the keys ``step`` and ``epoch``.
            kept_epoch: this one stays for good.

        Returns:
            The file.
        """
        suffix = f"-epoch-{state['epoch']:04d}" if kept_epoch else ""
        path = self.folder / f"step-{state['step']:08d}{suffix}.pt"
        write_checkpoint(state, path)
        if kept_epoch:  # it replaces one that the clock or a signal asked for at the same step
            (self.folder / f"step-{state['step']:08d}.pt").unlink(missing_ok=True)
        self._point_latest(path)
        self._rotate()
        return path

    def load(self, which: str) -> tuple[dict[str, Any], Path] | None:
        """Reads the checkpoint that ``path.resume_state`` names, or the one before it when it is broken.

        Args:
            which: ``latest``, or a file.

        Returns:
            The state and its file; None when ``latest`` is asked for and nothing was saved yet.

        Raises:
            MissingFileError: the file is not there.
            UserError: neither it nor any checkpoint before it can be read.
        """
        tried: list[Path] = []
        for path in self._candidates(which):
            tried.append(path)
            try:
                state = read_checkpoint(path)
            except BrokenCheckpoint as error:
                log.warning("checkpoint %s is broken: %s; trying the one before it", path, error)
                continue
            return state, path
        if not tried:
            return None
        raise UserError(f"no readable checkpoint: {', '.join(map(str, tried))}; "
                        "start anew (leave path.resume_state out) or give another file")

    def remove_leftovers(self) -> None:
        """Removes the temporary files of a process that was killed while it wrote."""
        for path in self.folder.glob(".step-*.tmp"):
            log.info("removed %s, left by a write that was cut off", path.name)
            path.unlink(missing_ok=True)

    def _candidates(self, which: str) -> Iterator[Path]:
        if which == "latest":
            yield from self.paths()
            return
        chosen = Path(which)
        yield chosen
        match = _NAME.fullmatch(chosen.resolve().name)
        for path in CheckpointFolder(chosen.resolve().parent).paths() if match else []:
            if int(_NAME.fullmatch(path.name)[1]) < int(match[1]):
                yield path

    def _point_latest(self, path: Path) -> None:
        """``latest.pt`` is for people and other tools; resuming looks at the files themselves."""
        link, temporary = self.folder / "latest.pt", self.folder / ".latest.tmp"
        try:
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(path.name)
            os.replace(temporary, link)
        except OSError as error:
            log.debug("no link latest.pt (%s)", error)

    def _rotate(self) -> None:
        for path in self.paths()[self._keep:]:
            if "-epoch-" not in path.name:
                path.unlink(missing_ok=True)
