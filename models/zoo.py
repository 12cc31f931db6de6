"""Models by name, with the weights that come with the code.

    from models.zoo import create_model, list_models
    list_models(pretrained=True)                             # ['defusionpp_cud', 'defusionpp_hr']
    model = create_model("defusionpp_hr", pretrained=True)
"""

import json
from pathlib import Path
from typing import Any

from torch import nn

from models.registry import MODELS, present_name
from models.weights import load_weights, read_metadata
from option.errors import did_you_mean
from utils.errors import UserError

PRETRAINED = Path(__file__).resolve().parent.parent / "pretrained"


def shipped_weights() -> dict[str, Path]:
    """Name to file of the weights that come with the code."""
    return {path.stem: path for path in sorted(PRETRAINED.glob("*.safetensors"))}


def list_models(*, pretrained: bool = False) -> list[str]:
    """Every name that `create_model` takes; only those with weights if ``pretrained``."""
    return sorted([*shipped_weights(), *([] if pretrained else MODELS.names())])


def create_model(name: str, *, pretrained: bool = False, **network: Any) -> nn.Module:
    """A model by the name of its weights (``defusionpp_hr``) or of its class (``SaliencePyramid``).

    Args:
        name: one of `list_models`.
        pretrained: load the weights of that name; otherwise the model has its initial values.
        **network: keywords of the model; those that the weight file states are the default.

    Raises:
        UserError: unknown name or keyword, or no weights of that name.
    """
    weights = shipped_weights().get(name)
    if weights is None:
        if pretrained:
            raise UserError(f"create_model: no weights named {name} {did_you_mean(name, shipped_weights())}; "
                            "leave pretrained off, or give one of list_models(pretrained=True)")
        return MODELS.create(name, **network)
    about = read_metadata(weights)
    kind, network = present_name(about["model"], json.loads(about.get("network", "{}")) | network)
    model = MODELS.create(kind, **network)
    if pretrained:
        load_weights(model, weights)
    return model
