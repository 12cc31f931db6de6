"""One grey for each purpose, with the numbers of its standard; chroma goes and comes back."""

import cv2
import numpy as np
import pytest
import torch

from utils.pictures.colour import LUMA, TOOLBOX_LUMA, TORCHVISION_LUMA, grey_levels, luma, without_equal_channels
from utils.pictures.depth import from_unit
from utils.pictures.picture import Picture, to_unit
from utils.pictures.ycbcr import rgb_to_ycbcr, ycbcr_to_rgb

PRIMARIES = np.eye(3, dtype=np.uint8)[:, None] * 255  # red, green, blue; (3, 1, 3)


def test_grey_levels_are_those_of_rgb2gray():
    """MATLAB's documented values of pure red, green and blue; BT.709 would give 54, 182 and 18."""
    assert grey_levels(PRIMARIES).ravel().tolist() == [76, 150, 29]
    assert grey_levels(np.uint8([[[10, 20, 30], [255, 255, 255]]])).tolist() == [[18, 255]]


def test_grey_levels_are_rounded_half_up_for_every_grey_and_many_colours():
    greys = np.arange(256, dtype=np.uint8)
    assert np.array_equal(grey_levels(np.dstack([greys[None]] * 3))[0], greys)
    colours = np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    exact = colours.astype(np.longdouble) @ np.array(TOOLBOX_LUMA, np.longdouble)
    assert np.array_equal(grey_levels(colours), np.floor(exact + 0.5))


@pytest.mark.parametrize("weights", [LUMA, TORCHVISION_LUMA, TOOLBOX_LUMA])
def test_luma_weighs_red_green_and_blue(weights):
    primaries = torch.eye(3).view(3, 3, 1, 1)
    assert torch.allclose(luma(primaries, weights).flatten(), torch.tensor(weights))
    assert np.allclose(luma(primaries.numpy(), weights).ravel(), weights)
    assert np.allclose(weights, (0.299, 0.587, 0.114), atol=1.1e-4)  # BT.601, whatever the digits


def test_luma_agrees_with_opencv():
    pixels = np.random.default_rng(0).random((40, 50, 3), np.float32)
    assert np.allclose(luma(pixels.transpose(2, 0, 1))[0], cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), atol=1e-6)
    with pytest.raises(ValueError, match="three channels"):
        luma(torch.zeros(1, 4, 4))


def test_ycbcr_is_an_exact_inverse():
    rgb = torch.rand(2, 3, 50, 51, generator=torch.Generator().manual_seed(0))
    ycbcr = rgb_to_ycbcr(rgb)
    assert ycbcr.min() >= 0 and ycbcr.max() <= 1
    assert torch.equal(ycbcr[:, :1], luma(rgb))
    assert (ycbcr_to_rgb(ycbcr) - rgb).abs().max() < 1e-6
    double = rgb.double()
    assert (ycbcr_to_rgb(rgb_to_ycbcr(double)) - double).abs().max() < 1e-14


@pytest.mark.parametrize("dtype, bits", [(np.uint8, 8), (np.uint16, 16)])
def test_colour_conversion_keeps_stored_values(dtype, bits):
    pixels = np.random.default_rng(0).integers(0, 2**bits, (64, 65, 3)).astype(dtype)
    unit = torch.from_numpy(to_unit(Picture(pixels)))
    assert np.array_equal(from_unit(ycbcr_to_rgb(rgb_to_ycbcr(unit)).numpy(), bits), pixels)


def test_colour_anchors_agree_with_bt601():
    colours = torch.tensor([[1.0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1]]).reshape(4, 3, 1, 1)
    expected = torch.tensor([[1, .5, .5], [0, .5, .5], [.299, .331264, 1], [.114, 1, .418688]])
    assert torch.allclose(rgb_to_ycbcr(colours).reshape(4, 3), expected, atol=1e-5)


def test_equal_channels_become_one_and_nothing_else_does():
    grey = np.random.default_rng(0).integers(0, 65536, (9, 8, 1)).astype(np.uint16)
    assert np.array_equal(without_equal_channels(np.repeat(grey, 3, axis=2)), grey)
    for place in ((0, 0, 1), (8, 7, 2), (4, 4, 0)):
        colour = np.repeat(grey, 3, axis=2)
        colour[place] ^= 1
        assert without_equal_channels(colour) is colour
    assert without_equal_channels(grey) is grey
    assert Picture.of(np.repeat(grey, 3, axis=2).astype(">u2")).pixels.dtype == np.uint16
    assert Picture.of(np.repeat(grey, 3, axis=2)).is_grey and Picture.of(grey[..., 0]).colour_space == "grey"
