"""Coarse search for the position of a picture in another: all shifts, rotations and scales, on small pictures."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from utils.pictures.alignment.fields import field_of, field_on
from utils.pictures.alignment.geometry import centre, corners, moved, resizing, similarity, translation

SHORT_SIDE = 72
"""Of the pictures that are searched, in pixels."""
_SMOOTH, _BORDER = 0.7, 2
_APART = 3.0  # candidates whose corners are closer than this, in pixels, are merged
_LEAST_COMMON = 0.1


@dataclass(frozen=True)
class Reach:
    """The range of the search.

    Attributes:
        shift: largest shift as a share of each side.
        scales: scales of the other picture relative to the size that fills the frame.
        degrees: rotations.
    """

    shift: float = 0.2
    scales: tuple[float, ...] = (1.0,)
    degrees: tuple[float, ...] = (0.0,)


def _steps(low: float, high: float, count: int) -> tuple[float, ...]:
    return tuple(float(scale) for scale in np.geomspace(low, high, count))


SHIFTS = Reach()
SAME_FIELD = Reach(scales=_steps(0.66, 1.5, 13), degrees=tuple(range(-12, 13, 3)))
SMALLER_FIELD = Reach(scales=_steps(0.9, 2.8, 18), degrees=tuple(range(-12, 13, 3)))


@dataclass(frozen=True)
class Candidate:
    """A candidate position.

    Attributes:
        score: correlation of the fields times the square root of the common share of the frame; random peaks are
            equally high everywhere by this measure.
        matrix: maps pixels of the frame to pixels of the other picture, both at full size.
    """

    score: float
    matrix: np.ndarray


def search(frame: np.ndarray, other: np.ndarray, reach: Reach, count: int) -> list[Candidate]:
    """The best positions of a picture in a frame, best first.

    Args:
        frame, other: grey pictures (H, W), ``float32``, of any sizes.
        reach: range of the search.
        count: number of positions.
    """
    size, other_size = ((picture.shape[1], picture.shape[0]) for picture in (frame, other))
    small, small_other = (_small(picture) for picture in (frame, other))
    seen, seen_other = ((picture.shape[1], picture.shape[0]) for picture in (small, small_other))
    first, last = resizing(size, seen), np.linalg.inv(resizing(other_size, seen_other))
    found = sorted(_peaks(small, small_other, reach), key=lambda candidate: -candidate.score)
    chosen: list[tuple[Candidate, np.ndarray]] = []
    for one in found:
        at = moved(one.matrix, corners(seen))
        if all(np.hypot(*(at - there).T).mean() > _APART for _, there in chosen):
            chosen.append((one, at))
        if len(chosen) == count:
            break
    return [Candidate(one.score, last @ one.matrix @ first) for one, _ in chosen]


def _small(grey: np.ndarray) -> np.ndarray:
    scale = SHORT_SIDE / min(grey.shape)
    size = max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _peaks(frame: np.ndarray, other: np.ndarray, reach: Reach) -> Iterator[Candidate]:
    """The two best shifts for each rotation and scale, in pixels of the small pictures."""
    from scipy import fft  # here, as its import takes as long as all others of `defusionpp fuse` before PyTorch's

    height, width = frame.shape
    middles = centre((width, height)), centre((other.shape[1], other.shape[0]))
    widest = max(_shift_at(reach, scale) for scale in reach.scales)
    shape = fft.next_fast_len(height + int(widest * height) + 1), fft.next_fast_len(width + int(widest * width) + 1)
    shown = np.zeros_like(frame)
    shown[_BORDER:-_BORDER, _BORDER:-_BORDER] = 1
    still = _spectra(field_of(frame, _SMOOTH) * shown, shown, shape)
    fill = min(other.shape[1] / width, other.shape[0] / height)
    for scale in reach.scales:
        far = _shift_at(reach, scale)
        rows, columns = _places(int(far * height) + 1, shape[0]), _places(int(far * width) + 1, shape[1])
        for degrees in reach.degrees:
            matrix = similarity(fill * scale, degrees, *middles)
            field, shown = field_on(other, matrix, (width, height), _SMOOTH, _BORDER)
            scores = _scores(still, _spectra(field * shown, shown.astype(np.float32), shape), shape, width * height)
            scores = scores[np.ix_(rows, columns)]
            for _ in range(2):
                row, column = np.unravel_index(scores.argmax(), scores.shape)
                shift = translation(-_signed(columns[column], shape[1]), -_signed(rows[row], shape[0]))
                yield Candidate(float(scores[row, column]), matrix @ shift)
                scores[max(0, row - 3):row + 4, max(0, column - 3):column + 4] = -1


def _shift_at(reach: Reach, scale: float) -> float:
    """Range of shifts: a picture that fills less of the frame may be anywhere in it."""
    return min(0.9, reach.shift + max(0.0, 1 - 1 / scale) / 2)


def _places(far: int, length: int) -> np.ndarray:
    """Indices of the shifts -far to far in a cyclic correlation."""
    return np.r_[0:far + 1, length - far:length]


def _signed(place: int, length: int) -> int:
    return int(place) if place <= length // 2 else int(place) - length


def _spectra(field: np.ndarray, shown: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Spectra of a field, of its energy and of its mask."""
    from scipy import fft

    return fft.fft2(field, shape), fft.rfft2(np.abs(field) ** 2, shape), fft.rfft2(shown, shape)


def _scores(still: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...], shape: tuple[int, int],
            pixels: int) -> np.ndarray:
    """Score at every cyclic shift of the other field (see `Candidate`); -1 if the common area is too small."""
    from scipy import fft

    product = fft.ifft2(still[0] * other[0].conj()).real
    energy = fft.irfft2(still[1] * other[2].conj(), shape) * fft.irfft2(still[2] * other[1].conj(), shape)
    common = fft.irfft2(still[2] * other[2].conj(), shape) / pixels
    scores = product / np.sqrt(np.maximum(energy, 1e-6)) * np.sqrt(np.maximum(common, 0))
    return np.where(common > _LEAST_COMMON, scores, -1)
