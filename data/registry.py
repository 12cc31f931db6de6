"""Registries of data sets and damages, by their names in option files."""

from option.schema import Options
from utils.registry import Registry

DATASETS = Registry("data set", __package__)
SCENARIOS = Registry("scenario", __package__)


def scenario_shares(options: Options) -> dict[str, float]:
    """The damages selected by the options, with their shares.

    Raises:
        UserError: unknown damage; names file and key.
    """
    for name in options.synthesis.scenarios:
        SCENARIOS.get(name, where=options.at(f"synthesis.scenarios.{name}"))
    return options.synthesis.scenarios
