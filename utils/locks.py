"""A folder that one process at a time may write: a second start is refused and told who holds it."""

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
    """The exclusive right to a folder, from ``acquire`` to ``release`` or the end of this object; a context manager.

        with FolderLock("results/run"):
            ...

    The lock lies beside the folder (``.run.lock``), so the folder itself may be moved aside and made anew. The
    operating system frees it when its process dies, however that happens. ``.run.owner`` holds the process id and
    host for messages; one that is left over belongs to a start that died, and taking its place is logged.

    Args:
        folder: need not exist; its parent is made if missing.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        beside = self.folder.parent.resolve()
        self._file = FileLock(beside / f".{self.folder.name}.lock", timeout=0)
        self._owner = beside / f".{self.folder.name}.owner"
        self._held = False

    def acquire(self) -> None:
        """Take the lock, without waiting. On a drive that knows no locks this warns and goes on.

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
                log.warning("%s lies on a drive without file locks: start no second run of this name", self.folder)
                return
            raise UserError(f"{self.folder} cannot be written ({error.strerror or error}); choose another folder or "
                            "free it") from error
        self._held = True
        if self._owner.exists():
            log.warning("%s was left by %s, which ended without closing it: taken over", self.folder, self._holder())
        # Only for messages: a full disk is told by whoever writes what matters.
        with contextlib.suppress(OSError):
            self._owner.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(),
                                               "started": time.strftime("%Y-%m-%d %H:%M:%S")}), encoding="utf-8")

    def release(self) -> None:
        """Give the lock back; does nothing if it is not held."""
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
