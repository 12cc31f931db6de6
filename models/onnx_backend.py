"""Runs exported models with ONNX Runtime, without PyTorch; `models/onnx_export.py` writes the files."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.decomposition import Decomposition
from models.protocol import Role, Task, Traits
from utils.arrays import as_float32, as_numpy
from utils.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
SUFFIX = ".onnx"


class OnnxModel:
    """A model in an ONNX file, with the interface of `models/protocol.py` for NumPy arrays.

    Args:
        path: a file written by ``defusionpp export``.
        device: "auto" (a GPU if ONNX Runtime has it), "cpu" or "cuda".

    Attributes:
        metadata: what the file says of itself, by name; docs/EXPORT.md lists it.

    Raises:
        UserError: ONNX Runtime is not installed, the device is not available, or the file cannot be read or is not one
            of ours.
    """

    def __init__(self, path: Path, device: str = "auto") -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(f"{path}: ONNX Runtime is not installed; pip install onnxruntime") from error
        there = onnxruntime.get_available_providers()
        wanted = device if device != "auto" else "cuda" if PROVIDERS["cuda"] in there else "cpu"
        if PROVIDERS.get(wanted) not in there:
            raise UserError(f"device: {device} is not available to this ONNX Runtime; give auto or cpu")
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 0)  # 0: one a core
        settings.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(path, settings, providers=[PROVIDERS[wanted]])
            self.metadata = dict(self.session.get_modelmeta().custom_metadata_map)
        except Exception as error:  # ONNX Runtime has a class for each fault, which have only Exception in common
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise UserError(f"{path}: not a readable ONNX file ({reason}); export it again") from None
        self.path = path
        self.device, self._asked = wanted, onnxruntime.RunOptions()
        self._asked.only_execute_path_to_fetches = True  # what no requested output needs is not computed
        self._read_metadata(path)

    def _read_metadata(self, path: Path) -> None:
        try:
            self.name, traits = self.metadata["model"], json.loads(self.metadata["traits"])
            lists = [json.loads(self.metadata[key]) for key in ("roles", "tasks", "for")]
            self.roles, self.tasks, self.made_for = lists
            self.traits, self.grids = Traits(**traits), int(self.metadata.get("grids", 1))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: not an ONNX file of defusionpp, or of another version ({error!r}); write it by "
                            "defusionpp export") from error
        self.outputs = [output.name for output in self.session.get_outputs()]

    def decompose(self, *pictures: np.ndarray, roles: Sequence[Role] = (), task: Task = "none",
                  components: bool = True, shares: bool = False) -> Decomposition:
        """Fuse pictures of one scene, or pairs.

        Args:
            *pictures: two or, with ``traits.many``, more, (B, 3, H, W) float32 in [0, 1].
            roles, task: see ``FusionHead.decompose``; only with ``traits.roles``.
            components: whether to compute the components of a pair, if the file has them.
            shares: whether to compute the overall weights, if the file has them.

        Raises:
            UserError: the file is for other tasks.
        """
        if task not in self.made_for:
            raise UserError(f"{self.path}: made for {', '.join(self.made_for)}, not for the task {task}; give another "
                            "task, or export it again")
        if self.traits.many and len(pictures[0]) > 1:  # the file takes one scene
            scenes = [self.decompose(*(x[place : place + 1] for x in pictures), roles=roles, task=task,
                                     components=False).fused for place in range(len(pictures[0]))]
            return Decomposition(None, None, None, np.concatenate(scenes))
        wanted = {"fused": True, "common": components, "unique1": components, "unique2": components, "shares": shares}
        names = [name for name in self.outputs if wanted[name]]
        if self.traits.many:
            words = roles or ["none"] * len(pictures)
            given = {"pictures": np.concatenate(pictures)}
            if self.traits.roles:
                given["roles"] = np.array([self.roles.index(word) for word in words])
                given["task"] = np.array([self.tasks.index(task)])
        else:
            given = dict(zip(("x1", "x2"), map(np.ascontiguousarray, pictures)))
        results = dict(zip(names, self.session.run(names, given, self._asked)))
        return Decomposition(*(results.get(name) for name in ("common", "unique1", "unique2", "fused")),
                             shares=results.get("shares"))


class OnnxBackend:
    """An exported model for the fuser; `models/torch_backend.py` is the other backend.

    Args:
        model: the model.
        amp: "auto" or "off"; the precision is that of the file.

    Raises:
        UserError: ``amp`` is "bf16".
    """

    dtype = None

    def __init__(self, model: OnnxModel, amp: str) -> None:
        if amp not in ("auto", "off"):
            raise UserError(f"amp: {amp!r} needs PyTorch; an ONNX file has its precision, see defusionpp export --help")
        self.model, self.device, self.name = model, model.device, model.name

    def place(self, values: np.ndarray | Tensor) -> np.ndarray:
        """Values as a float32 array."""
        return as_float32(as_numpy(values))

    def running(self) -> AbstractContextManager[object]:
        """Context of everything computed for a scene."""
        return contextlib.nullcontext()

    precision = running
