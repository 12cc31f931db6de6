"""What a model makes of the pictures of one scene."""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class Decomposition:
    """What a pair of images decomposes into; each (B, 3, H, W), nominally in [0, 1] and not clipped.

    Attributes:
        common: what both images show.
        unique1, unique2: what only the first or only the second shows.
        fused: everything.
        recon: the picture again from a quarter of the features (training only).
    """

    common: Tensor | None
    unique1: Tensor | None
    unique2: Tensor | None
    fused: Tensor
    recon: Tensor | None = None
