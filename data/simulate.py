"""Simulated pairs from one photograph: what a thermal camera, two exposures or two focus settings might show.

For demo pictures and tests; training pairs are made on the device, in `data/synthesis.py`. Pictures are float32
(H, W, 3) or (H, W) in [0, 1]; positions are shares of width and height.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from utils.pictures.colour import LUMA

_GAMMA = 2.2


def to_bytes(image: np.ndarray) -> np.ndarray:
    """[0, 1] to 8 bits, rounded half up."""
    return np.floor(image.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def polygon_mask(points: Sequence[tuple[float, float]], size: tuple[int, int]) -> np.ndarray:
    """Filled polygon of (x, y) shares as (H, W) uint8 of 0 and 1; ``size`` is (height, width)."""
    scaled = np.round(np.array(points) * (size[1], size[0])).astype(np.int32)
    return cv2.fillPoly(np.zeros(size, np.uint8), [scaled], 1)


def object_mask(image: np.ndarray, outline: Sequence[tuple[float, float]], margin: float = 0.03) -> np.ndarray:
    """An object cut out along its edges (GrabCut) from a rough outline, border softened.

    Args:
        image: (H, W, 3).
        outline: rough polygon of (x, y) shares.
        margin: tolerance of the outline, as a share of the longer side.

    Returns:
        (H, W) in [0, 1].
    """
    shape, size = image.shape[:2], tuple(length // 2 for length in image.shape[:2])
    # GrabCut is five times as fast at half size, and its border is softened anyway.
    small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    rough = polygon_mask(outline, size)
    radius = max(2, round(margin * max(size)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    labels = np.where(rough > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[cv2.erode(rough, kernel, borderType=cv2.BORDER_REPLICATE) > 0] = cv2.GC_FGD
    labels[cv2.dilate(rough, kernel, borderType=cv2.BORDER_REPLICATE) == 0] = cv2.GC_BGD
    cv2.setRNGSeed(0)
    cv2.grabCut(to_bytes(small), labels, None, np.zeros((1, 65)), np.zeros((1, 65)), 5, cv2.GC_INIT_WITH_MASK)
    mask = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    mask = cv2.resize(cv2.medianBlur(mask * 255, 3), shape[::-1], interpolation=cv2.INTER_CUBIC)
    # The 50 % line of the smoothed mask is a border without steps.
    smooth = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 2.0)
    return ((smooth - 0.5) * 3 + 0.5).clip(0, 1)


def soft_region(points: Sequence[tuple[float, float]], size: tuple[int, int], softness: float) -> np.ndarray:
    """Polygon of (x, y) shares with a border ``softness`` pixels wide (one sigma): (H, W) in [0, 1]."""
    return cv2.GaussianBlur(polygon_mask(points, size).astype(np.float32), (0, 0), softness)


def ellipse(centre: tuple[float, float], radii: tuple[float, float]) -> list[tuple[float, float]]:
    """Outline of an upright ellipse, in shares of width and height."""
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    return [(centre[0] + radii[0] * float(np.cos(a)), centre[1] + radii[1] * float(np.sin(a))) for a in angles]


def thermal(image: np.ndarray, warm: Sequence[tuple[np.ndarray, float]], seed: int = 0) -> np.ndarray:
    """A thermal camera's view: soft, grey, surroundings flat and cool, some objects warm.

    Args:
        image: (H, W, 3).
        warm: (mask (H, W), heat in [0, 1]) of each warm object, later ones on top.
        seed: seed of the sensor noise.

    Returns:
        (H, W) in [0, 1].
    """
    grey = image @ np.float32(LUMA)
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.3)
    # Temperature hardly depends on paint: low contrast, and not monotone in the grey value.
    heat = 0.16 + 0.17 * np.sin(2.2 * smooth) + 0.10 * (smooth - cv2.GaussianBlur(smooth, (0, 0), 9))
    for mask, warmth in warm:
        surface = warmth + 0.35 * (smooth - cv2.GaussianBlur(smooth, (0, 0), 25))
        heat = heat + mask * (surface - heat)
    noise = np.random.default_rng(seed).normal(0, 0.008, heat.shape)
    return (cv2.GaussianBlur(heat, (0, 0), 0.7) + noise).clip(0, 1).astype(np.float32)


def dim(image: np.ndarray, exposure: float, seed: int = 0) -> np.ndarray:
    """A night view: light multiplied by ``exposure``, with sensor noise; not yet quantised."""
    linear = image**_GAMMA * exposure
    noise = np.random.default_rng(seed).normal(0, 1, linear.shape) * np.sqrt(2e-5 + 4e-4 * linear)
    return (linear + noise).clip(0, 1).astype(np.float32) ** np.float32(1 / _GAMMA)


def haze(image: np.ndarray, near: float, far: float, air: float = 0.78) -> np.ndarray:
    """Fog: the share of the scene that comes through falls from ``near`` (bottom) to ``far`` (top)."""
    through = np.linspace(far, near, image.shape[0], dtype=np.float32)[:, None, None]
    return image * through + air * (1 - through)


def bracket(image: np.ndarray, light: np.ndarray, stops: float) -> tuple[np.ndarray, np.ndarray]:
    """Two exposures of a scene with more range than a camera takes: (under, over).

    Args:
        image: (H, W, 3).
        light: (H, W), stops by which each place is brighter than in the photograph: makes the wide range.
        stops: exposure offset of both pictures, below and above.
    """
    under, over = exposures(image, light, (-stops, stops))
    return under, over


def exposures(image: np.ndarray, light: np.ndarray, stops: Sequence[float]) -> list[np.ndarray]:
    """Any number of exposures of such a scene.

    Args:
        image, light: as for :func:`bracket`.
        stops: of each picture, relative to the photograph's exposure.
    """
    scene = image**_GAMMA * np.exp2(light)[..., None]
    return [(_shoulder(scene * np.float32(2.0**step)) ** (1 / _GAMMA)).astype(np.float32) for step in stops]


def _shoulder(linear: np.ndarray) -> np.ndarray:
    """A camera's tone curve: highlights approach white and lose colour before detail."""
    bent = linear / (1 + linear**4) ** 0.25
    peak = (bent @ np.float32(LUMA))[..., None]
    fade = ((peak - 0.7) / 0.3).clip(0, 1) ** 2
    return bent + fade * (peak - bent)


