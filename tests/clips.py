"""Short infrared and visible clips of known motion, simulated from scikit-image's pictures, and their files."""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.demo import load_photograph
from data.simulate import to_bytes

av = pytest.importorskip("av", reason="videos need PyAV (extra video)")

Frames = list[np.ndarray]


@cache
def scene(height: int = 96, width: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """(infrared (H, W), visible (H, W, 3)) float32 in [0, 1]: a dim coffee table, and what is warm on it."""
    photograph = cv2.resize(load_photograph("coffee"), (width, height), interpolation=cv2.INTER_AREA)
    grey = cv2.GaussianBlur(photograph.mean(axis=2), (0, 0), 0.7)
    return 0.2 + 0.6 * grey**2, (0.45 * photograph).astype(np.float32)


def clip(count: int, *, noise: float = 0.0, pan: float = 0.0, disk: float = 0.0, late: int = 0,
         size: tuple[int, int] = (96, 128), shift: float = 0.0, seed: int = 0) -> tuple[Frames, Frames]:
    """Infrared and visible frames, ``uint8`` (H, W, 1) and (H, W, 3).

    Args:
        count: frames of each.
        noise: standard deviation of the sensors' noise in [0, 1].
        pan: pixels by which the view moves to the right with each frame.
        disk: pixels by which a warm, dark disk moves to the right with each frame; 0: there is none.
        late: frame in which the disk comes.
        size: (height, width).
        shift: pixels by which the infrared camera shows things further to the right.
        seed: of the noise.
    """
    rng = np.random.default_rng(seed)
    infrared, visible = [], []
    for number in range(count):
        heat, light = (_moved(one, pan * number) for one in scene(*size))
        if disk and number >= late:
            inside = disk_mask(size, 20 + disk * (number - late))
            heat, light = heat + inside * (0.95 - heat), light * (1 - inside[..., None])
        for frames, picture in ((infrared, _moved(heat, -shift)), (visible, light)):
            frames.append(to_bytes(picture + rng.normal(0, noise, picture.shape) if noise else picture))
    return [one[..., None] for one in infrared], visible


def disk_mask(size: tuple[int, int], x: float, radius: float = 9.0) -> np.ndarray:
    """(H, W) in [0, 1]: a disk half way down, its centre at ``x``."""
    rows, columns = np.mgrid[:size[0], :size[1]]
    return (radius + 0.5 - np.hypot(rows - size[0] / 2, columns - x)).clip(0, 1).astype(np.float32)


def _moved(picture: np.ndarray, left: float) -> np.ndarray:
    matrix = np.float32([[1, 0, -left], [0, 1, 0]])
    return cv2.warpAffine(picture, matrix, picture.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def write_clip(path: Path, frames: Sequence[np.ndarray], *, rate: Fraction | int = 25,
               times: Sequence[int] | None = None, base: Fraction | None = None, form: str = "yuv420p",
               tone: bool = False, codec: str = "libx264", turned: int = 0, matrix: int = 2) -> Path:
    """Write a video.

    Args:
        frames: (H, W, 1 or 3) ``uint8``.
        rate: frames per second.
        times: pts of each frame in units of ``base`` seconds; even by default.
        form: how pixels are stored.
        tone: with a sound track, a tone as long as the frames.
        turned: degrees by which a player should turn the frames counterclockwise.
        matrix: colour matrix, 2: not said.
    """
    base = base or 1 / Fraction(rate)
    times = range(len(frames)) if times is None else times
    with av.open(str(path), "w") as container:
        options = {"crf": "4", "preset": "veryfast", "bf": "0" if times else "2"}
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = frames[0].shape[1], frames[0].shape[0], form
        stream.codec_context.time_base, stream.codec_context.colorspace = base, matrix
        if turned:
            if not hasattr(stream, "set_display_rotation"):
                pytest.skip("this PyAV cannot write turned videos")
            stream.set_display_rotation(turned)
        if tone:
            _add_tone(container, float((times[-1] + 1) * base))
        for pts, pixels in zip(times, frames):
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.broadcast_to(
                pixels, (*pixels.shape[:2], 3))), "rgb24")
            image = image.reformat(format=form, dst_colorspace=None if matrix == 2 else matrix)
            image.pts, image.time_base = pts, base
            container.mux(stream.encode(image))
        container.mux(stream.encode())
    return path


def _add_tone(container: av.container.OutputContainer, seconds: float) -> None:
    stream = container.add_stream("aac", rate=8000, layout="mono")
    wave = (8000 * np.sin(np.arange(round(seconds * 8000)) * 2 * np.pi * 440 / 8000)).astype(np.int16)
    sound = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
    sound.sample_rate, sound.pts = 8000, 0
    container.mux(stream.encode(sound))
    container.mux(stream.encode())
