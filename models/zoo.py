"""Models by name: which there are, and how to build one with its weights.

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

PUBLISHED_MODEL = "DeFusionPP"  # what weights are taken for that do not say what they are


def list_models(*, pretrained: bool = False) -> list[str]:
    """Every name that :func:`create_model` takes.

    Args:
        pretrained: only those of weights that come with the project.
    """
    return sorted([*pretrained_names(), *([] if pretrained else MODELS.names())])


def create_model(name: str, *, pretrained: bool = False, **network: Any) -> nn.Module:
    """A model, in training mode as built.

    Args:
        name: of ``list_models()``: weights that come with the project, or a registered model.
        pretrained: load those weights; otherwise all values are initial ones.
        **network: keywords of the model; those that its weights name need not be given.

    Raises:
        UserError: an unknown name or keyword, or ``pretrained`` for a model that no weights are named after.
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
    """Which model some weights are for, and its keywords.

    Args:
        path: the weight file.
        asked: the model that the user names; None leaves it to the file. Of the file's keywords it gets those that it
            knows: if it is another model, loading fails and says which one the file holds.

    Raises:
        UserError: the file cannot be read, or one of the models is unknown.
    """
    about = read_about(path)
    name, network = present_name(asked or about.model or PUBLISHED_MODEL, about.network)
    signature = signature_of(MODELS.get(name, where="" if asked else str(path)))
    if asked:
        network = {key: value for key, value in network.items() if key in signature.known or signature.takes_any}
    return name, network
