"""Both pictures of a pair stay registered through every crop, and pairs load like photographs do."""

import numpy as np
import pytest
import torch

from data.irvis import LIST_NAME, PairBatch, PairCrop, PairSamples, build_pair_loader, crop_pairs, training_pairs
from data.registry import DATASETS
from data.sample import IVF
from option.schema import TrainDataOptions
from utils.errors import UserError
from utils.pictures.writing import write_picture

CACHES = ["none", "ram", "device"]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def folder(tmp_path):
    """Seven pairs of different sizes; the visible red values are the infrared ones, the blue ones the number."""
    random = np.random.default_rng(0)
    for number in range(7):
        infrared = random.integers(0, 256, (40 + number, 60 - 3 * number)).astype(np.uint8)
        visible = np.stack([infrared, 255 - infrared, np.full_like(infrared, number)], -1)
        write_picture(tmp_path / "set" / "ir" / f"{number}.png", infrared)
        write_picture(tmp_path / "set" / "vi" / f"{number}.bmp", visible)
    return tmp_path / "set"


def options(folder, **values):
    values = {"batch_size": 3, "workers": 0, "cache_size": 64, "infrare_name": "ir", "visible_name": "vi", **values}
    return TrainDataOptions(irvis_dataroot=str(folder), **values)


def loader(folder, *, rank=0, world=1, run_dir=None, **values):
    return build_pair_loader(options(folder, **values), seed=3, run_dir=run_dir, rank=rank, world=world)


def numbers(batch):
    return batch.second[:, 2, 0, 0].tolist()


@pytest.mark.parametrize("cache", CACHES)
def test_batches_hold_whole_pairs(folder, cache):
    batch = next(iter(loader(folder, cache=cache)))
    assert batch.first.dtype == batch.second.dtype == torch.uint8 and batch.first.shape == batch.second.shape
    for first, second, (h, w), number in zip(batch.first, batch.second, batch.sizes.tolist(), numbers(batch)):
        assert (h, w) == (40 + number, 60 - 3 * number)
        assert torch.equal(first[0], first[1]) and torch.equal(first[0], first[2])
        assert torch.equal(first[0], second[0])
        assert first[:, h:].sum() == 0 and second[:, :, w:].sum() == 0
    assert len(batch.to("cpu")) == 3


@pytest.mark.parametrize("values", [{"workers": 2}, {"cache": "ram"}, {"cache": "device"}])
def test_workers_and_caches_change_nothing(folder, values):
    expected = list(loader(folder))
    for one, other in zip(expected, loader(folder, **values), strict=True):
        assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("first", "second", "sizes"))


def test_a_resumed_run_and_many_processes_see_the_same_pairs(folder):
    source = loader(folder)
    whole = [[numbers(batch) for batch in source] for _ in range(2)]
    assert whole[0] != whole[1]
    first = loader(folder)
    next(iter(first))
    second = loader(folder)
    second.load_state_dict(first.state_dict())
    assert [[numbers(batch) for batch in second] for _ in range(2)] == [whole[0][1:], whole[1]]
    parts = [[numbers(batch) for batch in loader(folder, batch_size=1, rank=rank, world=3)] for rank in range(3)]
    assert [sum(batches, []) for batches in zip(*parts, strict=True)] == whole[0]  # noqa: RUF017


def test_the_short_side_is_reduced_for_both(folder):
    batch = next(iter(loader(folder, cache_size=32, batch_size=7)))
    assert batch.sizes.amin(1).tolist() == [32] * 7
    assert (batch.first[:, 0].int() - batch.second[:, 0].int()).abs().max() <= 1


