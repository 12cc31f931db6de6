"""A file is either whole or not there, and an old result is never overwritten."""

import errno
import os

import pytest

from utils import files
from utils.errors import UserError


def test_written_file_has_its_name_and_nothing_else_stays(tmp_path):
    target = tmp_path / "deep" / "a.bin"
    with files.atomic_write(target) as temporary:
        temporary.write_bytes(b"new")
        assert not target.exists()
        assert temporary.parent == target.parent
    assert target.read_bytes() == b"new"
    assert [p.name for p in target.parent.iterdir()] == ["a.bin"]


def test_pictures_need_not_wait_for_the_disk(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(files.os, "fsync", flushed.append)
    with files.atomic_write(tmp_path / "a.png", durable=False) as temporary:
        temporary.write_bytes(b"new")
    assert flushed == [] and (tmp_path / "a.png").read_bytes() == b"new"
    with files.atomic_write(tmp_path / "a.pt") as temporary:
        temporary.write_bytes(b"new")
    assert len(flushed) == 2


def test_long_names_have_temporary_files_of_their_own(tmp_path):
    """As long as the system allows, in letters of three bytes, and alike in all but the last letter."""
    names = ["長" * 80 + f"_recover{end}.png" for end in "12"]
    with files.atomic_write(tmp_path / names[0]) as first, files.atomic_write(tmp_path / names[1]) as second:
        first.write_text("first")
        second.write_text("second")
    assert [(tmp_path / name).read_text() for name in names] == ["first", "second"]


@pytest.mark.parametrize("error", [RuntimeError("stop"), KeyboardInterrupt()])
def test_failed_write_keeps_the_old_file(tmp_path, error):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with pytest.raises(type(error)), files.atomic_write(target) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("error", [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    ValueError("Error while serializing: No space left on device"),
])
def test_full_disk_names_file_and_free_space(tmp_path, error):
    target = tmp_path / "a.bin"
    with pytest.raises(UserError, match=r"disk is full: .*a\.bin .*MB free"), \
            files.atomic_write(target) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_seen_behind_a_runtime_error(tmp_path, monkeypatch):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100})())
    with pytest.raises(UserError, match="disk is full"), files.atomic_write(tmp_path / "a.pt"):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")


def test_archive_moves_the_folder_aside(tmp_path):
    folder = tmp_path / "run"
    for text in ("one", "two", "three"):
        folder.mkdir()
        (folder / "a.txt").write_text(text)
        moved = files.archive_if_exists(folder)
        assert moved is not None and moved.name.startswith("run_archived_")
        assert (moved / "a.txt").read_text() == text
        assert not folder.exists()
    assert len(list(tmp_path.glob("run_archived_*"))) == 3


def test_archive_has_nothing_to_do_for_missing_and_empty_folders(tmp_path):
    assert files.archive_if_exists(tmp_path / "none") is None
    (tmp_path / "empty").mkdir()
    assert files.archive_if_exists(tmp_path / "empty") is None
    assert (tmp_path / "empty").is_dir()


def test_a_folder_that_cannot_be_made_is_known_early(tmp_path):
    (tmp_path / "file").write_text("x")
    for folder, reason in ((tmp_path / "file", "file is a file"), (tmp_path / "file/deep/er", "file is a file"),
                           (tmp_path / ("n" * 300), "File name too long")):
        with pytest.raises(UserError, match=reason):
            files.check_folder(folder)
    files.check_folder(tmp_path / "new/and/deep")
    files.check_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_archive_refuses_a_file(tmp_path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(UserError, match="is a file"):
        files.archive_if_exists(tmp_path / "run")