def slope(size: tuple[int, int], towards: tuple[float, float], depth: float) -> np.ndarray:
    """A smooth ramp (height, width) from -depth to depth, increasing in the direction (x, y)."""
    y, x = np.mgrid[-1:1:size[0] * 1j, -1:1:size[1] * 1j].astype(np.float32)
    ramp = x * towards[0] + y * towards[1]
    return depth * np.tanh(2.2 * ramp / np.abs(ramp).max()).astype(np.float32)


def disk_blur(image: np.ndarray, radius: float) -> np.ndarray:
    """Defocus: mean over a disk with a soft rim."""
    reach = int(np.ceil(radius)) + 1
    y, x = np.mgrid[-reach:reach + 1, -reach:reach + 1]
    disk = (radius + 0.5 - np.hypot(x, y)).clip(0, 1)
    return cv2.filter2D(image, -1, (disk / disk.sum()).astype(np.float32), borderType=cv2.BORDER_REFLECT_101)


def focus_pair(image: np.ndarray, near: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """(near in focus, far in focus) of a scene of two distances.

    A defocused object spreads over its surroundings; defocused surroundings do not take up its colour.

    Args:
        image: (H, W, 3).
        near: (H, W) soft mask of near objects.
        radius: radius of the blur disk in pixels.
    """
    mask = near[..., None]
    behind = disk_blur(image * (1 - mask), radius) / np.maximum(disk_blur(1 - near, radius), 1e-3)[..., None]
    near_sharp = mask * image + (1 - mask) * behind.clip(0, 1)
    spread = disk_blur(near, radius)[..., None]
    in_front = disk_blur(image * mask, radius)
    # The background behind the object is unknown; near its border it is filled with the photograph's surroundings.
    surroundings = image * (1 - mask) + behind.clip(0, 1) * mask
    far_sharp = in_front + (1 - spread) * surroundings
    return near_sharp.clip(0, 1), far_sharp.clip(0, 1)
