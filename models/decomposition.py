"""The output of a model for the pictures of one scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Decomposition:
    """The decomposition of a pair of images; each (B, 3, H, W), nominally in [0, 1] and not clipped.

    Attributes:
        common: content of both images.
        unique1, unique2: content of only the first or only the second image.
        fused: the fused image.
        recon: the image reconstructed from a quarter of the tokens (training only).
        shares: overall weight of each picture at each pixel, (B, N, H, W), summing to 1 over N; only on request, from
            models that have weights.
    """

    common: Tensor | None
    unique1: Tensor | None
    unique2: Tensor | None
    fused: Tensor
    recon: Tensor | None = None
    shares: Tensor | None = None
