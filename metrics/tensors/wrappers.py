"""The metrics as ``torchmetrics.Metric``: accumulated over batches and processes.

    scores = fusion_metrics("common").to(device)      # a torchmetrics.MetricCollection
    for infrared, visible in loader:
        scores.update(infrared, visible, model(infrared, visible))
    scores.compute()                                  # {"EN": mean over the pictures, ...}

Needs torchmetrics (extra ``downstream``).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from .inputs import precision
from .table import compute, known


class FusionMetric(Metric):
    """Mean of one metric over all pictures for which it is defined.

    Pictures are rounded to 8 bits first, as in files: the mean is the one that ``metrics.scores.Scores`` gives.

    Args:
        name: one of ``metrics.tensors.NAMES``.
        **kwargs: those of ``torchmetrics.Metric``.

    Raises:
        UserError: another name.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, name: str, **kwargs: object) -> None:
        super().__init__(**kwargs)
        (self.name,) = known([name])
        self.add_state("total", torch.zeros((), dtype=precision(self.device)), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, a: Tensor, b: Tensor, f: Tensor) -> None:
        """Add a batch; arguments as in `metrics.tensors.compute`."""
        values = compute(self.name, a, b, f, rounded=True)[self.name]
        defined = ~values.isnan()
        self.total += values[defined].sum()
        self.count += defined.sum()

    def compute(self) -> Tensor:
        """The mean so far, a scalar; NaN without a picture for which it is defined."""
        return self.total / self.count


def fusion_metrics(names: str | Sequence[str] = "common", **kwargs: object) -> MetricCollection:
    """Several metrics as one collection, by name.

    Raises:
        UserError: an unknown name.
    """
    return MetricCollection({name: FusionMetric(name, **kwargs) for name in known(names)}, compute_groups=False)
