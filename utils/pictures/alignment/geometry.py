"""Matrices that map pixels of one picture to those of another; 3 x 3, ``float64``, pixel centres at integers."""

import cv2
import numpy as np

from utils.pictures.depth import HIGHEST


def centre(size: tuple[int, int]) -> np.ndarray:
    """Centre of a picture of (width, height), in pixels."""
    return (np.array(size, np.float64) - 1) / 2


def similarity(scale: float, degrees: float, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Scaling by ``scale`` and clockwise rotation by ``degrees`` that maps the point ``source`` to ``target``."""
    angle = np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.vstack([np.column_stack([turn, target - turn @ source]), [0, 0, 1]])


def translation(right: float, down: float) -> np.ndarray:
    """Translation by ``right`` and ``down`` pixels."""
    return np.array([[1, 0, right], [0, 1, down], [0, 0, 1]], np.float64)


def enlargement(scale_x: float, scale_y: float) -> np.ndarray:
    """Maps pixels of a picture to those of the resized picture, with the convention of ``cv2.resize``."""
    return np.array([[scale_x, 0, (scale_x - 1) / 2], [0, scale_y, (scale_y - 1) / 2], [0, 0, 1]], np.float64)


def resizing(source: tuple[int, int], target: tuple[int, int]) -> np.ndarray:
    """The matrix of ``cv2.resize`` from a size (width, height) to another."""
    return enlargement(target[0] / source[0], target[1] / source[1])


def moved(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (N, 2) mapped by a matrix."""
    flat = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    return flat[:, :2] / flat[:, 2:]


def corners(size: tuple[int, int]) -> np.ndarray:
    """Corner pixels of a picture of (width, height), (4, 2)."""
    right, down = size[0] - 1, size[1] - 1
    return np.array([[0, 0], [right, 0], [0, down], [right, down]], np.float64)


def scale_and_turn(matrix: np.ndarray, at: np.ndarray) -> tuple[float, float]:
    """Scale and clockwise rotation in degrees of a matrix at a point."""
    step = moved(matrix, np.array([at, at + np.eye(2)[0], at + np.eye(2)[1]]))
    right, down = step[1] - step[0], step[2] - step[0]
    scale = float(np.sqrt(abs(right[0] * down[1] - right[1] * down[0])))
    return scale, float(np.rad2deg(np.arctan2(right[1] - down[0], right[0] + down[1])))


def resampled(pixels: np.ndarray, matrix: np.ndarray, size: tuple[int, int], *, cubic: bool = True) -> np.ndarray:
    """Resample a picture to another grid; outside the picture its edge is replicated.

    Args:
        pixels: (H, W) or (H, W, C), of any type that OpenCV warps.
        matrix: pixels of the grid to pixels of the picture.
        size: (width, height) of the grid.
        cubic: bicubic instead of bilinear.
    """
    shrinks = scale_and_turn(matrix, centre(size))[0]
    if shrinks > 1.25:  # otherwise pixels would be skipped
        source = pixels.shape[1], pixels.shape[0]
        smaller = max(1, round(source[0] / shrinks)), max(1, round(source[1] / shrinks))
        pixels = cv2.resize(pixels, smaller, interpolation=cv2.INTER_AREA)
        matrix = resizing(source, smaller) @ matrix
    way = cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR
    way |= cv2.WARP_INVERSE_MAP
    result = cv2.warpPerspective(pixels, matrix, size, flags=way, borderMode=cv2.BORDER_REPLICATE)
    if result.dtype == np.float32 and cubic:
        result = result.clip(0, 1)  # bicubic overshoots; OpenCV clips integers
    return result


def coverage(source: tuple[int, int], matrix: np.ndarray, size: tuple[int, int], border: int = 0) -> np.ndarray:
    """Mask of the area that a picture of size ``source`` covers on a grid: (H, W) ``uint8`` of 0 and 1.

    Args:
        source: (width, height) of the picture.
        matrix: pixels of the grid to pixels of the picture.
        size: (width, height) of the grid.
        border: width in grid pixels of the edge that is excluded.
    """
    ones = np.ones((source[1], source[0]), np.uint8)
    shown = cv2.warpPerspective(ones, matrix, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    if border:
        kernel = np.ones((2 * border + 1, 2 * border + 1), np.uint8)
        shown = cv2.erode(shown, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return shown


def unit_grey(pixels: np.ndarray) -> np.ndarray:
    """Convert (H, W, 1 or 3) ``uint8``, ``uint16`` or float in [0, 1] to grey (H, W) ``float32`` in [0, 1]."""
    grey = pixels if pixels.shape[2] == 1 else cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    return grey.reshape(grey.shape[:2]).astype(np.float32) / np.float32(HIGHEST.get(pixels.dtype, 1))
