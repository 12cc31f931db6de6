"""The order of the photographs depends on (seed, epoch) alone, survives a stop, and no bad file stops it."""

import gc
import itertools
import logging
import multiprocessing
import time

import numpy as np
import pytest
import torch
from torchvision.transforms.v2.functional import rgb_to_grayscale

from data.loading import epoch_order
from data.photos import LIST_NAME, build_photo_loader, decode_photo, photo_files
from data.registry import DATASETS
from option.schema import TrainDataOptions
from utils.errors import MissingFileError, UserError
from utils.pictures.writing import write_picture

CACHES = ["none", "ram", "device"]


@pytest.fixture
def folder(tmp_path):
    """Eleven photographs of different sizes; each one's red value is its number."""
    random = np.random.default_rng(0)
    for number in range(11):
        pixels = random.integers(0, 256, (40 + number, 70 - 3 * number, 3)).astype(np.uint8)
        pixels[..., 0] = number
        write_picture(tmp_path / "photos" / ("a", "b")[number % 2] / f"{number:02}.png", pixels)
    return tmp_path / "photos"


def loader(folder, *, seed=3, run_dir=None, rank=0, world=1, **values):
    values = {"batch_size": 4, "workers": 0, "cache_size": 64, **values}
    return build_photo_loader(TrainDataOptions(dataroot=str(folder), **values), seed=seed, run_dir=run_dir,
                              rank=rank, world=world)


def numbers(batch):
    return batch.pixels[:, 0, 0, 0].tolist()


def flat(lists):
    return list(itertools.chain.from_iterable(lists))


def epochs(source, count=1):
    return [[numbers(batch) for batch in source] for _ in range(count)]


@pytest.mark.parametrize("cache", CACHES)
def test_batches_hold_whole_photographs_sizes_and_mean_greys(folder, cache):
    batch = next(iter(loader(folder, cache=cache)))
    assert batch.pixels.dtype == torch.uint8 and batch.sizes.dtype == torch.int64 and len(batch) == 4
    assert batch.means.dtype == torch.float32
    assert list(batch.pixels.shape[2:]) == batch.sizes.amax(0).tolist()
    for pixels, (h, w), mean, number in zip(batch.pixels, batch.sizes.tolist(), batch.means, numbers(batch)):
        assert (h, w) == (40 + number, 70 - 3 * number)
        assert pixels[:, h:].sum() == 0 and pixels[:, :, w:].sum() == 0
        grey = rgb_to_grayscale(pixels[:, :h, :w].double() / 255).mean()
        assert abs(float(mean) - float(grey)) < 1e-6


def test_the_caches_change_nothing(folder):
    expected = list(loader(folder))
    for cache in CACHES[1:]:
        for one, other in zip(expected, loader(folder, cache=cache), strict=True):
            assert torch.equal(one.pixels, other.pixels)
            assert torch.equal(one.sizes, other.sizes) and torch.equal(one.means, other.means)


def test_order_is_the_seeds_and_the_epochs(folder):
    first = epochs(loader(folder), 3)
    assert first == epochs(loader(folder), 3)
    assert first[0] != first[1] != first[2]
    assert first != epochs(loader(folder, seed=4), 3)
    for epoch in first:
        seen = flat(epoch)
        assert len(seen) == 8 and len(set(seen)) == 8
    again = loader(folder)
    again.set_epoch(2)
    assert epochs(again) == first[2:]


def test_workers_change_nothing(folder):
    with_workers = loader(folder, workers=2)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert epochs(with_workers, 2) == epochs(loader(folder), 2)
    assert torch.equal(torch.get_rng_state(), before)
    stopped = iter(with_workers)
    next(stopped)
    with_workers.set_epoch(0)
    assert epochs(with_workers) == epochs(loader(folder))


def test_workers_stop_when_their_loader_is_gone(folder):
    source = loader(folder, workers=2)
    next(iter(source))
    start = time.monotonic()
    del source
    gc.collect()
    assert time.monotonic() - start < 4  # a reference cycle would make it five seconds a worker
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("taken", range(6))
def test_a_resumed_run_sees_the_same_batches(folder, workers, taken):
    values = {"batch_size": 2, "workers": workers}
    expected = flat(epochs(loader(folder, **values), 2))
    first = loader(folder, **values)
    batches = iter(first)
    seen = [numbers(next(batches)) for _ in range(min(taken, len(first)))]
    state = first.state_dict()
    second = loader(folder, **values)
    second.load_state_dict(state)
    second.set_epoch(0)
    seen += flat(epochs(second, 2))
    assert seen == expected
    assert all(isinstance(value, int) for value in state.values())


