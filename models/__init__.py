"""Networks, losses, weights and the ``Fuser`` that applies them to pictures."""

from models.fuser import Fuser, Fusion
from models.zoo import create_model, list_models

__all__ = ["Fuser", "Fusion", "create_model", "list_models"]
