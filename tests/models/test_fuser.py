"""The fuser keeps size, depth and colour of any input, gives the same for files and arrays, and says what is wrong."""

import numpy as np
import pytest
import torch

from models import Fuser
from models.baselines import Average
from models.defusion import DeFusionPP
from option.schema import TileOptions
from utils.errors import MissingFileError, UserError
from utils.pictures.images import write_picture


@pytest.fixture(scope="module")
def network() -> DeFusionPP:
    torch.manual_seed(0)
    return DeFusionPP(embed_dim=48, depth=2, num_heads=2, last_heads=4, decoder_heads=4)


@pytest.fixture(scope="module")
def fuse(network) -> Fuser:
    return Fuser(network, device="cpu", amp="off", tile=TileOptions(size=96, overlap=32, batch=4))


def picture(*shape: int, dtype=np.uint8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (150, 131)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_size_and_depth_are_kept(fuse, size, dtype):
    result = fuse(picture(*size, 1, dtype=dtype), picture(*size, 3, dtype=dtype, seed=1))
    assert result.fused.shape == (*size, 3) and result.fused.dtype == dtype
    assert result.common.shape == (*size, 1)


def test_colour_of_the_visible_picture_is_kept():
    """Luma is fused; Cb and Cr stay the visible picture's (up to clipping, so mild colours)."""
    from utils.pictures.images import rgb_to_ycbcr
    visible = np.random.default_rng(0).uniform(0.4, 0.6, (40, 50, 3)).astype(np.float32)
    infrared = np.full((40, 50), 0.5, np.float32)
    fused = Fuser(Average(), device="cpu")(infrared, visible, task="IVF").fused
    chroma = [rgb_to_ycbcr(torch.from_numpy(x).permute(2, 0, 1))[1:] for x in (visible, fused)]
    assert torch.allclose(*chroma, atol=1e-5)


@pytest.mark.parametrize(("channels", "task", "color", "expected"), [
    ((1, 1), None, None, 1), ((1, 3), None, None, 3), ((3, 3), "MEF", None, 3), ((3, 3), "IVF", "gray", 1),
    ((1, 1), "MFF", "rgb", 3), ((3, 1), "IVF", None, 3)])
def test_colour_modes(fuse, channels, task, color, expected):
    first, second = (picture(32, 32, c, seed=c) for c in channels)
    assert fuse(first, second, task=task, color=color).fused.shape[2] == expected


def test_files_arrays_and_tensors_agree(fuse, tmp_path):
    first, second = picture(40, 50, 1), picture(40, 50, 3, seed=1)
    write_picture(tmp_path / "a.png", first)
    write_picture(tmp_path / "b.png", second)
    from_arrays = fuse(first, second).fused
    assert np.array_equal(from_arrays, fuse(tmp_path / "a.png", str(tmp_path / "b.png")).fused)
    tensors = [torch.from_numpy(x).permute(2, 0, 1).float() / 255 for x in (first, second)]
    from_tensors = fuse(*tensors).fused
    assert isinstance(from_tensors, torch.Tensor) and from_tensors.shape == (3, 40, 50)
    assert np.abs(from_tensors.permute(1, 2, 0).numpy() * 255 - from_arrays).max() <= 0.51


def test_16_bits_are_not_reduced_to_8(fuse):
    result = fuse(picture(64, 64, 1, dtype=np.uint16), picture(64, 64, 1, dtype=np.uint16, seed=1))
    assert len(np.unique(result.fused)) > 256


def test_components_can_be_left_out(fuse):
    result = fuse(picture(32, 32, 1), picture(32, 32, 1, seed=1), components=False)
    assert result.common is None and result.fused is not None


def test_two_sizes_name_both(fuse):
    with pytest.raises(UserError, match=r"40 x 32.*41 x 32.*register"):
        fuse(picture(32, 40, 1), picture(32, 41, 1))


def test_too_small_and_not_a_picture(fuse):
    with pytest.raises(UserError, match="16 x 16"):
        fuse(picture(15, 20, 1), picture(15, 20, 1))
    with pytest.raises(UserError, match="float in"):
        fuse(torch.zeros(3, 32, 32, dtype=torch.uint8), torch.zeros(3, 32, 32))


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(MissingFileError, match="no such weight file"):
        Fuser.from_pretrained(tmp_path / "none.safetensors")