def test_processes_share_the_batch_of_one_process(folder):
    whole = epochs(loader(folder, batch_size=4), 2)
    parts = [epochs(loader(folder, batch_size=2, rank=rank, world=2), 2) for rank in range(2)]
    for epoch, left, right in zip(whole, *parts, strict=True):
        assert epoch == [one + other for one, other in zip(left, right, strict=True)]


def test_another_number_of_processes_goes_on_at_the_same_photograph(folder):
    two = loader(folder, batch_size=2, rank=0, world=2)
    next(iter(two))
    one = loader(folder, batch_size=2)
    one.load_state_dict(two.state_dict())
    assert epochs(one)[0] == epochs(loader(folder, batch_size=2))[0][2:]


def test_a_changed_set_is_told(folder, caplog):
    state = loader(folder).state_dict()
    (folder / "a" / "00.png").unlink()
    loader(folder).load_state_dict(state)
    assert "the order of this epoch is another one" in caplog.text


@pytest.mark.parametrize("size, batches, length", [(11, 1, 11), (40, 1, 11), (6, 1, 6), (5, 2, 5)])
def test_a_rest_is_dropped_unless_the_set_is_smaller_than_a_batch(folder, size, batches, length):
    source = loader(folder, batch_size=size)
    assert len(source) == batches == len(list(source))
    assert source.batch_size == length


def test_more_processes_than_photographs_is_an_error(folder):
    assert len(list(loader(folder, rank=10, world=11))) == 1
    with pytest.raises(UserError, match="11 photographs cannot be shared by 12 processes"):
        loader(folder, rank=0, world=12)


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("workers", [0, 2])
def test_bad_files_are_replaced_warned_about_once_and_counted(folder, caplog, cache, workers):
    (folder / "a" / "02.png").write_bytes(b"")
    (folder / "b" / "05.png").write_bytes((folder / "b" / "05.png").read_bytes()[:900])
    (folder / "b" / "07.png").write_text("words")
    source = loader(folder, batch_size=11, cache=cache, workers=workers)
    order = epoch_order(11, 3, 0, "photographs").tolist()
    by_name = sorted(range(11), key=lambda number: (number % 2, number))
    expected = [by_name[index] for index in order]
    for place in range(10, -1, -1):
        if expected[place] in (2, 5, 7):
            expected[place] = expected[(place + 1) % 11]
    for place in range(10, -1, -1):  # the last one's successor is at the start
        if expected[place] in (2, 5, 7):
            expected[place] = expected[(place + 1) % 11]
    with caplog.at_level(logging.WARNING):
        assert epochs(source, 3)[0] == [expected]
    assert len(source.skipped) == 3
    messages = [record.message for record in caplog.records if "skipped" in record.message]
    assert len(messages) == 3
    for name, reason in (("02.png", "empty"), ("05.png", "truncated"), ("07.png", "not a picture")):
        assert any(name in message and reason in message for message in messages)


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_readable_is_an_error_with_a_reason(folder, workers):
    for file in folder.rglob("*.png"):
        file.write_bytes(b"x")
    with pytest.raises(UserError, match=r"none of the 11 photographs can be read; first reason: .*\.png: not a"):
        list(loader(folder, workers=workers))


def test_the_sample_is_the_seeds_and_stays_with_the_run(folder, tmp_path):
    options = TrainDataOptions(dataroot=str(folder), samples=5)
    run = tmp_path / "run"
    _, drawn = photo_files(options, seed=1, run_dir=run)
    assert len(drawn) == 5 and drawn == sorted(drawn)
    assert photo_files(options, seed=1, run_dir=None)[1] == drawn
    assert any(photo_files(options, seed=seed, run_dir=None)[1] != drawn for seed in (2, 3))
    assert (run / LIST_NAME).read_text().split() == drawn
    write_picture(folder / "c" / "new.png", np.zeros((50, 50, 3), np.uint8))
    assert photo_files(options, seed=9, run_dir=run)[1] == drawn


