"""Other tools that line pictures up, for `benchmarks/alignment.py`: ECC, median-threshold bitmaps, align_image_stack.

Each takes two grey pictures (H, W) in [0, 1] and returns the matrix from pixels of the first to those of the second.
"""

import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from data import simulate
from utils.pictures.alignment.geometry import centre, resizing, translation

Method = Callable[[np.ndarray, np.ndarray], np.ndarray]


def by_ecc(reference: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """OpenCV's ECC on gradient strengths, Euclidean, at a quarter and half of the size; else the identity."""
    matrix = np.eye(3)
    for scale in (0.25, 0.5):
        small = [_strength(cv2.resize(one, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
                 for one in (reference, picture)]
        to_small = resizing((reference.shape[1], reference.shape[0]), (small[0].shape[1], small[0].shape[0]))
        start = (to_small @ matrix @ np.linalg.inv(to_small))[:2].astype(np.float32)
        stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 1e-5)
        try:
            _, better = cv2.findTransformECC(*small, start, cv2.MOTION_EUCLIDEAN, stop, None, 5)
        except cv2.error:
            continue
        matrix = np.linalg.inv(to_small) @ np.vstack([better, [0, 0, 1]]) @ to_small
    return matrix


def _strength(grey: np.ndarray) -> np.ndarray:
    grey = cv2.GaussianBlur(grey, (0, 0), 1.0)
    return np.sqrt(np.hypot(cv2.Scharr(grey, cv2.CV_32F, 1, 0), cv2.Scharr(grey, cv2.CV_32F, 0, 1)))


def by_mtb(reference: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """OpenCV's median-threshold bitmaps: whole shifts alone."""
    right, down = cv2.createAlignMTB().calculateShift(*(simulate.to_bytes(one) for one in (reference, picture)))
    return translation(-right, -down)


def by_hugin(reference: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """align_image_stack with a long lens, whose pan is a shift; the identity where it fails."""
    size = reference.shape[1], reference.shape[0]
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / name) for name in ("a.tif", "b.tif")]
        for path, one in zip(paths, (reference, picture)):
            cv2.imwrite(path, simulate.to_bytes(one))
        done = subprocess.run(["align_image_stack", "-m", "-f", "5", "-p", "out.pto", *paths], cwd=folder,
                              capture_output=True, text=True)
        project = Path(folder) / "out.pto"
        if done.returncode or not project.exists():
            return np.eye(3)
        return _from_panorama(project.read_text(), size)


def _from_panorama(project: str, size: tuple[int, int]) -> np.ndarray:
    """The homography between two pictures of a hugin project, both rectilinear."""
    cameras = []
    for line in [line for line in project.splitlines() if line.startswith("i ")][:2]:
        value = {key: float(number) for key, number in re.findall(r" ([vrpy])(-?[\d.]+(?:e-?\d+)?)", line)}
        if "v" not in value:  # the second takes the first one's angle of view
            value["v"] = cameras[0][1]
        yaw, pitch, roll = (np.deg2rad(value[key]) for key in "ypr")
        focal = size[0] / 2 / np.tan(np.deg2rad(value["v"]) / 2)
        middle = centre(size)
        lens = np.array([[focal, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1]])
        turn = (cv2.Rodrigues(np.array([0, yaw, 0]))[0] @ cv2.Rodrigues(np.array([pitch, 0, 0]))[0]
                @ cv2.Rodrigues(np.array([0, 0, roll]))[0])
        cameras.append((lens, value["v"], turn))
    (first, _, turn1), (second, _, turn2) = cameras
    return second @ turn2.T @ turn1 @ np.linalg.inv(first)
