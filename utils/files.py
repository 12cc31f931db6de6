"""Atomic writes, and archiving of old results."""

import contextlib
import errno
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from utils.errors import UserError

log = logging.getLogger(__name__)

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
# Some writers hide the errno (torch.save raises RuntimeError): less free space than this counts as a full disk.
_NEARLY_NOTHING = 1 << 20


@contextlib.contextmanager
def atomic_write(path: str | Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary path that is renamed to ``path`` when the block succeeds.

    After a crash, ``path`` holds either the old or the new content, never a part. If the block raises, the
    temporary file is removed and ``path`` is unchanged.

    Args:
        path: the file to write; its folder is created if missing.
        durable: flush the file to disk before renaming it, so that the guarantee includes power cuts. Off for
            pictures, which are many and can be recomputed.

    Yields:
        The path to write to, in the same folder as ``path``.

    Raises:
        UserError: the disk is full; names the file and the free space.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_beside(path)
    try:
        yield temporary
        if durable:
            _flush(temporary)
        os.replace(temporary, path)
    except BaseException as error:
        full = _disk_full_message(error, path)
        temporary.unlink(missing_ok=True)
        if full:
            raise UserError(full) from error
        raise
    if durable:
        _flush(path.parent)


def check_folder(folder: str | Path) -> None:
    """Check that a folder can be created and written, without creating it.

    Raises:
        UserError: it or a parent is a file, is write-protected, or has an invalid name.
    """
    folder = Path(folder)
    try:
        nearest = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    except OSError as error:
        raise UserError(f"{folder} cannot be a folder ({error.strerror}); give another one") from None
    if not nearest.is_dir():
        raise UserError(f"{nearest} is a file, a folder is needed there; give another one")
    if not os.access(nearest, os.W_OK):
        raise UserError(f"{nearest} cannot be written (permission denied); give another folder")


def archive_if_exists(folder: str | Path) -> Path | None:
    """Rename an existing folder to ``<name>_archived_<time>``, so that nothing in it is overwritten.

    Args:
        folder: a result folder that is about to be written.

    Returns:
        The archive folder; None if there was nothing to keep (no folder, or an empty one).

    Raises:
        UserError: ``folder`` is a file.
    """
    folder = Path(folder)
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise UserError(f"{folder} is a file, a folder of that name is needed; move the file away")
    if not any(folder.iterdir()):
        return None
    stamp = time.strftime("%y%m%d-%H%M%S")
    target = folder.with_name(f"{folder.name}_archived_{stamp}")
    number = 1
    while target.exists():
        number += 1
        target = folder.with_name(f"{folder.name}_archived_{stamp}-{number}")
    folder.rename(target)
    log.info("%s existed: moved to %s", folder, target.name)
    return target


def _temporary_beside(path: Path) -> Path:
    """A hidden temporary name for ``path``, unique to this process and within the system's length limit."""
    name = path.name
    if len(os.fsencode(name)) > 200:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return path.with_name(f".{name}.{os.getpid()}.tmp")


def _flush(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:
        return  # Windows cannot open a folder
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network drives cannot flush a folder
            raise
    finally:
        os.close(handle)


def _disk_full_message(error: BaseException, path: Path) -> str | None:
    """The message for a full disk, or None if ``error`` has another cause."""
    if not isinstance(error, Exception) or isinstance(error, UserError):
        return None
    free = shutil.disk_usage(path.parent).free
    known = isinstance(error, OSError) and error.errno in _DISK_FULL
    told = "No space left" in str(error)
    guessed = isinstance(error, RuntimeError) and free < _NEARLY_NOTHING
    if not (known or told or guessed):
        return None
    return (f"the disk is full: {path} could not be written ({free / 2**20:.1f} MB free in {path.parent}); "
            "make room or choose another folder")


def text_cell(text: str) -> str:
    """Text for a CSV cell, prefixed with an apostrophe if a spreadsheet would run it as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
