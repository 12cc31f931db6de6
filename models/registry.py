"""The names under which option files find models and losses."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from models.protocol import Traits
from option.schema import Options
from utils.errors import UserError
from utils.registry import Registry
from utils.signatures import signature_of

MODELS = Registry("model", __package__)
LOSSES = Registry("loss", __package__)


def model_from_options(options: Options, **derived: Any) -> nn.Module:
    """The model that an option file names, built with the keywords of its section, ``network_G`` or ``mae``.

    Args:
        options: the whole option file.
        derived: keywords that follow from other sections; the model's own section goes before them.

    Raises:
        UserError: unknown model or keyword, or a value that does not fit; names file and key.
    """
    key = MODELS.get(options.model, where=options.at("model")).traits.section
    given = options.network_G.arguments() if key == "network_G" else options.mae.model_dump()
    name, arguments = present_name(options.model, derived | given)
    return MODELS.build(name, arguments, at=options.at, name_key="model", arguments_key=key)


def present_name(name: str, arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A model's name and keywords as they are now, from those of an older option or weight file.

    ``DeFusionPPHR`` with ``use_tokens=false`` was the head alone, which is ``FusionHead``; keywords of its transformer
    had no effect and are left out.
    """
    arguments = dict(arguments)
    if name in ("DeFusionPPHR", "FusionHead") and not arguments.pop("use_tokens", name == "DeFusionPPHR"):
        known = signature_of(MODELS.get("FusionHead")).known
        return "FusionHead", {key: value for key, value in arguments.items() if key in known}
    return name, arguments


def uses_pairs(options: Options) -> bool:
    """Whether the model that an option file names is a head that learns from its registered pairs as well."""
    return options.dataset.train.names_pairs and MODELS.get(options.model).traits.training == "head"


def create_loss(options: Options, traits: Traits) -> nn.Module:
    """The loss that an option file names, built with its ``train.loss_arguments``.

    Args:
        options: the whole option file.
        traits: of the model, which has a loss of its own.

    Raises:
        UserError: the model is not trained, unknown loss or keyword, a value that does not fit, or a loss of another
            kind of model; names file and key.
    """
    if traits.training is None:
        raise UserError(f"{options.at('model')}: {options.model} has nothing to learn; give DeFusionPP, say")
    name = options.train.loss or traits.loss
    loss = LOSSES.build(name, options.train.loss_arguments, at=options.at, name_key="train.loss",
                        arguments_key="train.loss_arguments")
    if not issubclass(traits.gives, loss.takes):
        raise UserError(f"{options.at('train.loss')}: {name} needs {loss.takes.__name__}, and {options.model} gives "
                        f"{traits.gives.__name__}; its own loss is {traits.loss}")
    return loss
