"""Two processes never write one folder; a dead one does not keep it."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from utils.errors import UserError
from utils.locks import FolderLock

ROOT = Path(__file__).parents[2]
HOLDER = ("import os, sys, time; from utils.locks import FolderLock; lock = FolderLock(sys.argv[1]); lock.acquire(); "
          "os.fork() or print(os.getpid(), flush=True); time.sleep(60)")


@pytest.fixture
def holder(tmp_path):
    """Another process that holds ``run`` and has forked a child, as a loader does."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "run")], cwd=ROOT, text=True,
                          stdout=subprocess.PIPE) as process:
        child = int(process.stdout.readline())  # it has run what a fork runs
        yield process
        process.kill()
        os.kill(child, signal.SIGKILL)


def test_a_second_start_names_the_process_that_holds_the_folder(tmp_path, holder, monkeypatch):
    named = rf"run is in use by process {holder.pid} on {re.escape(socket.gethostname())} \(started "
    with pytest.raises(UserError, match=named):
        FolderLock(tmp_path / "run").acquire()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=named):  # the same folder by another spelling
        FolderLock("run").acquire()
    FolderLock(tmp_path / "another").acquire()


def test_the_lock_of_a_killed_process_is_taken_over_and_told(tmp_path, holder, caplog):
    """Although its child lives on."""
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with FolderLock(tmp_path / "run"):
        assert f"left by process {holder.pid} on" in caplog.text and "taken over" in caplog.text
    caplog.clear()
    with FolderLock(tmp_path / "run"):
        assert not caplog.records


def test_the_folder_may_be_moved_while_it_is_locked(tmp_path):
    (tmp_path / "run").mkdir()
    with FolderLock(tmp_path / "run"):
        (tmp_path / "run").rename(tmp_path / "old")
        (tmp_path / "run").mkdir()
        with pytest.raises(UserError, match=f"process {os.getpid()} "):
            FolderLock(tmp_path / "run").acquire()
    FolderLock(tmp_path / "run").acquire()


def test_a_parent_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="file is a file, a folder is needed there"):
        FolderLock(tmp_path / "file" / "run").acquire()


def test_a_drive_without_locks_warns_and_goes_on(tmp_path, monkeypatch, caplog):
    lock = FolderLock(tmp_path / "run")
    monkeypatch.setattr(lock._file, "acquire", lambda: (_ for _ in ()).throw(NotImplementedError))
    with lock:
        assert "without file locks" in caplog.text
