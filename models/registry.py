"""Registries of models and losses, by their names in option files."""

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
    """Build the model selected by the options, with the keywords of its section (``network_G`` or ``mae``).

    Args:
        options: all options.
        derived: keywords derived from other sections; those of the model's section take precedence.

    Raises:
        UserError: unknown model or keyword, or an invalid value; names file and key.
    """
    key = MODELS.get(options.model, where=options.at("model")).traits.section
    name, arguments = present_name(options.model, derived | getattr(options, key).arguments())
    return MODELS.build(name, arguments, at=options.at, name_key="model", arguments_key=key)


def present_name(name: str, arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Translate a model's name and keywords from older option or weight files.

    ``DeFusionPPHR`` with ``use_tokens=false`` is now ``FusionHead``; keywords of its transformer, which had no effect,
    are dropped.
    """
    arguments = dict(arguments)
    if name in ("DeFusionPPHR", "FusionHead") and not arguments.pop("use_tokens", name == "DeFusionPPHR"):
        known = signature_of(MODELS.get("FusionHead")).known
        return "FusionHead", {key: value for key, value in arguments.items() if key in known}
    return name, arguments


def uses_pairs(options: Options) -> bool:
    """Whether the options select a head that also learns from registered pairs."""
    return options.dataset.train.names_pairs and MODELS.get(options.model).traits.training == "head"


def create_loss(options: Options, traits: Traits) -> nn.Module:
    """Build the loss selected by the options, with the keywords ``train.loss_arguments``.

    Args:
        options: all options.
        traits: traits of the model, which define its default loss.

    Raises:
        UserError: a model without training, unknown loss or keyword, an invalid value, or a loss for another kind of
            model; names file and key.
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
