"""Lists and builds models by name.

    from models import create_model, list_models
    model = create_model("defusionpp_hr", pretrained=True)
"""

from pathlib import Path
from typing import Any

from torch import nn

from models.registry import MODELS, present_name
from models.weight_files import find_weights, pretrained_names, read_about
from models.weights import load_weights
from option.errors import did_you_mean
from utils.errors import UserError
from utils.signatures import signature_of

PUBLISHED_MODEL = "DeFusionPP"  # model of weights without metadata


def list_models(*, pretrained: bool = False) -> list[str]:
    """All names accepted by :func:`create_model`.

    Args:
        pretrained: only names of shipped weights.
    """
    return sorted([*pretrained_names(), *([] if pretrained else MODELS.names())])


def create_model(name: str, *, pretrained: bool = False, **network: Any) -> nn.Module:
    """Build a model, in training mode.

    Args:
        name: one of ``list_models()``: shipped weights or a registered model.
        pretrained: load the shipped weights; otherwise the weights are initial values.
        **network: keywords of the model; override those stored with the weights.

    Raises:
        UserError: an unknown name or keyword, or ``pretrained`` with a name that has no shipped weights.
    """
    if name in pretrained_names():
        kind, keywords = model_of_weights(find_weights(name))
        model = MODELS.create(kind, **keywords | network)
        if pretrained:
            load_weights(model, name)
        return model
    if name not in MODELS.names():
        raise UserError(f"unknown model {name} {did_you_mean(name, list_models())}; models.list_models() lists all")
    if pretrained:
        raise UserError(f"no weights are named {name}; give one of {', '.join(pretrained_names())}")
    return MODELS.create(name, **network)


def model_of_weights(path: Path, asked: str | None = None) -> tuple[str, dict[str, Any]]:
    """The model of a weight file and its keywords.

    Args:
        path: the weight file.
        asked: a model selected by the user; None: that of the file. It gets the keywords of the file that it accepts;
            if it is another model, loading the weights fails with a message that names the file's model.

    Raises:
        UserError: the file cannot be read, or a model is unknown.
    """
    about = read_about(path)
    name, network = present_name(asked or about.model or PUBLISHED_MODEL, about.network)
    signature = signature_of(MODELS.get(name, where="" if asked else str(path)))
    if asked:
        network = {key: value for key, value in network.items() if key in signature.known or signature.takes_any}
    return name, network
