"""Token features of a pair, for tasks other than fusion."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class PairFeatures:
    """Token features of a pair, returned by ``DeFusionPP.features``.

    N = h w patches of 16 x 16 pixels, row by row; D is the network's width (192). Class tokens are left out.

    Attributes:
        fused: (B, N, D), the fused features after the refinement blocks, R2(R1(G)) in docs/METHOD.md, section 3.
        common: (B, N, D), content of both pictures: sum of the common features of the orders (1, 2) and (2, 1);
            independent of the order of the pair.
        unique1, unique2: (B, N, D), content of only the first or only the second picture.
        layers1, layers2: encoder outputs h0 .. h12 for each picture, (B, N, D) each: the embedding and the output of
            every block.
        grid: patches (h, w), down and across.
    """

    fused: Tensor
    common: Tensor
    unique1: Tensor
    unique2: Tensor
    layers1: list[Tensor]
    layers2: list[Tensor]
    grid: tuple[int, int]

    def as_map(self, tokens: Tensor) -> Tensor:
        """Any of these tokens (B, N, D) as a map (B, D, h, w)."""
        return tokens.transpose(1, 2).unflatten(2, self.grid)
