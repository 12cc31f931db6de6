"""Runs models of PyTorch for the fuser: device, precision, inference mode."""

from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor, nn

from utils.distributed import choose_device
from utils.memory import keep_freed_memory
from utils.precision import autocast, autocast_dtype


class TorchBackend:
    """A model on its device; `models/onnx_backend.py` is the other backend.

    Args:
        model: see `models/protocol.py`.
        device: "auto", "cpu", "cuda", ...
        amp: "auto" (bf16 where it is native), "bf16" or "off".
    """

    def __init__(self, model: nn.Module, device: str, amp: str) -> None:
        self.device = choose_device(device)
        self.model = model.to(self.device).eval()
        self.name = type(model).__name__
        self.dtype = autocast_dtype(amp, self.device)
        if self.device.type == "cpu":
            keep_freed_memory()  # mapping it anew took 40 % of the time of a pair of 1920 x 1080

    def place(self, values: np.ndarray | Tensor) -> Tensor:
        """Values as a float32 tensor on the device."""
        return torch.as_tensor(values).to(self.device, torch.float32)

    def running(self) -> AbstractContextManager[object]:
        """Context of everything computed for a scene."""
        return torch.inference_mode()

    def precision(self) -> AbstractContextManager[object]:
        """Context of a call of the model."""
        return autocast(self.dtype, self.device)
