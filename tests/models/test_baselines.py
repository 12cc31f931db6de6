"""Fusion without weights: identities, symmetry, any size, many images, and agreement with stored results."""

import cv2
import numpy as np
import pytest
import torch

from models.baselines import LaplacianPyramid, SaliencePyramid
from models.focus import FocusSelection
from models.protocol import Traits
from models.registry import MODELS
from utils.errors import UserError

NAMES = ["Average", "Maximum", "LaplacianPyramid", "SaliencePyramid", "Mertens", "FocusSelection"]
LINEAR = ["Average", "Maximum", "LaplacianPyramid", "SaliencePyramid", "FocusSelection"]
SIZES = [(16, 16), (17, 16), (33, 50), (64, 101)]


def scene(size: tuple[int, int] = (64, 80), batch: int = 1, seed: int = 0) -> torch.Tensor:
    """A smooth picture with edges and some texture, (B, 3, H, W) in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, 6, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="nearest")
    return (0.8 * smooth + 0.2 * torch.rand(batch, 3, *size, generator=generator)).clamp(0, 1)


def fuse(name: str, x1: torch.Tensor, x2: torch.Tensor, **options) -> torch.Tensor:
    return MODELS.create(name, **options).decompose(x1, x2).fused


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", SIZES)
def test_any_size_keeps_shape_and_is_finite(name, size):
    """Every size from 16 x 16 gives a picture of that size; overshoot stays small."""
    x1, x2 = scene(size, batch=2, seed=1), scene(size, batch=2, seed=2)
    fused = fuse(name, x1, x2)
    assert fused.shape == x1.shape and fused.dtype == x1.dtype
    assert torch.isfinite(fused).all()
    assert fused.min() > -1 and fused.max() < 2


@pytest.mark.parametrize("name", NAMES)
def test_order_of_the_images_has_no_say(name):
    """fuse(a, b) equals fuse(b, a)."""
    x1, x2 = scene(seed=1), scene(seed=2)
    assert torch.allclose(fuse(name, x1, x2), fuse(name, x2, x1), atol=1e-6)


@pytest.mark.parametrize("name", LINEAR)
def test_equal_images_come_back(name):
    """fuse(a, a) is a."""
    image = scene(seed=3)
    assert torch.allclose(fuse(name, image, image), image, atol=2e-6)


@pytest.mark.parametrize("name", LINEAR)
def test_flat_fields_stay_flat(name):
    """Two flat fields give a flat one: no grid, no rim."""
    fused = fuse(name, torch.full((1, 3, 50, 67), 0.2), torch.full((1, 3, 50, 67), 0.7))
    assert fused.max() - fused.min() < 1e-5


@pytest.mark.parametrize("base", ["average", "exposure"])
def test_salience_shows_no_grid_on_ramps(base):
    """On smooth ramps the second difference stays under 1/255: nothing repeats at 2, 4, ... 32 pixels."""
    ramp = torch.linspace(0, 1, 160).expand(1, 3, 96, 160).contiguous()
    fused = fuse("SaliencePyramid", 0.8 * ramp, 0.3 + 0.5 * ramp.flip(-1), base=base)[..., 8:-8, 8:-8]
    assert fused.diff(n=2, dim=-1).abs().max() < 1 / 255
    assert fused.diff(dim=-2).abs().max() < 1e-5


def test_salience_prefers_structure():
    """Where one image is flat, the texture of the other survives almost whole."""
    textured, flat = scene(seed=4), torch.full((1, 3, 64, 80), 0.5)
    fused = fuse("SaliencePyramid", textured, flat)
    kept = (fused - fused.mean()).std() / (textured - textured.mean()).std()
    assert 0.9 < kept < 1.1


def test_salience_stays_near_the_sources():
    """A full-contrast square against grey is a pyramid's worst case: it leaves [0, 1] by less than 0.3."""
    edge = torch.zeros(1, 3, 96, 96)
    edge[..., 30:66, 40:80] = 1
    fused = fuse("SaliencePyramid", edge, 0.5 + 0.2 * edge.flip(-1))
    assert fused.min() > -0.3 and fused.max() < 1.3


@pytest.mark.parametrize("name", NAMES)
def test_many_images(name):
    """N images of a scene are fused at once, in any order; a pair by `fuse_many` is `decompose`."""
    images = [scene(seed=seed) for seed in range(3)]
    model = MODELS.create(name)
    assert torch.allclose(model.fuse_many(images), model.fuse_many(images[::-1]), atol=1e-5)
    assert torch.equal(model.fuse_many(images[:2]), model.decompose(*images[:2]).fused)
    with pytest.raises(ValueError, match="shape"):
        model.fuse_many([images[0], images[1][..., :-1]])


@pytest.mark.parametrize("name", NAMES)
def test_what_the_fuser_relies_on(name):
    """Baselines say that they take whole pictures, need no weights, and have no common or unique part."""
    model = MODELS.create(name)
    assert model.traits == Traits(large="whole", many=True, needs_weights=False)
    assert not list(model.parameters())
    decomposition = model.decompose(scene(), scene(seed=1))
    assert decomposition.common is None and decomposition.unique1 is None and decomposition.unique2 is None


