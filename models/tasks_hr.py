"""Training task of the full-resolution head."""

from torch import Tensor

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
