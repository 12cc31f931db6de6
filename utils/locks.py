"""Locks a folder for one process at a time; a second start fails with the name of the holder."""

import contextlib
import errno
import json
import logging
import os
import socket
import time
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from utils.errors import UserError
from utils.files import check_folder

log = logging.getLogger(__name__)

_NO_LOCKS_HERE = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}


class FolderLock:
    """An exclusive lock on a folder, from ``acquire`` to ``release`` or garbage collection; a context manager.

        with FolderLock("results/run"):
            ...

    The lock file lies next to the folder (``.run.lock``), so that the folder itself may be moved and recreated. The
    operating system releases the lock when the process dies for any reason. ``.run.owner`` holds the process id and
    host for messages; a left-over file means that an earlier process died, and taking over its lock is logged.

    Args:
        folder: need not exist; its parent is created if missing.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        beside = self.folder.parent.resolve()
        self._file = FileLock(beside / f".{self.folder.name}.lock", timeout=0)
        self._owner = beside / f".{self.folder.name}.owner"
        self._held = False

    def acquire(self) -> None:
        """Take the lock without waiting. On a drive without locks, log a warning and continue.

        Raises:
            UserError: another process holds it (named with its host), or the parent cannot be written.
        """
        check_folder(self._owner.parent)
        try:
            self._owner.parent.mkdir(parents=True, exist_ok=True)
            self._file.acquire()
        except Timeout:
            raise UserError(f"{self.folder} is in use by {self._holder()}; wait for it to end, stop it, or choose "
                            "another name") from None
        except (OSError, NotImplementedError) as error:
            if isinstance(error, NotImplementedError) or error.errno in _NO_LOCKS_HERE:
                log.warning("%s is on a drive without file locks: do not start a second run of this name", self.folder)
                return
            raise UserError(f"{self.folder} cannot be written ({error.strerror or error}); choose another folder or "
                            "free it") from error
        self._held = True
        if self._owner.exists():
            log.warning("%s was left by %s, which ended without closing it: taken over", self.folder, self._holder())
        # Used only for messages: a full disk is reported when important files are written.
        with contextlib.suppress(OSError):
            self._owner.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(),
                                               "started": time.strftime("%Y-%m-%d %H:%M:%S")}), encoding="utf-8")

    def release(self) -> None:
        """Release the lock; does nothing if it is not held."""
        if self._held:
            self._held = False
            with contextlib.suppress(OSError):
                self._owner.unlink(missing_ok=True)
            self._file.release()

    def _holder(self) -> str:
        try:
            owner = json.loads(self._owner.read_text(encoding="utf-8"))
            return f"process {owner['pid']} on {owner['host']} (started {owner['started']})"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"

    def __enter__(self) -> "FolderLock":
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.release()
