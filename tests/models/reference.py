"""Weights, images and draws of the reference numbers, made again by formula (docs/METHOD.md, section 8)."""

import zlib
from pathlib import Path

import numpy as np
import torch

from models.published import from_published_name

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "reference_forward.npz"
BATCH, SIZE, GRID = 2, 224, 14
TAGS = {"x1": 1, "x2": 2, "ir": 3, "vi": 4}


def uniform(name: str, count: int) -> np.ndarray:
    """``count`` numbers in [0, 1) that depend on the name alone, in exact 32-bit integer arithmetic."""
    mask = np.uint64(0xFFFFFFFF)
    key = np.uint64(zlib.crc32(name.encode()))
    h = (np.arange(1, count + 1, dtype=np.uint64) * np.uint64(2654435761)
         + (key * np.uint64(2246822519) & mask)) & mask
    h ^= h >> np.uint64(15)
    h = h * np.uint64(2246822519) & mask
    h ^= h >> np.uint64(13)
    h = h * np.uint64(3266489917) & mask
    h ^= h >> np.uint64(16)
    return h / 2.0**32


def weight(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The reference weight of a published name."""
    v = 2 * uniform(name, int(np.prod(shape))) - 1
    if name.endswith(("cls_token", "mask_token")):
        v = 0.1 * v
    elif len(shape) >= 2:
        v = v * np.sqrt(6 / (shape[0] + np.prod(shape[1:])))
    elif name.endswith("weight"):
        v = 1 + 0.2 * v
    else:
        v = 0.1 * v
    return torch.from_numpy(v.astype(np.float32).reshape(shape))


def set_reference_weights(model: torch.nn.Module, published_names) -> None:
    """Give a model the reference weights, through the published names."""
    names = {from_published_name(str(name)): str(name) for name in published_names}
    state = model.state_dict()
    missing = set(state) - set(names)
    assert not missing, f"weights without a published name: {sorted(missing)}"
    model.load_state_dict({ours: weight(names[ours], tuple(value.shape)) for ours, value in state.items()})


def image(tag: str) -> torch.Tensor:
    """A reference image batch (2, 3, 224, 224)."""
    s = TAGS[tag]
    b, c, y, x = np.ogrid[:BATCH, :3, :SIZE, :SIZE]
    noise = uniform(tag, BATCH * 3 * SIZE * SIZE).reshape(BATCH, 3, SIZE, SIZE)
    wave = 0.25 * np.sin(2 * np.pi * (y * (2 + c + s) + x * (5 + b)) / SIZE)
    ripple = 0.2 * np.cos(2 * np.pi * x * y / (SIZE * (6 + s)))
    return torch.from_numpy(np.clip(0.5 + wave + ripple + 0.1 * (noise - 0.5), 0, 1).astype(np.float32))


def masks() -> tuple[torch.Tensor, torch.Tensor]:
    """The reference masks, each (2, 1, 224, 224)."""
    t = uniform("masks", BATCH * 2 * GRID * GRID).reshape(BATCH, 2, GRID, GRID) < 0.6
    m1, m2 = t[:, 0], t[:, 1] | ~t[:, 0]
    return tuple(torch.from_numpy(np.kron(m, np.ones((16, 16))).astype(np.float32))[:, None] for m in (m1, m2))


def mfm_noise() -> torch.Tensor:
    """The reference noise of masked feature modelling, (2, 196)."""
    return torch.from_numpy(uniform("mfm_noise", BATCH * GRID * GRID).astype(np.float32).reshape(BATCH, -1))


def assert_matches(golden, key: str, value: torch.Tensor, tolerance: float = 4e-5) -> None:
    """Compare an output with the stored places and the stored whole-tensor statistics."""
    assert tuple(golden[f"{key}/shape"]) == tuple(value.shape)
    got = value.detach().double().numpy()
    want = golden[f"{key}/value"].astype(np.float64)
    np.testing.assert_allclose(got.ravel()[golden[f"{key}/index"]], want, rtol=tolerance, atol=tolerance, err_msg=key)
    stats = got.mean(), got.std(), np.abs(got).max()
    np.testing.assert_allclose(stats, golden[f"{key}/mean_std_absmax"], rtol=1e-4, atol=1e-5, err_msg=key)
