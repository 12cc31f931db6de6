"""The synthesis is the published one: statistics, exact partition, crops as torchvision makes them, one seeded code."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms.v2 import functional as tv

from data import synthesis
from data.photos import PhotoBatch
from data.sample import INFRARED, IVF, MEF, MFF, VISIBLE
from data.synthesis import Synthesizer
from models.protocol import ROLES, TASKS

PHOTOGRAPHS = 2000
SIZE = 224


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def masks() -> torch.Tensor:
    return synthesis.draw_masks(PHOTOGRAPHS, SIZE, generator(), "cpu")


def test_masks_are_binary_and_leave_no_pixel_out(masks):
    assert torch.equal(masks, masks.round()) and masks.min() == 0 and masks.max() == 1
    assert (masks.sum(dim=1) >= 1).all()


def test_mask_statistics(masks):
    """Four standard errors over 2,000 photographs (docs/METHOD.md, section 2)."""
    for mask in masks.unbind(1):
        assert mask.mean().item() == pytest.approx(0.6081, abs=4 * 0.005)
    shared = masks.prod(dim=1)
    assert shared.mean().item() == pytest.approx(0.2161, abs=4 * 0.006)


def test_masks_before_filling_and_without_the_swap():
    """E[p], E[p²] a mask before filling, the sharper law of c for each photograph, the lean of the third grid."""
    source = generator(1)
    raw, p, fine = synthesis.overlapping_masks(PHOTOGRAPHS, SIZE, source, "cpu")
    assert p.mean().item() == pytest.approx(0.5464, abs=4 * 0.006)
    assert raw.mean().item() == pytest.approx(0.3650, abs=4 * 0.007)
    assert (raw.prod(dim=1).mean(dim=(1, 2)) - p.flatten() ** 4).mean().item() == pytest.approx(0, abs=4 * 0.0004)
    filled = synthesis.fill_masks(raw, p, fine, source)
    assert (filled[:, 0] - filled[:, 1]).mean().item() == pytest.approx(-0.1238, abs=4 * 0.007)


def test_grids_are_enlarged_by_nearest_not_nearest_exact():
    cells = torch.rand(3, 2, 27, 27, generator=generator())
    grid = torch.tensor([13, 26, 27])
    out = synthesis._enlarge(cells, grid, SIZE)
    for index, side in enumerate(grid.tolist()):
        want = torch.nn.functional.interpolate(cells[index : index + 1, :, :side, :side], SIZE, mode="nearest")
        assert torch.equal(out[index : index + 1], want)


def test_noise_mean_and_range():
    noise = synthesis.clipped_noise(torch.Size((64, 3, SIZE, SIZE)), generator(), "cpu")
    assert noise.min() >= 0 and noise.max() == 1
    assert noise.mean().item() == pytest.approx(0.6313, abs=1e-3)


def test_parts_partition_the_photograph_exactly():
    x = torch.rand(8, 3, SIZE, SIZE, generator=generator())
    sample = synthesis.noise_damage(x, generator(1))
    assert torch.equal(sample.common + sample.unique1 + sample.unique2, x)
    for damaged, mask in ((sample.x1, sample.mask1), (sample.x2, sample.mask2)):
        assert torch.equal(damaged * mask, x * mask)
    assert sample.x1.min() >= 0 and sample.x1.max() <= 1


def test_crop_and_resize_equal_torchvision_with_antialias():
    pixels = torch.randint(0, 256, (4, 3, 300, 410), generator=generator(), dtype=torch.uint8)
    boxes = torch.tensor([[0, 0, 300, 410], [10, 20, 50, 60], [100, 7, 180, 220], [299 - 223, 3, 224, 224]])
    out = synthesis.crop_resize(pixels, boxes, SIZE)
    for index, (top, left, height, width) in enumerate(boxes.tolist()):
        want = tv.resized_crop(pixels[index].float() / 255, top, left, height, width, [SIZE, SIZE], antialias=True)
        assert torch.allclose(out[index], want, atol=2e-6)


def test_flip_mirrors():
    pixels = torch.randint(0, 256, (1, 3, 40, 50), generator=generator(), dtype=torch.uint8)
    box = torch.tensor([[3, 4, 30, 40]])
    straight, mirrored = (synthesis.crop_resize(pixels, box, 32, torch.tensor([flip])) for flip in (False, True))
    assert torch.allclose(straight.flip(-1), mirrored, atol=1e-6)


def test_boxes_follow_random_resized_crop():
    sizes = torch.tensor([[288, 430]]).repeat(20_000, 1)
    top, left, height, width = synthesis.random_boxes(sizes, generator()).unbind(1)
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + height <= 288).all() and (left + width <= 430).all()
    share = (height * width).double() / (288 * 430)
    ratio = width.double() / height
    assert share.min() > 0.078 and ratio.min() > 0.70 and ratio.max() < 1.40
    expected = [tv_box(seed) for seed in range(2000)]
    want = sum(h * w for h, w in expected) / len(expected) / (288 * 430)
    assert share.mean().item() == pytest.approx(want, abs=0.02)


def tv_box(seed: int) -> tuple[int, int]:
    from torchvision.transforms import RandomResizedCrop
    torch.manual_seed(seed)
    _, _, h, w = RandomResizedCrop.get_params(torch.empty(3, 288, 430), (0.08, 1.0), (3 / 4, 4 / 3))
    return h, w


def test_a_narrow_photograph_falls_back_to_the_central_crop():
    top, left, height, width = synthesis.random_boxes(torch.tensor([[20, 400]] * 50), generator(), area=(0.9, 1)).T
    assert (height == 20).all() and (width == round(20 * 4 / 3)).all()
    assert (top == 0).all() and (left == (400 - 27) // 2).all()


def test_jitter_is_the_formula_of_its_three_factors():
    """In any order of the three, as no factor exceeds 1 and nothing clips."""
    x = torch.rand(1, 3, 32, 32, generator=generator())
    mean = torch.tensor([0.4])
    out = synthesis.colour_jitter(x, mean, generator(5))
    b, k, t = 0.1 + 0.9 * torch.rand(3, 1, 1, 1, 1, generator=generator(5)).flatten()
    saturated = tv.adjust_saturation(x, t.item())
    assert torch.allclose(out, b * (k * saturated + (1 - k) * 0.4), atol=2e-5)


def batch(count: int = 6) -> PhotoBatch:
    pixels = torch.randint(0, 256, (count, 3, 120, 150), generator=generator(), dtype=torch.uint8)
    return PhotoBatch(pixels, torch.tensor([[120, 150]] * count), torch.full((count,), 0.5))


def draws(seed: int = 0, device: str = "cpu") -> dict[str, torch.Generator]:
    return {name: torch.Generator(device).manual_seed(seed) for name in ("crop", "damage")}


def test_a_seed_decides_everything():
    make = synthesis.Synthesizer(64, {"noise": 0.5, "focus": 0.5})
    one, same, other = make(batch(), draws(1)), make(batch(), draws(1)), make(batch(), draws(2))
    assert torch.equal(one.x1, same.x1) and torch.equal(one.mask2, same.mask2)
    assert not torch.equal(one.x1, other.x1)


def test_samples_of_a_batch_differ_in_every_draw():
    sample = synthesis.Synthesizer(64)(batch(), draws())
    for field in (sample.target, sample.mask1, sample.x1):
        assert len({tuple(row.flatten()[:4000].tolist()) for row in field}) == len(field)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_gpu_runs_the_same_code():
    make = synthesis.Synthesizer(64)
    photos = batch()
    on_gpu = PhotoBatch(*(getattr(photos, name).cuda() for name in ("pixels", "sizes", "means")))
    sample = make(on_gpu, draws(device="cuda"))
    assert torch.equal(sample.common + sample.unique1 + sample.unique2, sample.target)
    box = torch.tensor([[3, 4, 100, 120]] * 6)
    cpu = synthesis.crop_resize(photos.pixels, box, 64)
    assert torch.allclose(synthesis.crop_resize(on_gpu.pixels, box.cuda(), 64).cpu(), cpu, atol=1e-4)


def test_no_loop_over_samples():
    """The number of operations does not depend on the number of samples: one code for the batch, CPU or GPU."""
    class Count(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.calls += 1
            return function(*args, **(kwargs or {}))

    def count(samples: int) -> int:
        make, photos, generators = synthesis.Synthesizer(64), batch(samples), draws()
        with Count() as mode:
            make(photos, generators)
        return mode.calls

    assert count(2) == count(12) > 0


def test_a_sample_carries_the_task_that_its_damage_imitates():
    assert (TASKS.index("IVF"), TASKS.index("MEF"), TASKS.index("MFF")) == (IVF, MEF, MFF)
    assert (ROLES.index("infrared"), ROLES.index("visible")) == (INFRARED, VISIBLE)
    batch = PhotoBatch(torch.randint(0, 256, (4, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator()),
                       torch.full((4, 2), 40), torch.full((4,), 0.5))
    expected = {"noise": 0, "contrast": 0, "focus": MFF, "defocus": MFF, "exposure": MEF, "bracket": MEF,
                "thermal": IVF, "targets": IVF}
    for name, task in expected.items():
        generators = {"crop": torch.Generator().manual_seed(0), "damage": torch.Generator().manual_seed(1)}
        assert Synthesizer(32, {name: 1.0})(batch, generators).task.tolist() == [task] * 4, name
