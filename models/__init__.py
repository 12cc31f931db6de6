"""Networks, losses, weights and the ``Fuser`` that applies them to pictures."""

from models.fuser import Fuser, Fusion

__all__ = ["Fuser", "Fusion"]
