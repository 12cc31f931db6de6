"""The names under which option files find data sets and damages."""

from utils.registry import Registry

DATASETS = Registry("data set", "data")
SCENARIOS = Registry("scenario", "data")