@pytest.mark.parametrize("name", NAMES)
def test_one_channel(name):
    """A single channel is taken too, and equals a channel of the repeated picture."""
    x1, x2 = scene(seed=1)[:, :1], scene(seed=2)[:, :1]
    wide = fuse(name, x1.repeat(1, 3, 1, 1), x2.repeat(1, 3, 1, 1))
    assert torch.allclose(fuse(name, x1, x2), wide[:, :1], atol=1e-5)


def test_focus_selection_takes_the_sharp_half():
    """Left sharp + right sharp gives the sharp picture but for a strip along the border; pixels are copied."""
    sharp = scene((96, 128), seed=5)
    soft = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(sharp, (4,) * 4, mode="replicate"), 9, 1)
    left = torch.cat([sharp[..., :64], soft[..., 64:]], dim=-1)
    right = torch.cat([soft[..., :64], sharp[..., 64:]], dim=-1)
    error = (fuse("FocusSelection", left, right) - sharp).abs().mean(dim=(0, 1, 2))
    away = torch.cat([error[:44], error[84:]])
    assert away.max() < 0.01
    assert error.mean() < 0.25 * (soft - sharp).abs().mean()


def test_laplacian_follows_its_definition():
    """The same by a plain loop over OpenCV's pyramid, 4 levels, larger magnitude, base averaged."""
    x1, x2 = scene(seed=1), scene(seed=2)
    fused = fuse("LaplacianPyramid", x1, x2)[0].permute(1, 2, 0).numpy()
    a, b = (x[0].permute(1, 2, 0).contiguous().numpy() for x in (x1, x2))
    bands = []
    for _ in range(4):
        small_a, small_b = cv2.pyrDown(a), cv2.pyrDown(b)
        size = (a.shape[1], a.shape[0])
        detail_a, detail_b = a - cv2.pyrUp(small_a, dstsize=size), b - cv2.pyrUp(small_b, dstsize=size)
        bands.append(np.where(np.abs(detail_a) >= np.abs(detail_b), detail_a, detail_b))
        a, b = small_a, small_b
    expected = (a + b) / 2
    for band in bands[::-1]:
        expected = cv2.pyrUp(expected, dstsize=(band.shape[1], band.shape[0])) + band
    assert np.abs(fused - expected).max() < 1e-5


@pytest.mark.parametrize(("model", "options", "text"), [
    (SaliencePyramid, {"base": "dark"}, "dark"),
    (SaliencePyramid, {"window": 4}, "window=4"),
    (LaplacianPyramid, {"levels": 0}, "levels=0"),
    (FocusSelection, {"radius": 0}, "radius=0"),
])
def test_wrong_settings_are_named(model, options, text):
    """A setting out of range is refused with its value."""
    with pytest.raises(ValueError, match=text):
        model(**options)


def test_an_unknown_setting_is_named():
    """An option file's misspelt key names the nearest one."""
    with pytest.raises(UserError, match="base"):
        MODELS.create("SaliencePyramid", bas="exposure")


@pytest.mark.parametrize("name", ["Average", "Maximum", "LaplacianPyramid"])
@pytest.mark.parametrize(("task", "first", "second"), [("mef", "over", "under"), ("mff", "a", "b")])
def test_stored_results(shared_data, name, task, first, second):
    """Stored results of the same rules, made elsewhere, within one level (mean under 0.3: rounding of halves)."""
    folder = shared_data / "peers" / task
    for path in sorted((folder / "results" / name).glob("*.png"))[:4]:
        pair = [cv2.imread(str(folder / "pairs" / path.stem / f"{side}.png")) for side in (first, second)]
        x1, x2 = (torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255 for image in pair)
        fused = (fuse(name, x1, x2)[0].permute(1, 2, 0).numpy().clip(0, 1) * 255 + 0.5).astype(np.uint8)
        difference = np.abs(fused.astype(int) - cv2.imread(str(path)).astype(int))
        assert difference.mean() < 0.3
        assert (difference > 1).mean() < 1e-4


def test_mertens_takes_opencvs_exponents_by_default():
    """OpenCV leaves out well-exposedness; contrast alone takes the picture in focus."""
    assert MODELS.create("Mertens").exponents == (1.0, 1.0, 0.0)
    sharp = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    flat = torch.full_like(sharp, 0.5)
    saturated = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand_as(sharp)
    by_contrast = MODELS.create("Mertens", saturation=0.0).fuse_many([sharp, saturated])
    assert (by_contrast - sharp).abs().mean() < 0.05 < (by_contrast - saturated).abs().mean()
    by_exposure = MODELS.create("Mertens", contrast=0.0, saturation=0.0, exposure=1.0).fuse_many([flat, saturated])
    assert (by_exposure - flat).abs().mean() < 0.05