def test_a_given_list_is_honoured_and_kept(folder, tmp_path):
    given = tmp_path / "mine.txt"
    given.write_text("# three\nb/01.png\n\na/04.png\na/00.png\n")
    options = TrainDataOptions(dataroot=str(folder), trainpairs=str(given))
    assert photo_files(options, seed=1, run_dir=tmp_path / "run")[1] == ["b/01.png", "a/04.png", "a/00.png"]
    assert (tmp_path / "run" / LIST_NAME).read_text() == "b/01.png\na/04.png\na/00.png\n"
    absent = TrainDataOptions(dataroot=str(folder), trainpairs=str(tmp_path / "none.txt"))
    assert len(photo_files(absent, seed=1, run_dir=None)[1]) == 11
    given.write_text("x.png\n")
    with pytest.raises(MissingFileError, match=r"mine\.txt: none of its 1 files is in"):
        photo_files(options, seed=1, run_dir=None)
    given.write_text("\n")
    with pytest.raises(UserError, match="lists no file"):
        photo_files(options, seed=1, run_dir=None)
    for binary in (b"\x89PNG\r\n\x1a\n", b"a/00.png\0a/04.png\n"):
        given.write_bytes(binary)
        with pytest.raises(UserError, match=r"mine\.txt .*give a text file with one path a line"):
            photo_files(options, seed=1, run_dir=None)


def test_sub_folder_filter_and_extra_folder(folder, tmp_path):
    write_picture(tmp_path / "more" / "x.jpg", np.zeros((50, 50, 3), np.uint8))
    below = TrainDataOptions(dataroot=str(folder), train_name="b")
    assert photo_files(below, seed=1, run_dir=None) == (folder / "b", [f"{n:02}.png" for n in (1, 3, 5, 7, 9)])
    fewer = TrainDataOptions(dataroot=str(folder), filter="*/0?.png")
    assert len(photo_files(fewer, seed=1, run_dir=None)[1]) == 10
    wider = TrainDataOptions(dataroot=str(folder), extra_data=str(tmp_path / "more"), batch_size=12, workers=0)
    assert len(next(iter(build_photo_loader(wider, seed=1, run_dir=None)))) == 12


def test_wrong_folders_are_named(folder, tmp_path):
    with pytest.raises(MissingFileError, match=r"no folder .*nowhere"):
        photo_files(TrainDataOptions(dataroot=str(tmp_path / "nowhere")), seed=1, run_dir=None)
    with pytest.raises(UserError, match="dataroot is not set"):
        photo_files(TrainDataOptions(), seed=1, run_dir=None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no pictures in .*empty"):  # noqa: RUF043
        photo_files(TrainDataOptions(dataroot=str(tmp_path / "empty")), seed=1, run_dir=None)


def smooth(height, width):
    y, x = np.mgrid[:height, :width] / min(height, width)
    waves = [0.5 + 0.4 * np.sin(5 * x + 3 * y + k) for k in range(3)]
    return (255 * np.stack(waves, -1)).round().astype(np.uint8)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("size", [(90, 130), (130, 90), (64, 64), (200, 77), (700, 1050), (63, 400)])
def test_the_short_side_is_reduced_and_never_enlarged(tmp_path, suffix, size):
    path = write_picture(tmp_path / f"a{suffix}", smooth(*size))
    photo = decode_photo(path.read_bytes(), 64, path)
    h, w = photo.pixels.shape[1:]
    assert min(h, w) == min(64, *size)
    assert abs(h / w - size[0] / size[1]) < 0.03 * size[0] / size[1]
    expected = torch.from_numpy(smooth(*size)).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(expected, (h, w), mode="area")[0]
    assert (photo.pixels - expected).abs().max() < (4 if suffix == ".png" else 15)
    grey = rgb_to_grayscale(torch.from_numpy(smooth(*size)).permute(2, 0, 1).double() / 255).mean()
    assert abs(photo.mean - float(grey)) < 2e-3


def test_grey_and_16_bit_photographs_become_rgb(tmp_path):
    path = write_picture(tmp_path / "a.png", np.full((70, 70), 128 * 257, np.uint16))
    photo = decode_photo(path.read_bytes(), 64, path)
    assert photo.pixels.shape == (3, 64, 64) and photo.pixels.unique().tolist() == [128]
    assert abs(photo.mean - 0.9999 * 128 / 255) < 1e-6


def test_a_photograph_of_too_many_pixels_is_left_out_by_name(folder):
    write_picture(folder / "a" / "02.png", np.zeros((1000, 1001), np.uint8))
    source = loader(folder, batch_size=11, max_megapixels=1, cache_size=32)
    list(source)
    assert [reason for reason in source.skipped.values() if "1001 x 1000 pixels are more than max_mega" in reason]
    assert len(source.skipped) == 1


def test_batches_move_and_register(folder):
    batch = next(iter(loader(folder)))
    assert batch.to("cpu").pixels.dtype == torch.uint8
    assert DATASETS.get("photos") is build_photo_loader
