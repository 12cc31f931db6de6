"""Training task of the full-resolution head."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.tasks import CUDTask, Generators, draw_mfm


class HRTask(CUDTask):
    """Stage 1 with a full-resolution head: published losses on the patches, the head's own on the fused picture.

    Args:
        model: a ``DeFusionPPHR``.
        synthesize: (batch, generators) -> ``Sample``.
        criterion: (HRDecomposition, Sample) -> terms with ``total_loss``.
    """

    def forward(self, batch, generators: Generators) -> dict[str, Tensor]:
        """Loss terms of a batch of photographs, batch means."""
        sample = self.synthesize(batch, generators)
        out = self.model(sample.x1, sample.x2, *draw_mfm(sample.x1, self.model.patch_size, generators))
        return self.criterion(out, sample)


class HRPairTask(HRTask):
    """The same, with a batch of real pairs for the head in every step.

    Args:
        augment: (pairs, generators) -> first and second images (B, 3, H, W) in [0, 1], infrared first.
        real_weight: weight of the real pairs' terms.
    """

    def __init__(self, model: nn.Module, synthesize: Callable, criterion: nn.Module, *, augment: Callable,
                 real_weight: float = 1.0) -> None:
        super().__init__(model, synthesize, criterion)
        self.augment = augment
        self.real_weight = real_weight

    def forward(self, batch, generators: Generators) -> dict[str, Tensor]:
        """Loss terms of a step.

        Args:
            batch: ``photos`` for ``synthesize`` and ``pairs`` for ``augment``.
        """
        terms = super().forward(batch.photos, generators)
        first, second = self.augment(batch.pairs, generators)
        more = self.criterion.real(self.model.decompose(first, second), first, second)
        total = terms.pop("total_loss") + self.real_weight * more.pop("total_loss")
        return terms | more | {"total_loss": total}

    @torch.no_grad()
    def pictures(self, batch, generators: Generators) -> dict[str, Tensor]:
        """The photographs as in stage 1, and how the real pairs are fused."""
        shown = super().pictures(batch.photos, generators)
        first, second = self.augment(batch.pairs, generators)
        real = {"first": first, "second": second, "pair_fused": self.model.decompose(first, second).fused}
        return shown | {name: value.float().clamp(0, 1) for name, value in real.items()}
