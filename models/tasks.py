"""What a training run minimises: a model, where its pairs come from, and its losses, as one module."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

Generators = Mapping[str, torch.Generator]


def draw_mfm(x: Tensor, patch: int, generators: Generators) -> tuple[Tensor, bool]:
    """The random numbers of one training pass: MFM noise (B, N) and the fair coin of the common order."""
    patches = (x.shape[2] // patch) * (x.shape[3] // patch)
    noise = torch.rand(x.shape[0], patches, generator=generators["mfm"], device=x.device)
    coin = generators["order"]
    return noise, bool(torch.rand((), generator=coin, device=coin.device) < 0.5)


class CUDTask(nn.Module):
    """Stage 1: common and unique decomposition with masked feature modelling on photographs.

    Args:
        model: a ``DeFusionPP``.
        synthesize: (batch, generators) -> sample with x1, x2, common, unique1, unique2, target.
        criterion: (Decomposition, common, unique1, unique2, target) -> terms with ``total_loss``.
    """

    generator_names = ("crop", "damage", "mfm", "order")

    def __init__(self, model: nn.Module, synthesize: Callable, criterion: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.synthesize = synthesize
        self.criterion = criterion
        model.encoder.norm.requires_grad_(False)  # no output passes it, so it never gets a gradient

    def forward(self, batch, generators: Generators) -> dict[str, Tensor]:
        """Loss terms of a batch of photographs, batch means, under their published names."""
        sample = self.synthesize(batch, generators)
        out = self.model(sample.x1, sample.x2, *draw_mfm(sample.x1, self.model.patch_size, generators))
        return self.criterion(out, sample.common, sample.unique1, sample.unique2, sample.target)

    def trainable(self) -> Iterator[nn.Parameter]:
        """Parameters that the optimiser moves."""
        return (p for p in self.model.parameters() if p.requires_grad)

    @torch.no_grad()
    def pictures(self, batch, generators: Generators) -> dict[str, Tensor]:
        """A batch as it is seen and as it is decomposed, each (B, 3, H, W) in [0, 1]."""
        sample = self.synthesize(batch, generators)
        out = self.model(sample.x1, sample.x2, *draw_mfm(sample.x1, self.model.patch_size, generators))
        shown = {"x1": sample.x1, "x2": sample.x2, "target": sample.target, "fused": out.fused,
                 "common": out.common, "unique1": out.unique1, "unique2": out.unique2, "recon": out.recon}
        return {name: value.float().clamp(0, 1) for name, value in shown.items() if value is not None}
