"""Shards hold what the folder held; streams of an epoch are disjoint, shuffled and go on at a shard."""

import errno
import gc
import json
import tarfile

import numpy as np
import pytest

from data import shards
from data.registry import DATASETS
from data.shard_names import INDEX_NAME, counted, shard_urls
from data.shard_stream import build_shard_loader
from data.shards import read_shard, write_shards
from option.schema import TrainDataOptions
from utils.errors import MissingFileError, UserError
from utils.pictures.writing import write_picture

COUNT, SIZE = 40, 5


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Forty photographs that are all of one value: their number."""
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(COUNT):
        write_picture(folder / str(number % 3) / f"{number}.png", np.full((40, 40 + number, 3), number, np.uint8))
    return folder


@pytest.fixture
def folder(photographs, tmp_path):
    write_shards(photographs, tmp_path / "shards", size=SIZE)
    return tmp_path / "shards"


def loader(dataroot, *, seed=3, rank=0, world=1, **values):
    values = {"batch_size": 4, "workers": 0, "cache_size": 32, **values}
    options = TrainDataOptions(type="webdataset", dataroot=str(dataroot), **values)
    return build_shard_loader(options, seed=seed, rank=rank, world=world)


def numbers(source):
    return [batch.pixels[:, 0, 0, 0].tolist() for batch in source]


def flat(lists):
    return [number for numbers_ in lists for number in numbers_]


def test_a_photograph_of_too_many_pixels_is_left_out_by_name(folder):
    source = loader(folder, max_megapixels=1e-5)
    with pytest.raises(UserError, match="more than max_megapixels allows"):
        list(source)


def test_shards_hold_every_picture_once_and_unchanged(photographs, folder):
    urls = shard_urls(str(folder))
    assert len(urls) == COUNT // SIZE
    assert json.loads((folder / INDEX_NAME).read_text()) == {f"shard-{i:06}.tar": SIZE for i in range(8)}
    stored = [data for url in urls for _, data in read_shard(url)]
    files = [file.read_bytes() for file in photographs.rglob("*.png")]
    assert sorted(stored) == sorted(files) and stored != sorted(stored)
    assert counted(urls) == COUNT


def test_writing_is_the_seeds_and_leaves_bad_files_out(photographs, folder, tmp_path, caplog):
    write_shards(photographs, tmp_path / "again", size=SIZE)
    for name in ("shard-000000.tar", "shard-000007.tar"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    write_picture(tmp_path / "few" / "a.png", np.zeros((9, 9, 3), np.uint8))
    (tmp_path / "few" / "b.png").write_bytes(b"")
    (tmp_path / "few" / "c.jpg").write_text("words")
    assert write_shards(tmp_path / "few", tmp_path / "out") == {"shard-000000.tar": 1}
    assert "b.png is empty" in caplog.text and "c.jpg: not a picture" in caplog.text
    with pytest.raises(UserError, match="holds shards already"):
        write_shards(photographs, folder)
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="nothing to pack"):
        write_shards(tmp_path / "none", tmp_path / "out2")


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 3])
def test_an_epoch_sees_every_photograph_once_in_an_order_of_its_own(folder, workers):
    source = loader(folder, workers=workers, batch_size=1)
    assert len(source) == COUNT
    first, second = flat(numbers(source)), flat(numbers(source))
    # Three workers share eight shards as 3 + 3 + 2, and the third begins anew.
    assert len(set(first)) == COUNT if workers == 0 else len(set(first)) >= COUNT - 2 * SIZE
    assert len(first) == len(second) == COUNT and first != second
    again = loader(folder, workers=workers, batch_size=1)
    again.set_epoch(1)
    assert flat(numbers(again)) == second
    assert flat(numbers(loader(folder, workers=workers, batch_size=1, seed=4))) != first


def test_processes_and_workers_read_shards_of_their_own(folder):
    parts = [flat(numbers(loader(folder, rank=rank, world=2, workers=2, batch_size=2))) for rank in range(2)]
    assert [len(part) for part in parts] == [20, 20]
    assert sorted(parts[0] + parts[1]) == list(range(COUNT))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 2, 3])
@pytest.mark.parametrize("done", [1, 3, 4, 7])
def test_a_resumed_run_goes_on_with_the_same_batches(folder, workers, done):
    """Also inside a shard, after a bad picture, and in the epoch after."""
    (folder / "shard-000002.tar").write_bytes((folder / "shard-000002.tar").read_bytes()[:3000])
    (folder / INDEX_NAME).unlink()
    source = loader(folder, workers=workers, batch_size=4, samples=32)
    whole = numbers(source)
    stopped = loader(folder, workers=workers, batch_size=4, samples=32)
    batches = iter(stopped)
    for _ in range(done):
        next(batches)
    state = json.loads(json.dumps(stopped.state_dict()))
    assert state["epoch"] == 0 and state["batch"] == done and len(state["positions"]) == max(1, workers)
    resumed = loader(folder, workers=workers, batch_size=4, samples=32)
    resumed.load_state_dict(state)
    resumed.set_epoch(0)
    assert numbers(resumed) == whole[done:]
    source.set_epoch(1)
    assert numbers(resumed) == numbers(source)


def test_positions_of_older_checkpoints_are_whole_shards(folder):
    resumed = loader(folder, batch_size=5)
    resumed.load_state_dict({"epoch": 0, "batch": 4, "positions": [4], "items": 20})
    resumed.set_epoch(0)
    assert numbers(resumed) == numbers(loader(folder, batch_size=5))[4:]


def test_another_number_of_workers_goes_on_about_there(folder):
    stopped = loader(folder, workers=2, batch_size=5)
    batches = iter(stopped)
    for _ in range(4):
        next(batches)
    resumed = loader(folder, workers=0, batch_size=2)
    resumed.load_state_dict(stopped.state_dict())
    assert len(numbers(resumed)) == 10


def test_samples_bound_an_epoch_and_uncounted_shards_need_them(folder):
    assert len(loader(folder, samples=12)) == 3
    (folder / INDEX_NAME).unlink()
    source = loader(folder, samples=60)
    assert len(source) == 15
    assert set(flat(numbers(source))) == set(range(COUNT))
    assert loader(folder, samples=3).state_dict()["items"] == 0 and len(loader(folder, samples=3)) == 1


def test_braces_and_folders_name_shards(folder):
    assert shard_urls(f"{folder}/shard-{{000000..000007}}.tar") == shard_urls(str(folder))
    assert shard_urls(f"file:{folder}/shard-000001.tar") == [f"file:{folder}/shard-000001.tar"]
    assert counted([f"file:{folder}/shard-000001.tar"]) == SIZE
    with pytest.raises(MissingFileError, match=r"2 of 10 shards are not there, the first is .*shard-000008\.tar"):
        shard_urls(f"{folder}/shard-{{000000..000009}}.tar")
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match=r"no \.tar shard in .*empty"):
        shard_urls(str(folder / "empty"))


@pytest.mark.parametrize("dataroot", ["pipe:touch {mark}", "{{p,q}}ipe:touch {mark}", "x.tar::pipe:touch {mark}",
                                      " pipe:touch {mark}", "PIPE:touch {mark}", "http://127.0.0.1:9/{{0..3}}.tar",
                                      "https://[", "gs://a/b.tar", "hf://a/b.tar", "ais://a/b.tar", "sftp://a/b.tar"])
def test_no_url_starts_a_program_unless_that_is_allowed(dataroot, tmp_path):
    dataroot = dataroot.format(mark=tmp_path / "ran")
    with pytest.raises(UserError, match=r"starting a program; .* --set dataset\.train\.allow_programs=true"):
        loader(dataroot)
    assert not (tmp_path / "ran").exists()


def test_a_program_is_started_when_that_is_allowed(folder):
    source = loader(f"pipe:cat {folder}/shard-{{000000..000001}}.tar", allow_programs=True, samples=10, batch_size=10)
    stored = [name for batch in numbers(source) for name in batch]
    assert sorted(stored) == sorted(flat(numbers(loader(f"{folder}/shard-{{000000..000001}}.tar", batch_size=10))))


@pytest.mark.parametrize("dataroot", ["{000000000..999999999}", "a" + "{a,b}" * 64, "{x" + "{a,b}" * 64 + ",y}",
                                      "{0..99999}{0..99999}", "{9999999..0}"])
def test_braces_for_too_many_shards_are_an_error_at_once(dataroot):
    with pytest.raises(UserError, match="may stand for more than 1,000,000 shards"):
        shard_urls(dataroot)


@pytest.mark.parametrize("dataroot", ["a{0..1", "{" * 5000 + "}" * 5000, "${NOT_SET_ANYWHERE}.tar"])
def test_broken_braces_are_one_line(dataroot):
    with pytest.raises(UserError):
        shard_urls(dataroot)


@pytest.mark.parametrize("text, reason", [
    ("{", "cannot be read"), ("[1, 2]", "each shard its count"), ('{"shard-000000.tar": "many"}', 'got "many"'),
    ('{"shard-000000.tar": -1}', "got -1"), ('{"shard-000000.tar": 1.5}', r"got 1\.5"),
    ('{"shard-000000.tar": true}', "got true"), ("\udcff", "cannot be read")])
def test_a_broken_index_is_one_line(folder, text, reason):
    (folder / INDEX_NAME).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=rf"shards\.json.*{reason}.*remove it or write the shards again"):
        loader(folder)


def test_members_and_pictures_beyond_the_limits_are_left_out_by_name(tmp_path, caplog):
    write_picture(tmp_path / "photos" / "small.png", np.full((40, 40, 3), 7, np.uint8))
    write_picture(tmp_path / "photos" / "wide.png", np.full((1000, 1100, 3), 8, np.uint8))
    write_picture(tmp_path / "photos" / "noisy.png", np.random.default_rng(1).integers(0, 255, (300, 300, 3), np.uint8))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for file in sorted((tmp_path / "photos").iterdir()):
            archive.add(file, file.name)
    source = loader(tmp_path / "a.tar", samples=2, max_megapixels=1, member_megabytes=0.1)
    assert numbers(source) == [[7, 7]]  # so the shard has been read to its end once, whatever the order
    assert "a.tar/noisy.png: 0 MB are more than dataset.train.member_megabytes allows (0.1)" in caplog.text
    assert "wide.png: 1100 x 1000 pixels are more than max_megapixels allows (1)" in caplog.text


def test_a_member_is_refused_by_its_size_before_it_is_read(tmp_path):
    """Ten gigabytes of zeros, packed: a shard of a few bytes must not fill the memory."""
    sparse = tarfile.TarInfo("a.png")
    sparse.size = 10_000_000_000
    (tmp_path / "a.tar").write_bytes(sparse.tobuf())
    problems = {}
    reader = read_shard(str(tmp_path / "a.tar"), problems=problems)
    with pytest.raises(tarfile.ReadError):  # the shard ends there
        list(reader)
    assert "10,000 MB are more than" in next(iter(problems.values()))


@pytest.mark.filterwarnings("error::ResourceWarning", "error::pytest.PytestUnraisableExceptionWarning")
def test_shards_are_closed_also_when_reading_stops_or_fails(folder):
    (folder / "shard-000003.tar").write_text("no archive")
    batches = iter(loader(folder))
    next(batches)
    del batches
    numbers(loader(folder))
    gc.collect()


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_packing_on_a_full_disk_is_one_line_and_leaves_whole_shards(photographs, tmp_path, monkeypatch):
    written, add = [], tarfile.TarFile.addfile

    def filling(archive, member, data):
        written.append(member.name)
        if len(written) > SIZE + 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        add(archive, member, data)

    monkeypatch.setattr(tarfile.TarFile, "addfile", filling)
    with pytest.raises(UserError, match=r"the disk is full: .*shard-000001\.tar"):
        write_shards(photographs, tmp_path / "out", size=SIZE)
    gc.collect()
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["shard-000000.tar"]


def test_more_processes_than_shards_is_an_error(folder):
    assert len(numbers(loader(folder, rank=7, world=8, workers=4))) == 1
    with pytest.raises(UserError, match="8 shards cannot be shared by 9 processes"):
        loader(folder, rank=0, world=9)


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_photographs_and_shards_are_skipped_and_told(folder, caplog, workers):
    cut = folder / "shard-000003.tar"
    cut.write_bytes(cut.read_bytes()[:700])
    (folder / "shard-000004.tar").write_text("no archive")
    with tarfile.open(folder / "shard-000005.tar", "w") as archive:
        for name in ("a.png", "b.txt"):
            (folder / name).write_text("words")
            archive.add(folder / name, name)
    source = loader(folder, workers=workers)
    assert len(flat(numbers(source))) == COUNT
    assert len(source.skipped) == 3
    for reason in ("shard-000003.tar: the shard breaks off", "shard-000004.tar: the shard breaks off",
                   "a.png: not a picture"):
        assert reason in caplog.text


@pytest.mark.parametrize("workers", [0, 2])
def test_shards_without_a_photograph_are_an_error(folder, workers):
    for shard in folder.glob("*.tar"):
        shard.write_text("no archive")
    with pytest.raises(UserError, match="hold no readable photograph; first reason: .*the shard breaks off"):  # noqa: RUF043
        numbers(loader(folder, workers=workers))


def test_the_command_packs_and_names_the_dataroot(photographs, tmp_path, caplog):
    caplog.set_level("INFO")
    shards.main([str(photographs), str(tmp_path / "out"), "--size", "16"])
    assert len(list((tmp_path / "out").glob("*.tar"))) == 3
    assert "40 pictures in 3 shards" in caplog.text and "shard-{000000..000002}.tar" in caplog.text
    with pytest.raises(UserError, match="--size 0"):
        shards.main([str(photographs), str(tmp_path / "out3"), "--size", "0"])


def test_shards_are_a_registered_data_set():
    assert DATASETS.get("webdataset") is build_shard_loader
