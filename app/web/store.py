"""Temporary files of the web page: each belongs to the browser that sent it or asked for it, until it is deleted."""

import secrets
import shutil
import threading
import time
from pathlib import Path

TICK = 60.0  # seconds between two clean-ups


class Store:
    """Folders below one root, one for each upload and each result, with their owners.

    Two browsers may own one folder: equal files are uploaded to the same place.

    Args:
        root: an empty folder, used by nothing else.
        public: a folder of files for everybody (the examples), or None.
        minutes: folders unused for so long are deleted.
    """

    def __init__(self, root: Path, public: Path | None = None, minutes: float = 60.0) -> None:
        self.root, self.public, self.minutes = root.resolve(), public and public.resolve(), minutes
        self._owners: dict[str, set[str]] = {}
        self._used: dict[str, float] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def new_folder(self, owner: str) -> Path:
        """Make a folder of an unguessable name for the results of a browser."""
        folder = self.root / secrets.token_hex(16)
        folder.mkdir(mode=0o700)
        self.give(folder, owner)
        return folder

    def give(self, path: str | Path, owner: str) -> None:
        """Add an owner to the folder of a path."""
        name = self._folder_of(path)
        if name:
            with self._lock:
                self._owners.setdefault(name, set()).add(owner)
                self._used[name] = time.monotonic()

    def may_read(self, path: str | Path, owner: str | None) -> bool:
        """Whether a browser may have a file; marks its folder as used.

        Args:
            path: the file.
            owner: the browser; None for one that is not known.
        """
        resolved = Path(path).resolve()
        if self.public and resolved.is_relative_to(self.public):
            return True
        name = self._folder_of(resolved)
        with self._lock:
            mine = name is not None and owner is not None and owner in self._owners.get(name, ())
            if mine:
                self._used[name] = time.monotonic()
        return mine

    def forget(self, owner: str) -> None:
        """Delete everything that belongs to one browser only."""
        with self._lock:
            for owners in self._owners.values():
                owners.discard(owner)
            orphans = [name for name, owners in self._owners.items() if not owners]
        self._delete(orphans)

    def tidy(self) -> None:
        """Delete what was not used for ``minutes``, including the remains of uploads that broke off."""
        with self._lock:
            oldest, now = time.monotonic() - 60 * self.minutes, time.time()
            old = []
            for path in self.root.iterdir():
                known = self._used.get(path.name)
                stale = now - path.lstat().st_mtime > 60 * self.minutes if known is None else known < oldest
                old += [path.name] * stale
        self._delete(old)

    def keep_tidy(self) -> None:
        """Call :meth:`tidy` every minute in a thread, until :meth:`close`."""
        def run() -> None:
            while not self._stop.wait(TICK):
                self.tidy()

        threading.Thread(target=run, name="tidy", daemon=True).start()

    def close(self) -> None:
        """Delete everything."""
        self._stop.set()
        self._delete([path.name for path in self.root.iterdir()])

    def _folder_of(self, path: str | Path) -> str | None:
        """Name of the folder below the root that holds a path; None for any other path."""
        resolved = Path(path).resolve()
        inside = resolved != self.root and resolved.is_relative_to(self.root)
        return resolved.relative_to(self.root).parts[0] if inside else None

    def _delete(self, names: list[str]) -> None:
        with self._lock:
            for name in names:
                self._owners.pop(name, None)
                self._used.pop(name, None)
        for name in names:
            path = self.root / name
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
