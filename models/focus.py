"""Focus selection: finds the sharp picture among several focus settings by regions, refined along edges."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from models.baselines import Baseline, stack_images
from models.pyramid import box_mean
from models.registry import MODELS


@MODELS.register("FocusSelection")
class FocusSelection(Baseline):
    """Multi-focus fusion by guided-filter focus detection (after Qiu et al. 2019, "GFDF").

    Sharpness is the detail |grey - 7 x 7 mean| of each image, smoothed by a guided filter along its own edges. The
    sharpest image wins at each pixel; regions smaller than ``island`` are assigned to their surroundings; a second
    guided filter aligns the borders with the picture fused so far. Pixels are copied from the sources. Suitable only
    for images that differ in focus alone.

    Args:
        radius: radius of the guided filters in pixels.
        epsilon: regularisation of the guided filters: variance of the guide that counts as an edge (images in [0, 1]).
        island: share of the picture's area below which a region counts as noise.

    Raises:
        ValueError: ``radius`` or ``island`` out of range.
    """

    def __init__(self, radius: int = 5, epsilon: float = 0.3, island: float = 0.01) -> None:
        super().__init__()
        if radius < 1 or not 0 <= island < 0.5:
            raise ValueError(f"FocusSelection: radius={radius}, island={island}; "
                             "give a radius of at least 1 and an island in [0, 0.5)")
        self.radius, self.epsilon, self.island = radius, epsilon, island

    def fuse_many(self, images: Sequence[Tensor]) -> Tensor:
        stack = stack_images(images)
        weights = self._clean(self._winners(stack))
        guide = (stack * weights).sum(dim=0).mean(dim=1, keepdim=True)
        weights = torch.stack([guided_filter(guide, weight, self.radius, self.epsilon) for weight in weights])
        weights = weights.clamp(min=0)
        return (stack * weights).sum(dim=0) / weights.sum(dim=0)

    def _winners(self, stack: Tensor) -> Tensor:
        """(N, B, C, H, W) -> share of each image at each pixel, (N, B, 1, H, W); ties are split."""
        grey = stack.mean(dim=2, keepdim=True)
        sharpness = []
        for image in grey:
            detail = (image - box_mean(image, 7)).abs()
            sharpness.append(guided_filter(image, detail, self.radius, self.epsilon))
        sharpness = torch.stack(sharpness)
        winners = (sharpness == sharpness.amax(dim=0)).to(stack)
        return winners / winners.sum(dim=0)

    def _clean(self, shares: Tensor) -> Tensor:
        """Assign islands to their surroundings. OpenCV finds the connected regions, on the CPU."""
        arrays = shares.cpu().float().numpy()
        for scene in range(arrays.shape[1]):
            arrays[:, scene, 0] = _absorb_islands(arrays[:, scene, 0], self.island)
        return torch.from_numpy(arrays).to(shares)


def guided_filter(guide: Tensor, image: Tensor, radius: int, epsilon: float) -> Tensor:
    """Edge-preserving smoothing, locally linear in the guide (He et al. 2013).

    Args:
        guide, image: (B, 1, H, W).
        radius: radius of the square windows in pixels.
        epsilon: variance of the guide below which a window counts as flat.
    """
    window = 2 * radius + 1
    mean_guide, mean_image = box_mean(guide, window), box_mean(image, window)
    covariance = box_mean(guide * image, window) - mean_guide * mean_image
    variance = box_mean(guide * guide, window) - mean_guide * mean_guide
    slope = covariance / (variance + epsilon)
    offset = mean_image - slope * mean_guide
    return box_mean(slope, window) * guide + box_mean(offset, window)


def _absorb_islands(shares: np.ndarray, island: float) -> np.ndarray:
    """Assign islands of sole winners to the other images; (N, H, W) shares that sum to 1 -> the same.

    The islands of all images are found before any is reassigned, so that the order of the images does not matter.
    """
    smallest = island * shares[0].size
    islands = np.stack([_small_regions(share > 0.5, smallest) for share in shares])
    kept = np.where(islands, 0, shares)
    count = len(shares)
    others = (1 - islands) / max(count - 1, 1)
    total = kept.sum(axis=0)
    return np.where(total > 0, kept / np.where(total > 0, total, 1), others / others.sum(axis=0))


def _small_regions(mask: np.ndarray, smallest: float) -> np.ndarray:
    """The connected regions of a mask (H, W) bool with fewer than ``smallest`` pixels."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    small = stats[:, cv2.CC_STAT_AREA] < smallest
    small[0] = False
    return small[labels]
