"""DeFusion++: image fusion for infrared and visible pictures, exposures and focus series.

    import defusionpp
    fuse = defusionpp.Fuser.from_pretrained("defusionpp_hr")
    fused = fuse("ir.png", "vi.png").fused
    scores = defusionpp.compute("common", infrared, visible, fused)

The wheel's ``defusionpp/__init__.py``. Names are imported at first use: ``import defusionpp`` itself loads no PyTorch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from utils.version import VERSION as __version__

if TYPE_CHECKING:
    from metrics.scoring import compute
    from models.fuser import Fuser, Fusion
    from models.zoo import create_model, list_models
    from utils.pictures.thermal import read_thermal

__all__ = ["Fuser", "Fusion", "__version__", "compute", "create_model", "list_models", "read_thermal"]

_HOMES = {"Fuser": "models.fuser", "Fusion": "models.fuser", "compute": "metrics.scoring",
          "create_model": "models.zoo", "list_models": "models.zoo", "read_thermal": "utils.pictures.thermal"}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
