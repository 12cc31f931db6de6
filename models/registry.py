"""The names under which option files find models and losses."""

from utils.registry import Registry

MODELS = Registry("model", "models")
LOSSES = Registry("loss", "models")
