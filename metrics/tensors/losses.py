"""Metrics as a training loss."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from utils.errors import UserError

from .table import DIFFERENTIABLE, compute, known


class FusionLoss(nn.Module):
    """Minus the weighted sum of metrics, each averaged over the pictures for which it is defined.

    Args:
        weights: weight by name, of `DIFFERENTIABLE`. Values are on the metrics' own scales: SD, SF and AG in grey
            levels, the others near 1.

    Raises:
        UserError: an unknown metric, one without a gradient, or no metric.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        names = known(list(weights))
        if flat := [name for name in names if name not in DIFFERENTIABLE]:
            raise UserError(f"metrics: {', '.join(flat)} count grey levels and have no gradient; losses can be made of "
                            f"{', '.join(DIFFERENTIABLE)}")
        if not names:
            raise UserError("metrics: a loss of no metric; give weights by name, such as {'SSIM': 1.0}")
        self.weights = {name: float(weights[name]) for name in names}

    def forward(self, a: Tensor, b: Tensor, f: Tensor) -> Tensor:
        """The loss of a batch, a scalar.

        Args:
            a, b: sources, constants.
            f: fused images; shapes and ranges as in `compute`. Values slightly outside [0, 1] are taken as they are.
        """
        scores = compute(list(self.weights), a, b, f, check=False)
        return sum(-weight * defined_mean(scores[name]) for name, weight in self.weights.items())

    def extra_repr(self) -> str:
        return ", ".join(f"{name}: {weight:g}" for name, weight in self.weights.items())


def defined_mean(values: Tensor) -> Tensor:
    """Mean of the values that are not NaN; 0, with no gradient, if all are."""
    defined = ~values.isnan()
    return torch.where(defined, values, 0).sum() / defined.sum().clamp(min=1)