@pytest.mark.parametrize("ir_range, top", [("full", 8), ("minmax", 255), ("percentile", 255)])
def test_16_bit_infrared_is_mapped_to_8(tmp_path, ir_range, top):
    values = np.linspace(0, 2047, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    write_picture(tmp_path / "ir" / "a.tif", values)
    write_picture(tmp_path / "vi" / "a.png", np.zeros((64, 64, 3), np.uint8))
    batch = next(iter(loader(tmp_path, ir_range=ir_range)))
    assert batch.first.max() == top and batch.second.max() == 0


def test_pairs_with_two_sizes_or_a_bad_file_are_skipped_and_told(folder, caplog):
    write_picture(folder / "vi" / "2.bmp", np.zeros((9, 9, 3), np.uint8))
    (folder / "ir" / "4.png").write_bytes(b"")
    (folder / "ir" / "6.png").unlink()
    source = loader(folder, batch_size=6)
    assert sorted(set(numbers(next(iter(source))))) == [0, 1, 3, 5]
    assert len(source.skipped) == 2
    assert "2.bmp is 9 x 9" in caplog.text and "4.png is empty" in caplog.text
    assert "6.bmp: no partner" in caplog.text


def test_lists_choose_pairs_and_stay_with_the_run(folder, tmp_path):
    given = tmp_path / "mine.txt"
    given.write_text("5\ntrain/ir/1.png\n")
    run = tmp_path / "run"
    chosen = training_pairs(options(folder, irvis_trainpairs=str(given)), run_dir=run)
    assert [pair.stem for pair in chosen] == ["1", "5"]
    assert (run / LIST_NAME).read_text() == "1\n5\n"
    assert [pair.stem for pair in training_pairs(options(folder), run_dir=run)] == ["1", "5"]
    given.write_text("none\n")
    with pytest.raises(UserError, match=r"no pair that .*mine\.txt lists in"):
        training_pairs(options(folder, irvis_trainpairs=str(given)), run_dir=None)


def test_missing_keys_are_named(folder):
    with pytest.raises(UserError, match="irvis_dataroot, infrare_name and visible_name are all needed"):
        training_pairs(TrainDataOptions(irvis_dataroot=str(folder)), run_dir=None)
    ctmr = TrainDataOptions(modalities="ct/mr", ctmr_dataroot=str(folder), ct_name="ir", mr_name="vi")
    assert len(training_pairs(ctmr, run_dir=None)) == 7


def positions(sizes):
    """A pair whose pixels hold their own place: first = x, second = y, different padding."""
    height, width = sizes.amax(0).tolist()
    x = torch.arange(width).expand(len(sizes), 3, height, width)
    y = torch.arange(height).view(-1, 1).expand(len(sizes), 3, height, width)
    inside = (x < sizes[:, 1].view(-1, 1, 1, 1)) & (y < sizes[:, 0].view(-1, 1, 1, 1))
    return PairBatch((x * inside).to(torch.uint8), (y * inside).to(torch.uint8), sizes)


def test_crops_are_the_same_for_both_pictures():
    sizes = torch.tensor([[120, 200], [200, 120], [64, 64], [255, 30]]).repeat(8, 1)
    batch = positions(sizes)
    swapped = PairBatch(batch.second, batch.first, sizes)
    first, second = crop_pairs(batch, 32, generator())
    again = crop_pairs(swapped, 32, generator())
    assert torch.equal(first, again[1]) and torch.equal(second, again[0])
    assert first.shape == second.shape == (32, 3, 32, 32) and first.dtype == torch.float32
    same = crop_pairs(PairBatch(batch.first, batch.first, sizes), 32, generator())
    assert torch.equal(*same)


def test_crops_stay_inside_flip_half_of_the_pairs_and_differ():
    sizes = torch.tensor([[200, 250]]).repeat(400, 1)
    first, second = crop_pairs(positions(sizes), 16, generator())
    x, y = 255 * first[:, 0], 255 * second[:, 0]
    assert x.min() >= 0 and x.max() < 250 and y.min() >= 0 and y.max() < 200
    mirrored = (x[:, 8, 0] > x[:, 8, -1]).float().mean()
    assert abs(mirrored - 0.5) < 0.1  # four standard errors
    assert (y[:, 0, 8] < y[:, -1, 8]).all()
    span = (x[:, 8, 0] - x[:, 8, -1]).abs()
    assert span.std() > 20
    assert (x[:, 0] - x[:, -1]).abs().max() < 1e-2 and (y[..., 0] - y[..., -1]).abs().max() < 1e-2


def test_crops_are_the_generators():
    batch = positions(torch.tensor([[100, 100]] * 4))
    assert torch.equal(crop_pairs(batch, 32, generator(1))[0], crop_pairs(batch, 32, generator(1))[0])
    assert not torch.equal(crop_pairs(batch, 32, generator(1))[0], crop_pairs(batch, 32, generator(2))[0])
    by_class = PairCrop(32)(batch, {"crop": generator(1)})
    assert torch.equal(by_class[0], crop_pairs(batch, 32, generator(1))[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_cache_on_a_gpu_is_the_cache_in_memory(folder):
    values = dict(seed=3, run_dir=None, device="cuda")
    on_device = build_pair_loader(options(folder, cache="device"), **values)
    for one, other in zip(loader(folder), on_device, strict=True):
        assert other.first.is_cuda
        assert torch.equal(one.first, other.first.cpu()) and torch.equal(one.second, other.second.cpu())


def test_the_pairs_are_a_registered_data_set():
    assert DATASETS.get("irvis") is build_pair_loader


def test_samples_of_pairs_have_roles_and_noise_in_the_infrared_picture_alone():
    pixels = torch.randint(0, 256, (40, 3, 40, 40), generator=generator(1), dtype=torch.uint8)
    batch = PairBatch(pixels[:, :1].expand(-1, 3, -1, -1), pixels, torch.full((40, 2), 40))
    sample = PairSamples(32)(batch, {"crop": generator(2), "damage": generator(3)})
    infrared, visible = crop_pairs(batch, 32, generator(2))
    assert set(sample.infrared.tolist()) == {1, 2} and sample.task.tolist() == [IVF] * 40
    first = (sample.infrared == 1).view(-1, 1, 1, 1)
    assert torch.equal(torch.where(first, sample.clean1, sample.clean2), infrared)
    assert torch.equal(torch.where(first, sample.x2, sample.x1), visible)
    noisy = (torch.where(first, sample.x1, sample.x2) - infrared).flatten(1).abs().amax(1) > 0
    assert 0 < int(noisy.sum()) < 16  # a few of the pairs
