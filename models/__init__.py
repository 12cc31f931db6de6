"""Networks, losses, weights and the ``Fuser`` that applies them to pictures.

Names are imported at first use: a ``Fuser`` of an ONNX file needs no PyTorch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.fuser import Fuser, Fusion
    from models.zoo import create_model, list_models

__all__ = ["Fuser", "Fusion", "create_model", "list_models"]

_HOMES = {"Fuser": "fuser", "Fusion": "fuser", "create_model": "zoo", "list_models": "zoo"}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
