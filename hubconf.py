"""Entry points of ``torch.hub``, which looks for this file at the top of a repository.

    fuse = torch.hub.load("path/of/the/clone", "defusionpp_hr", source="local")
    fused = fuse("ir.png", "vi.png").fused
"""

# torch.hub lists every public callable of this file: imports are private.
import sys
from pathlib import Path as _Path
from typing import Any as _Any

dependencies = ["torch", "numpy", "cv2", "PIL", "pydantic", "yaml", "safetensors", "filelock", "tifffile",
                "imagecodecs"]


def defusionpp_hr(**kwargs: _Any):
    """The ``Fuser`` with the default weights. Keywords: those of ``Fuser``, such as ``device`` and ``align``."""
    return fuser("defusionpp_hr", **kwargs)


def defusionpp_cud(**kwargs: _Any):
    """The ``Fuser`` with the weights of the published network. Keywords: those of ``Fuser``."""
    return fuser("defusionpp_cud", **kwargs)


def defusionpp_mixed(**kwargs: _Any):
    """The ``Fuser`` with the published network trained on a mixture of damages. Keywords: those of ``Fuser``."""
    return fuser("defusionpp_mixed", **kwargs)


def fuser(weights: str | None = None, **kwargs: _Any):
    """``Fuser.from_pretrained(weights, **kwargs)``: a name, a weight file or a Hugging Face repository."""
    _check_names()
    from models.fuser import Fuser

    return Fuser.from_pretrained(weights, **kwargs)


def create_model(name: str, pretrained: bool = False, **network: _Any):
    """``models.create_model``: a bare module, for training."""
    _check_names()
    from models.zoo import create_model

    return create_model(name, pretrained=pretrained, **network)


def _check_names() -> None:
    """Check that the caller has no modules with the names of ours.

    Raises:
        ImportError: there is one.
    """
    root = _Path(__file__).resolve().parent
    for name in ("models", "option", "utils"):
        module = sys.modules.get(name)
        if module is not None and _Path(module.__file__ or "").resolve() != root / name / "__init__.py":
            raise ImportError(f"another module is called {name} ({module.__file__}), as one of DeFusion++ is; instead: "
                              f"pip install {root}, import defusionpp")
