"""Uses bf16 on devices with native support."""

import contextlib
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from utils.errors import UserError

_CPU_FLAGS = ("avx512_bf16", "amx_bf16")


def device_gains(device: torch.device) -> bool:
    """Whether bf16 arithmetic is native: a GPU that supports it, or a processor with AVX-512 BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return any(flag in flags for flag in _CPU_FLAGS)


def autocast_dtype(amp: str, device: torch.device) -> torch.dtype | None:
    """Data type of matrix products.

    Args:
        amp: ``auto`` (bf16 if the device supports it natively), ``bf16`` or ``off``.
        device: where the model runs.

    Returns:
        ``torch.bfloat16``, or None for float32. bf16 has the exponent range of float32, so gradients are not scaled.

    Raises:
        UserError: an unknown ``amp``.
    """
    if amp not in ("auto", "bf16", "off"):
        raise UserError(f"train.amp: {amp!r} is unknown; give auto, bf16 or off")
    use = amp == "bf16" or (amp == "auto" and device_gains(device))
    return torch.bfloat16 if use else None


def autocast(dtype: torch.dtype | None, device: torch.device) -> AbstractContextManager[object]:
    """Autocast to ``dtype`` on ``device``; does nothing if ``dtype`` is None."""
    if dtype is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)
