"""DeFusion++ with a full-resolution fusion head that uses the transformer's tokens.

The published network decodes each patch of 16 x 16 pixels from 192 numbers, so its pictures are soft. Here its tokens
control the mixing instead: a ``FusionHead`` (`models/head.py`) mixes the pixels of the two pictures, and the tokens
enter its correction network as smooth maps. The published losses still train the decoded pictures.

Large pictures: ``decompose`` accepts a pair of any size. To run the transformer on windows only:

    maps = context(window of x1, window of x2)    for each window: (B, K, H / 4, W / 4), smooth; blend like a picture
    result = fuse(x1, x2, maps)                   once, for the whole picture; K = model.map_channels

A window's sides are multiples of 16 and its corner a multiple of ``map_stride`` = 4 pixels. ``fuse`` takes maps
of ceil(H / 4) x ceil(W / 4) pixels.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import pyramid
from models.decomposition import Decomposition
from models.defusion import DeFusionPP
from models.head import FusionHead
from models.head_parts import HRDecomposition
from models.layers import choose_kept
from models.protocol import Role, Task, Traits
from models.registry import MODELS
from utils.signatures import Count


@MODELS.register("DeFusionPPHR")
class DeFusionPPHR(nn.Module):
    """The published network with a full-resolution fusion head that uses its tokens.

    Symmetric in the pair: the head is symmetric, and in inference the transformer's common features are averaged over
    both orders.

    Args:
        frozen: freeze the transformer and train only the head, without the published losses.
        token_channels: channels to which the tokens of an image are projected for the head.
        levels, window, widths, bound, trust_bound, base_shift, overshoot, warm_floor, keep_light, choose: keywords of
            ``FusionHead``.
        **transformer: keywords of ``DeFusionPP``.
    """

    traits = Traits(large="maps", roles=True, has_components=True, training="decomposition", loss="HRLoss",
                    gives=HRDecomposition, unused=("network.encoder.norm.",),
                    added=("unique_map.", "shared_map.", "head."),
                    optional=("head.corrections.roles.", "head.corrections.tasks.", "head.choice."))
    map_stride = 4
    patch_size = DeFusionPP.patch_size

    def __init__(self, *, frozen: bool = False, token_channels: Count = 12, levels: Count = pyramid.LEVELS,
                 window: Count = pyramid.WINDOW, widths: Sequence[Count] = (16, 24, 32, 48, 48), bound: float = 3.0,
                 trust_bound: float = 24.0, base_shift: float = 0.2, overshoot: float | None = 0.1,
                 warm_floor: float = 0.0, keep_light: bool = False, choose: bool = False,
                 **transformer: Annotated[int | float, DeFusionPP]) -> None:
        super().__init__()
        self.network = DeFusionPP(**transformer)
        self.frozen = frozen
        if frozen:
            self.network.requires_grad_(False)
        dim = self.network.common_head.in_features
        # For each image: tokens and decoded unique part. For the pair: tokens and decoded common and fused parts.
        self.map_sizes = (token_channels + 1, token_channels + 1, token_channels + 2)
        self.map_channels = sum(self.map_sizes)
        self.unique_map = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, token_channels))
        self.shared_map = nn.Sequential(nn.LayerNorm(2 * dim), nn.Linear(2 * dim, token_channels))
        self.head = FusionHead(levels=levels, window=window, widths=widths, map_channels=self.map_channels,
                               bound=bound, trust_bound=trust_bound, base_shift=base_shift, overshoot=overshoot,
                               warm_floor=warm_floor, keep_light=keep_light, choose=choose)

    def forward(self, x1: Tensor, x2: Tensor, noise: Tensor, swapped: bool = False, *, roles: Tensor | None = None,
                task: Tensor | None = None) -> HRDecomposition:
        """Training pass. The published outputs are in ``patches``.

        Args:
            x1, x2, noise, swapped: as in ``DeFusionPP.forward``.
            roles, task: as in ``FusionHead.forward``; only the head learns of them.
        """
        network, grid = self.network, self.network.grid(x1)
        if self.frozen:
            with torch.no_grad():
                seen = self._see(x1, x2)
            return self.head(x1, x2, roles=roles, task=task, maps=self._views(self._maps(*seen, grid)))
        tokens = network.separate(*network.encode(x1, x2), swapped)
        features = network.finish(tokens)
        patches = network.paint(*features, grid)
        kept = choose_kept(noise, network.mask_ratio)
        patches.recon = network.reconstruct(tokens.select(kept), kept, grid)
        maps = self._views(self._maps(features, patches, grid))
        result = self.head(x1, x2, roles=roles, task=task, maps=maps)
        result.patches, result.recon = patches, patches.recon
        return result

    def train(self, mode: bool = True) -> "DeFusionPPHR":
        """Set training mode, except for a frozen transformer, whose dropout stays off."""
        super().train(mode)
        if self.frozen:
            self.network.eval()
        return self

    def decompose(self, x1: Tensor, x2: Tensor, *, roles: Sequence[Role] = (), task: Task = "none",
                  components: bool = True, patches: bool = False) -> HRDecomposition:
        """Inference pass on (B, 3, H, W) in [0, 1], H and W at least 16; the transformer runs on the whole picture.

        Args:
            roles, task, components: as in ``FusionHead.decompose``.
            patches: also return the output of the published heads (cropped to H and W).
        """
        height, width = x1.shape[-2:]
        drawn, maps = self._look(*(_pad(x, self.patch_size) for x in (x1, x2)))
        stride = self.map_stride
        maps = maps[..., : -(-height // stride), : -(-width // stride)]
        result = self.fuse(x1, x2, maps, roles=roles, task=task, components=components)
        if patches:
            parts = (drawn.common, drawn.unique1, drawn.unique2, drawn.fused)
            result.patches = Decomposition(*(part[..., :height, :width] for part in parts))
        return result

    def context(self, x1: Tensor, x2: Tensor) -> Tensor:
        """The transformer's maps of a window for the head, (B, K, H / 4, W / 4).

        Args:
            x1, x2: (B, 3, H, W) in [0, 1], H and W multiples of 16.
        """
        return self._look(x1, x2)[1]

    def fuse(self, x1: Tensor, x2: Tensor, maps: Tensor, *, roles: Sequence[Role] = (), task: Task = "none",
             components: bool = True) -> HRDecomposition:
        """Mix two pictures of any size.

        Args:
            x1, x2: (B, 3, H, W) in [0, 1].
            maps: from ``context``, (B, K, ceil(H / 4), ceil(W / 4)).
            roles, task, components: as in ``FusionHead.decompose``.
        """
        return self.head.decompose(x1, x2, maps=self._views(maps), roles=roles, task=task, components=components)

    def _views(self, maps: Tensor) -> Tensor:
        """The maps of a pair from the perspective of each picture, (2, B, K, h, w)."""
        first, second, shared = maps.split(self.map_sizes, dim=1)
        return torch.stack([maps, torch.cat([second, first, shared], dim=1)])

    def _look(self, x1: Tensor, x2: Tensor) -> tuple[Decomposition, Tensor]:
        """Run the transformer on a pair, symmetrically in both orders; returns its pictures and its maps."""
        features, drawn = self._see(x1, x2)
        return drawn, self._maps(features, drawn, self.network.grid(x1))

    def _see(self, x1: Tensor, x2: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], Decomposition]:
        """Final features of a pair and the output of the published heads; common is the mean of both orders."""
        network = self.network
        tokens = network.separate_symmetric(*network.encode(x1, x2))
        features = network.finish(tokens)
        return features, network.paint(*features, network.grid(x1))

    def _maps(self, features: tuple[Tensor, Tensor, Tensor], drawn: Decomposition, grid: tuple[int, int]) -> Tensor:
        """Tokens and decoded parts as smooth maps (B, K, H / 4, W / 4): of image 1, of image 2, of the pair."""
        common, unique, fused = features
        first, second = self.unique_map(unique).chunk(2)
        shared = self.shared_map(torch.cat([common, fused], dim=-1))
        size = [side * self.patch_size // self.map_stride for side in grid]
        first, second, shared = (
            pyramid.enlarge(tokens[:, 1:].transpose(1, 2).unflatten(-1, grid), size)
            for tokens in (first, second, shared))
        # Decoded pictures are trained by the published losses only: no gradient of the head reaches the pixel heads.
        seen = (drawn.unique1, drawn.unique2, drawn.common, drawn.fused)
        unique1, unique2, both, everything = (
            F.avg_pool2d(part.detach().mean(dim=1, keepdim=True), self.map_stride).to(first.dtype) for part in seen)
        return torch.cat([first, unique1, second, unique2, shared, both, everything], dim=1)


def _pad(x: Tensor, multiple: int) -> Tensor:
    """Replicate the last row and column up to a multiple."""
    return F.pad(x, (0, -x.shape[-1] % multiple, 0, -x.shape[-2] % multiple), mode="replicate")
