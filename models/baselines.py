"""Fusion rules without weights, the baselines of every report.

`Average`, `Maximum`, `LaplacianPyramid`, `SaliencePyramid` and `Mertens` take any number of images of one
scene through ``fuse_many``; ``decompose`` is the same for a pair, in the form of the learned models. All work on
whole pictures of any size from 16 x 16, need no weights and give the same result when the images are swapped.
`FocusSelection` lives in `models/focus.py`.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from models import pyramid
from models.decomposition import Decomposition
from models.protocol import Traits
from models.registry import MODELS


class Baseline(nn.Module):
    """A fusion rule without parameters. Subclasses implement :meth:`fuse_many`."""

    traits = Traits(large="whole", many=True, needs_weights=False)

    def fuse_many(self, images: Sequence[Tensor]) -> Tensor:
        """Fuse N images of one scene.

        Args:
            images: N tensors (B, C, H, W), float in [0, 1], equal shapes.

        Returns:
            (B, C, H, W); may exceed [0, 1] by the overshoot of the rule.

        Raises:
            ValueError: no image, or shapes differ.
        """
        raise NotImplementedError

    def decompose(self, *images: Tensor) -> Decomposition:
        """Fuse images (B, C, H, W) in [0, 1] of one scene; rules have no common and unique parts."""
        return Decomposition(common=None, unique1=None, unique2=None, fused=self.fuse_many(images))


def stack_images(images: Sequence[Tensor]) -> Tensor:
    """N equal tensors (B, C, H, W) -> (N, B, C, H, W).

    Raises:
        ValueError: no image, or shapes differ.
    """
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) != 1:
        raise ValueError(f"fusing {len(images)} images of shapes {sorted(shapes)}: give images of one shape")
    return torch.stack(tuple(images))


@MODELS.register("Average")
class Average(Baseline):
    """Mean of the images at each pixel."""

    def fuse_many(self, images: Sequence[Tensor]) -> Tensor:
        return stack_images(images).mean(dim=0)


@MODELS.register("Maximum")
class Maximum(Baseline):
    """Largest value at each pixel, channel by channel."""

    def fuse_many(self, images: Sequence[Tensor]) -> Tensor:
        return stack_images(images).amax(dim=0)


@MODELS.register("LaplacianPyramid")
class LaplacianPyramid(Baseline):
    """Laplacian pyramid with the coefficient of largest magnitude in each band and averaged base (Burt and Adelson).

    OpenCV's pyramid (binomial both ways, mirrored border), each channel separately, on the CPU. Coefficients of equal
    magnitude are averaged, so that the result does not depend on the order of the images.

    Args:
        levels: number of bands.

    Raises:
        ValueError: ``levels`` is not positive.
    """

    def __init__(self, levels: int = 4) -> None:
        super().__init__()
        if levels < 1:
            raise ValueError(f"LaplacianPyramid: levels={levels}; give at least 1")
        self.levels = levels

    def fuse_many(self, images: Sequence[Tensor]) -> Tensor:
        return per_picture(self._fuse, images)

    def _fuse(self, images: np.ndarray) -> np.ndarray:
        bands = []
        for _ in range(self.levels):
            coarse = np.stack([_pyr_down(image) for image in images])
            fine = [image - _pyr_up(small, image.shape) for image, small in zip(images, coarse)]
            bands.append(_larger_magnitude(np.stack(fine)))
            images = coarse
        fused = images.mean(axis=0)
        for band in reversed(bands):
            fused = _pyr_up(fused, band.shape) + band
        return fused


@MODELS.register("SaliencePyramid")
class SaliencePyramid(Baseline):
    """Laplacian pyramid, bands weighted by their local energy: the rule of `models/pyramid.py`.

    Each band has one weight map for all channels. Equal images are returned unchanged.

    Args:
        base: "average": mean of the bases; "exposure": weighted by how close the channel mean of each base is to mid
            grey, which brings out shadows and skies of an exposure pair.
        levels: number of bands; None: 5, or 6 with the exposure base. The 6 was fitted: among many settings it comes
            closest to known scores of an exposure base on ten pairs. On ten other exposure pairs, not used for that
            choice, 5 bands reach Qabf .783, VIF 1.56, MEF_SSIM .943 and 6 bands .790, 1.65, .966.
        gain: steepness of the preference for the stronger band.
        window: side of the energy's box mean, odd, in pixels of the band.

    Raises:
        ValueError: ``base`` is unknown, or ``levels`` or ``window`` is invalid.
    """

    def __init__(self, base: Literal["average", "exposure"] = "average", levels: int | None = None,
                 gain: float = pyramid.GAIN, window: int = pyramid.WINDOW) -> None:
        super().__init__()
        if base not in ("average", "exposure"):
            raise ValueError(f"SaliencePyramid: base={base!r}; give 'average' or 'exposure'")
        if levels is None:
            levels = pyramid.EXPOSURE_LEVELS if base == "exposure" else pyramid.LEVELS
        if levels < 1 or window < 1 or window % 2 == 0:
            raise ValueError(f"SaliencePyramid: levels={levels}, window={window}; "
                             "give at least one level and an odd window")
        self.base, self.levels, self.gain, self.window = base, levels, gain, window

    def fuse_many(self, images: Sequence[Tensor]) -> Tensor:
        *bands, bases = pyramid.build_pyramids(images, self.levels)
        fused = [self._fuse_bands(band) for band in bands]
        return pyramid.collapse_pyramid([*fused, self._fuse_bases(bases)])

    def _fuse_bands(self, bands: Tensor) -> Tensor:
        logits = pyramid.band_logits(bands, self.gain, self.window)
        return pyramid.mix(bands, pyramid.mixing_weights(logits))

    def _fuse_bases(self, bases: Tensor) -> Tensor:
        if self.base == "average":
            return pyramid.average_base(bases)
        return pyramid.mix(bases, pyramid.mixing_weights(pyramid.exposure_logits(bases)))


@MODELS.register("Mertens")
class Mertens(Baseline):
    """Exposure fusion by contrast, saturation and well-exposedness (Mertens et al. 2007).

    OpenCV's implementation on the CPU, in float without rounding to 8 bits. Grey pictures
    are passed as three equal channels, with constant saturation. OpenCV expects BGR; programs that pass RGB exchange
    the weights of red and blue contrast, which changes exposure pairs by 1 level in 255 on average.

    Args:
        contrast, saturation, exposure: exponents of the three measures. The defaults are OpenCV's, which leave out
            well-exposedness; the paper uses 1, 1, 1. For focus series 1, 0, 0 is best.
    """

    def __init__(self, contrast: float = 1.0, saturation: float = 1.0, exposure: float = 0.0) -> None:
        super().__init__()
        self.exponents = contrast, saturation, exposure

    def fuse_many(self, images: Sequence[Tensor]) -> Tensor:
        return per_picture(self._fuse, images)

    def _fuse(self, images: np.ndarray) -> np.ndarray:
        channels = images.shape[-1]
        if channels == 1:
            images = np.repeat(images, 3, axis=-1)
        # BGR order for OpenCV's grey conversion; it divides by 255 itself for every type.
        sources = [np.ascontiguousarray(image[..., ::-1]) * 255 for image in images]
        fused = cv2.createMergeMertens(*self.exponents).process(sources)
        return fused[..., ::-1][..., :channels].clip(0, 1)


def _pyr_down(image: np.ndarray) -> np.ndarray:
    """cv2.pyrDown that keeps the axis of a single channel."""
    small = cv2.pyrDown(image)
    return small.reshape(*small.shape[:2], image.shape[2])


def _pyr_up(image: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """cv2.pyrUp to (H, W, C) = ``shape``."""
    return cv2.pyrUp(image, dstsize=(shape[1], shape[0])).reshape(shape)


def _larger_magnitude(bands: np.ndarray) -> np.ndarray:
    """(N, ...) -> (...): the value of largest magnitude, or the mean of several such values."""
    magnitude = np.abs(bands)
    winners = magnitude == magnitude.max(axis=0)
    return (bands * winners).sum(axis=0) / winners.sum(axis=0, dtype=bands.dtype)


def per_picture(rule: Callable[[np.ndarray], np.ndarray], images: Sequence[Tensor]) -> Tensor:
    """Apply a NumPy rule (N, H, W, C) float32 -> (H, W, C) to each element of a batch of tensors."""
    stack = stack_images(images)
    arrays = stack.detach().permute(1, 0, 3, 4, 2).float().cpu().numpy()
    fused = np.stack([rule(np.ascontiguousarray(scene)) for scene in arrays])
    return torch.from_numpy(fused).permute(0, 3, 1, 2).contiguous().to(stack)
