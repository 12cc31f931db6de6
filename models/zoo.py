"""Lists and builds models by name.

    from models import create_model, list_models
    model = create_model("defusionpp_hr", pretrained=True)
"""

from pathlib import Path
from typing import Any

from torch import nn

from models.registry import MODELS, model_from_options, present_name
from models.weight_files import find_weights, pretrained_names, read_about
from models.weights import load_weights
from option.errors import did_you_mean
from option.schema import Options
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


def load_model(path: Path, model: str | None = None, network: dict[str, Any] | None = None, *,
               strict: bool = True) -> nn.Module:
    """Build the model of a weight file and load the weights.

    Args:
        path: the weight file.
        model: registered name; by default from the file, else ``DeFusionPP``.
        network: keywords of the model; by default from the file.
        strict: unknown names in the file are an error.

    Raises:
        UserError: unreadable weights, or weights of another model.
    """
    name, keywords = model_of_weights(path, model)
    built = MODELS.create(name, **network or keywords)
    load_weights(built, path, strict=strict)
    return built


def model_of_options(options: Options) -> tuple[nn.Module, Path | None]:
    """The model of a test option file with its weights, and the file of the weights; None if it needs none.

    Raises:
        UserError: unknown model or keyword, no weights for a model that needs them, or weights of another model.
    """
    asked = options.model if "model" in options.model_fields_set else None
    if asked and not MODELS.get(asked, where=options.at("model")).traits.needs_weights:
        return model_from_options(options), None
    weights = options.path.resume_state or options.path.pretrain_model_G
    if not weights:
        raise UserError(f"{options.at('path.resume_state')}: {options.model} needs weights; give a file, or one of "
                        f"{', '.join(pretrained_names())}")
    path = find_weights(weights)
    name, keywords = model_of_weights(path, asked)
    model = model_from_options(options.model_copy(update={"model": name}), **keywords)
    load_weights(model, path, strict=options.path.strict_load)
    return model, path


def model_of_weights(path: Path, asked: str | None = None) -> tuple[str, dict[str, Any]]:
    """The model of a weight file and its keywords.

    Args:
        path: the weight file.
        asked: a model selected by the user; None: that of the file. It gets the keywords of the file that it accepts;
            if it is another model, loading the weights fails with a message that names the file's model.

    Raises:
        UserError: the file cannot be read or holds a model that does not fuse, or a model is unknown.
    """
    about = read_about(path)
    name, network = present_name(asked or about.model or PUBLISHED_MODEL, about.network)
    kind = MODELS.get(name, where="" if asked else str(path))
    if kind.traits.training == "pictures":
        raise UserError(f"{path}: holds a {name}, which learns from single pictures and fuses nothing; it is a teacher "
                        "for stage 2: give it under teachers (docs/STAGE2.md)")
    if asked:
        signature = signature_of(kind)
        network = {key: value for key, value in network.items() if key in signature.known or signature.takes_any}
    return name, network
