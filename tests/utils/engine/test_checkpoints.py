"""A checkpoint is whole or not there; a broken one is noticed and the one before it is used."""

import logging
import os

import pytest
import torch

from utils.engine.checkpoints import BrokenCheckpoint, CheckpointFolder, read_checkpoint
from utils.errors import MissingFileError, UserError


def state(step: int, epoch: int = 0, size: int = 2000) -> dict:
    return {"state_dict": {"w": torch.full((size,), float(step))}, "optimizers": [{}], "schedulers": [{}],
            "epoch": epoch, "step": step}


@pytest.fixture
def folder(tmp_path):
    folder = CheckpointFolder(tmp_path / "checkpoints", keep=2)
    for step in (1, 2, 3):
        folder.save(state(step))
    return folder


def test_a_saved_state_comes_back_and_any_tool_reads_it(folder):
    found, path = folder.load("latest")
    assert path.name == "step-00000003.pt" and found["step"] == 3
    plain = torch.load(folder.folder / "latest.pt", weights_only=True)
    assert {"state_dict", "optimizers", "schedulers", "epoch"} <= plain.keys()
    torch.testing.assert_close(plain["state_dict"]["w"], torch.full((2000,), 3.0))


def test_the_newest_and_those_of_kept_epochs_stay(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=2)
    for step in range(1, 8):
        folder.save(state(step, epoch=step), kept_epoch=step in (2, 4))
    assert [path.name for path in folder.paths()] == [
        "step-00000007.pt", "step-00000006.pt", "step-00000004-epoch-0004.pt", "step-00000002-epoch-0002.pt"]


def cut(path):
    os.truncate(path, path.stat().st_size * 2 // 3)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, flip, empty])
@pytest.mark.parametrize("name", ["latest", "file"])
def test_a_broken_one_is_noticed_and_the_one_before_is_used(folder, damage, name, caplog):
    newest = folder.newest()
    damage(newest)
    with pytest.raises(BrokenCheckpoint):
        read_checkpoint(newest)
    with caplog.at_level(logging.WARNING):
        found, path = folder.load(name if name == "latest" else str(newest))
    assert found["step"] == 2 and path.name == "step-00000002.pt"
    assert str(newest) in caplog.text and "trying the one before it" in caplog.text


def test_no_readable_one_is_an_error_that_lists_them(folder):
    for path in folder.paths():
        cut(path)
    with pytest.raises(UserError, match=r"no readable checkpoint: .*step-00000003.pt, .*step-00000002.pt"):
        folder.load("latest")


def test_a_missing_file_is_named_and_an_empty_folder_is_no_error(tmp_path):
    folder = CheckpointFolder(tmp_path)
    assert folder.load("latest") is None
    with pytest.raises(MissingFileError, match=r"nowhere\.pt is not there"):
        folder.load(str(tmp_path / "nowhere.pt"))


def test_mere_weights_are_no_checkpoint(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "weights.pt")
    with pytest.raises(BrokenCheckpoint, match="lacks optimizers, schedulers, epoch, step"):
        read_checkpoint(tmp_path / "weights.pt")


@pytest.mark.parametrize(("contents", "words"), [
    ([1, 2], "holds a list"), ({**state(1), "state_dict": [1]}, "lacks state_dict"),
    ({**state(1), "state_dict": {"w": "text"}}, "lacks tensors"), ({**state(1), "step": "1"}, "lacks step")])
def test_contents_of_another_kind_are_no_checkpoint(tmp_path, contents, words):
    torch.save(contents, tmp_path / "step-00000001.pt")
    with pytest.raises(BrokenCheckpoint, match=words):
        read_checkpoint(tmp_path / "step-00000001.pt")


def test_code_in_a_file_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    torch.save({**state(1), "trap": Trap()}, tmp_path / "step-00000001.pt")
    with pytest.raises(BrokenCheckpoint):
        read_checkpoint(tmp_path / "step-00000001.pt")
    assert not (tmp_path / "sprung").exists()


def test_a_full_disk_is_named_and_what_was_saved_stays(small_disk):
    folder = CheckpointFolder(small_disk / "checkpoints")
    folder.save(state(1, size=100_000))
    with pytest.raises(UserError, match="disk is full"):
        folder.save(state(2, size=200_000))
    assert [path.name for path in sorted(folder.folder.iterdir())] == ["latest.pt", "step-00000001.pt"]
    assert folder.load("latest")[0]["step"] == 1
