"""Data structures of the full-resolution head: fine bands, coarse bands and the result.

Shape letters: N pictures of one scene, B scenes, L bands.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from models import pyramid
from models.corrections import Level, shrink_features
from models.decomposition import Decomposition


@dataclass
class HRDecomposition(Decomposition):
    """A decomposition at full resolution.

    ``common``, ``unique1`` and ``unique2`` are for display and exist only for two pictures. With W_i the weight of
    picture i over all bands, unique_i = max(W_i - W_j, 0) x_i, and common is the rest of the mix W_1 x1 + W_2 x2, so
    that the three add up to the mix.

    Attributes:
        weights: weight of each picture for each band and the base, L + 1 tensors (N, B, 1, h, w), summing to 1 over N.
        energies: logarithms of the pictures' energies, L tensors (N, B, 1, h, w).
        bases: bases of the pictures, (N, B, 3, h, w).
        base: the mixed base, (B, 3, h, w).
        patches: output of the published heads (in training, or with ``patches=True``), at patch resolution.
        choice: weights of the source pixels in focus series, (N, B, 1, H, W); None if the head does not choose.
        shares: overall weight W_i of each picture at each pixel, (B, N, H, W), summing to 1 over N; only on request.
    """

    weights: list[Tensor] = field(default_factory=list)
    energies: list[Tensor] = field(default_factory=list)
    bases: Tensor | None = None
    base: Tensor | None = None
    patches: Decomposition | None = None
    choice: Tensor | None = None
    shares: Tensor | None = None


@dataclass
class Told:
    """What the head knows about the scenes of a batch.

    Attributes:
        features: embeddings of roles and task, added to the network's features, (NB, C, 1, 1) each.
        infrared: 1 for the infrared picture of a scene and 0 for the others, (N, B, 1, 1, 1); None if no scene has one.
        focus, exposures: which scenes are focus series or exposures, (B, 1, 1, 1) bool; None if none is.
    """

    features: list[Tensor]
    infrared: Tensor | None = None
    focus: Tensor | None = None
    exposures: Tensor | None = None


@dataclass
class Handover:
    """The input of the coarser bands, at 1/8 of the resolution.

    Attributes:
        picture: the pictures, (N, B, 3, h, w).
        evidence: (N, B, KINDS, h, w).
        features: features of the network, (NB, C, h, w).
        sharpness: of a focus pair, (N + 1, B, 1, h, w), see `models/sharp_regions.py`; None without such.
    """

    picture: Tensor
    evidence: Tensor
    features: Tensor
    sharpness: Tensor | None = None


@dataclass
class Fine:
    """The three finest bands.

    Attributes:
        bands: (N, B, 3, h, w) each.
        levels: the network's input for them.
        picture, evidence: pictures and evidence at the next coarser level.
        features: features of the network at the levels 1 and 2.
        sharpness: of a focus pair at the levels 1 to 3, see ``measure_sharpness``; empty without such.
    """

    bands: list[Tensor]
    levels: list[Level]
    picture: Tensor
    evidence: Tensor
    features: list[Tensor]
    sharpness: list[Tensor] = field(default_factory=list)

    def handover(self) -> Handover:
        """The input of the coarser bands."""
        return Handover(self.picture, self.evidence, shrink_features(self.features[-1]), *self.sharpness[-1:])


@dataclass
class Spread:
    """Sums over bands for the overall weights of all pictures but the last.

    Attributes:
        total: sum of weight x energy, (N - 1, B, 1, H, W).
        norm: sum of energy, (B, 1, H, W).
    """

    total: Tensor | float
    norm: Tensor | float

    @torch.no_grad()
    def with_bands(self, weights: Sequence[Tensor], levels: Sequence[Level]) -> Tensor:
        """The overall weights including the finer bands, (N - 1, B, 1, H, W): energy-weighted means over all bands."""
        size = weights[0].shape[-2:]
        more = spread_bands(weights, levels, size)
        return (self.total + more.total) / (self.norm + more.norm)


def with_last(whole: Tensor) -> Tensor:
    """Overall weights of all pictures but the last, (N - 1, B, 1, H, W) -> those of all, (B, N, H, W)."""
    return torch.cat([whole, 1 - whole.sum(dim=0, keepdim=True)]).squeeze(2).transpose(0, 1)


@torch.no_grad()
def spread_bands(weights: Sequence[Tensor], levels: Sequence[Level], size: Sequence[int]) -> Spread:
    """Sums over bands, enlarged to ``size``."""
    strengths = [level.energy.exp().sum(dim=0) for level in levels]
    parts = [weight[:-1] * strength for weight, strength in zip(weights, strengths)]
    return Spread(sum(pyramid.enlarge_stack(part, size) for part in parts),
                  sum(pyramid.enlarge(strength, size) for strength in strengths))


@dataclass
class Coarse:
    """The coarser bands with their weights.

    Attributes:
        levels: the network's input for the bands and the base.
        weights: weights of the pictures, one tensor per level.
        bases, base: the bases (N, B, 3, h, w) and their mix (B, 3, h, w).
        fused: the fused picture at 1/8 of the resolution, (B, 3, h, w).
        deep, decision: features and decision of the network for the finer bands.
        votes: of the levels for one picture in focus series, (N, B, 1, h, w); None without such.
        regions: logits of the pictures of a focus pair, (N, B, 1, h, w); None without such.
        surroundings: means around warm targets, (B, 2, h, w); None without an infrared picture.
        exposed: weights of well-exposed pictures, (N, B, 1, h, w); None without exposures.
    """

    levels: list[Level]
    weights: list[Tensor]
    bases: Tensor
    base: Tensor
    fused: Tensor
    deep: Tensor
    decision: Tensor | None
    votes: Tensor | None = None
    regions: Tensor | None = None
    surroundings: Tensor | None = None
    exposed: Tensor | None = None

    def spread(self, size: Sequence[int]) -> Spread:
        """Sums over the coarser bands, enlarged to ``size``."""
        return spread_bands(self.weights[:-1], self.levels[:-1], size)
