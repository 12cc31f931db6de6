"""The names under which option files find models and losses."""

from typing import Any

from torch import nn

from option.schema import Options
from utils.registry import Registry

MODELS = Registry("model", __package__)
LOSSES = Registry("loss", __package__)


def model_from_options(options: Options, **derived: Any) -> nn.Module:
    """The model that an option file names, built with the keywords of its section: ``network_G``, or the one that
    its class names as ``section``.

    Args:
        options: the whole option file.
        derived: keywords that follow from other sections; the model's own section goes before them.

    Raises:
        UserError: unknown model or keyword, or a value that does not fit; names file and key.
    """
    key = getattr(MODELS.get(options.model, where=options.at("model")), "section", "network_G")
    section = getattr(options, key)
    given = section.arguments() if key == "network_G" else section.model_dump()
    return MODELS.build(options.model, derived | given, at=options.at, name_key="model", arguments_key=key)


def create_loss(options: Options, default: str) -> nn.Module:
    """The loss that an option file names, built with its ``train.loss_arguments``.

    Args:
        options: the whole option file.
        default: name of the model's own loss.

    Raises:
        UserError: unknown loss or keyword, or a value that does not fit; names file and key.
    """
    return LOSSES.build(options.train.loss or default, options.train.loss_arguments, at=options.at,
                        name_key="train.loss", arguments_key="train.loss_arguments")
