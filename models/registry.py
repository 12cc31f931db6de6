"""The names under which option files find models and losses."""

from torch import nn

from option.schema import Options
from utils.registry import Registry

MODELS = Registry("model", "models")
LOSSES = Registry("loss", "models")


def create_model(options: Options) -> nn.Module:
    """The model that an option file names, built with its ``network_G`` keywords.

    Raises:
        UserError: unknown model or keyword, or a value that does not fit; names file and key.
    """
    return MODELS.build(options.model, options.network_G.arguments(), at=options.at, name_key="model",
                        arguments_key="network_G")
