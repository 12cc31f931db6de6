"""Lets one function serve NumPy arrays and PyTorch tensors.

NumPy 2 and PyTorch share the functions of the array API standard (``concat``, ``stack``, ``where``, ``clip``, ``zeros``
with ``device=``, ...), with axes given by position. Fusing with ONNX Runtime needs no PyTorch, so nothing here imports
it.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    Array = TypeVar("Array", np.ndarray, Tensor)


def library_of(array: np.ndarray | Tensor) -> ModuleType:
    """``numpy`` for an array, ``torch`` for a tensor."""
    return np if isinstance(array, np.ndarray) else sys.modules["torch"]


def as_float32(array: Array) -> Array:
    """The array in float32; the same one if it is."""
    library = library_of(array)
    return library.asarray(array, dtype=library.float32)


def as_numpy(array: np.ndarray | Tensor) -> np.ndarray:
    """An array, or the values of a tensor of any device."""
    return array if isinstance(array, np.ndarray) else array.detach().cpu().numpy()


def is_a(value: Any, module: str, name: str) -> bool:
    """Whether a value is of a class of a library that may not be installed, such as ("torch", "Tensor").

    The library is not imported: without it, nothing is of its classes.
    """
    library = sys.modules.get(module)
    return library is not None and isinstance(value, getattr(library, name))
