"""DeFusion++: common and unique decomposition with masked feature modelling (arXiv 2410.12274).

The forward pass follows docs/METHOD.md, section 3, row by row. Blocks applied to both images or to both pairs run
once on a stacked batch.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from models.decomposition import Decomposition
from models.encoder import Encoder, PositionTable
from models.features import PairFeatures
from models.layers import CrossBlock, choose_kept, keep_tokens, restore_tokens, tokens_to_pixels, vit_block
from models.protocol import Traits
from models.registry import MODELS
from models.windows import GRIDS
from utils.signatures import Count, Share

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass
class PairTokens:
    """Token features of a pair from the top of the encoder and from its skip path.

    Attributes:
        common, common_skip: (B, L, D).
        unique, unique_skip: (2B, L, D), unique1 of the batch, then unique2.
    """

    common: Tensor
    common_skip: Tensor
    unique: Tensor
    unique_skip: Tensor

    def select(self, kept: Tensor) -> "PairTokens":
        """The class token and the kept patches.

        Args:
            kept: (B, K) patch indices; the same places are kept in all six tensors.
        """
        return PairTokens(*(keep_tokens(x, kept) for x in (
            self.common, self.common_skip, self.unique, self.unique_skip)))


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """[first; second] -> first, second along the batch. By slices, which keep a batch of any size in an ONNX file."""
    half = x.shape[0] // 2
    return x[:half], x[half:]


def swap_halves(x: Tensor) -> Tensor:
    """[first; second] -> [second; first] along the batch."""
    first, second = halves(x)
    return torch.cat([second, first])


def sum_halves(x: Tensor) -> Tensor:
    """[first; second] -> first + second along the batch."""
    first, second = halves(x)
    return first + second


@MODELS.register("DeFusionPP", aliases=("UCMConv", "FusionModel"))
class DeFusionPP(nn.Module):
    """The published network: shared encoder, cross blocks, pixel heads and MFM decoder.

    Args:
        embed_dim: width D of all tokens.
        depth: encoder blocks.
        num_heads, last_heads: heads of the encoder's blocks and of its last one.
        decoder_heads: heads of every other block.
        drop_path: stochastic depth of the encoder.
        dropout: dropout of the cross blocks.
        grids: positions of windows and patches whose results are averaged when a picture is fused, 1 to 4
            (`models/windows.py`); for the published way, 1.
    """

    traits = Traits(has_components=True, training="decomposition", loss="CUDLoss", unused=("encoder.norm.",))
    patch_size = 16
    mask_ratio = 0.75

    def __init__(
        self,
        *,
        embed_dim: Count = 192,
        depth: Count = 12,
        num_heads: Count = 6,
        last_heads: Count = 12,
        decoder_heads: Count = 16,
        drop_path: Share = 0.1,
        dropout: Share = 0.1,
        grids: Count = 1,
    ) -> None:
        super().__init__()
        if grids > len(GRIDS):
            raise ValueError(f"grids should be 1 to {len(GRIDS)}, got {grids}")
        self.grids = grids
        pixels = 3 * self.patch_size**2

        def cross(common: bool = False) -> CrossBlock:
            return CrossBlock(embed_dim, decoder_heads, common=common, dropout=dropout)

        def block() -> nn.Module:
            return vit_block(embed_dim, decoder_heads)

        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.encoder = Encoder(embed_dim, depth, num_heads, last_heads, drop_path)
        self.skip_norm1, self.skip_norm2 = nn.LayerNorm(embed_dim), nn.LayerNorm(embed_dim)
        self.common_cross, self.common_skip_cross = cross(common=True), cross(common=True)
        self.unique_cross, self.unique_skip_cross = cross(), cross()
        self.unique_residual, self.unique_skip_residual = block(), block()
        self.fuse_cross, self.fuse_skip_cross = cross(), cross()
        self.refine = nn.Sequential(block(), block())
        self.common_block, self.unique_block, self.fuse_block = block(), block(), block()
        self.common_head = nn.Linear(embed_dim, pixels)
        self.unique_head = nn.Linear(embed_dim, pixels)
        self.fuse_head = nn.Linear(embed_dim, pixels)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.position = PositionTable(embed_dim)
        self.mfm_blocks = nn.Sequential(block(), block())
        self.mfm_norm = nn.LayerNorm(embed_dim)
        self.mfm_head = nn.Linear(embed_dim, pixels)

    def forward(self, x1: Tensor, x2: Tensor, noise: Tensor, swapped: bool = False) -> Decomposition:
        """Training pass: decomposition, fusion and masked reconstruction.

        Args:
            x1, x2: (B, 3, H, W) in [0, 1], H and W multiples of 16.
            noise: (B, N) uniform random numbers; the quarter of the patches with the smallest ones is kept (MFM).
            swapped: compute the common features in the order (2, 1) of the pair instead of (1, 2).
        """
        pair = (x2, x1) if swapped else (x1, x2)
        common, unique, fused, recon = self.training_pass(*pair, noise)
        first, second = halves(unique)
        return Decomposition(common, *((second, first) if swapped else (first, second)), fused, recon)

    def training_pass(self, x1: Tensor, x2: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """:meth:`forward` in the order (1, 2). The other order is the same pass on the swapped pair.

        Returns:
            common (B, 3, H, W), unique1 and unique2 stacked (2B, 3, H, W), fused and recon (B, 3, H, W). No two share
            memory: PyTorch 2.11 cannot load a compiled network with such outputs from its cache.
        """
        tokens, grid = self.separate(*self.encode(x1, x2)), self.grid(x1)
        kept = choose_kept(noise, self.mask_ratio)
        return *self._pictures(*self.finish(tokens), grid), self.reconstruct(tokens.select(kept), kept, grid)

    def compile(self, *arguments: object, **options: object) -> None:
        """Compile the training pass by ``torch.compile``: one graph for both orders of a pair."""
        self.training_pass = torch.compile(self.training_pass, *arguments, **options)

    def decompose(self, x1: Tensor, x2: Tensor) -> Decomposition:
        """Inference pass: decomposition and fusion of (B, 3, H, W) in [0, 1], H and W multiples of 16."""
        return self.draw(self.separate(*self.encode(x1, x2)), self.grid(x1))

    def grid(self, x: Tensor) -> tuple[int, int]:
        """Patches (down, across) of (B, C, H, W)."""
        return x.shape[2] // self.patch_size, x.shape[3] // self.patch_size

    def normalise(self, x: Tensor) -> Tensor:
        """Normalise images in [0, 1] for the encoder and the teachers."""
        return (x - self.mean) / self.std

    def features(self, x1: Tensor, x2: Tensor) -> PairFeatures:
        """Token features for other tasks, such as segmentation.

        Args:
            x1, x2: (B, 3, H, W) in [0, 1], H and W multiples of 16.

        Returns:
            See ``PairFeatures``. ``decompose`` computes its fused picture from the fused features.
        """
        layers = self.encoder(self.normalise(torch.cat([x1, x2])))
        f, r = self._top_and_skip(layers)
        tokens = self.separate(f, r)
        common = (tokens.common + tokens.common_skip + self._common(self.common_cross, f, swapped=True)
                  + self._common(self.common_skip_cross, r, swapped=True))
        unique1, unique2 = (tokens.unique + tokens.unique_skip)[:, 1:].chunk(2)
        layers1, layers2 = zip(*(layer[:, 1:].chunk(2) for layer in layers))
        return PairFeatures(self.refine(self.fuse_tokens(tokens))[:, 1:], common[:, 1:], unique1, unique2,
                            list(layers1), list(layers2), self.grid(x1))

    def encode(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        """Top features f and skip features r of both images, each (2B, L, D): first images, then second."""
        return self._top_and_skip(self.encoder(self.normalise(torch.cat([x1, x2]))))

    def _top_and_skip(self, layers: list[Tensor]) -> tuple[Tensor, Tensor]:
        return layers[-1], self.skip_norm1(layers[0]) + self.skip_norm2(layers[1])

    def separate(self, f: Tensor, r: Tensor, swapped: bool = False) -> PairTokens:
        """Common and unique features of the pair (docs/METHOD.md, section 3, rows common, unique2, unique1)."""
        return PairTokens(
            common=self._common(self.common_cross, f, swapped),
            common_skip=self._common(self.common_skip_cross, r, swapped),
            unique=self._unique(self.unique_cross, self.unique_residual, f),
            unique_skip=self._unique(self.unique_skip_cross, self.unique_skip_residual, r),
        )

    def separate_symmetric(self, f: Tensor, r: Tensor) -> PairTokens:
        """:meth:`separate` with the mean of both orders as common features: the same for both orders of the pair."""
        tokens = self.separate(f, r)
        return replace(tokens, common=(tokens.common + self._common(self.common_cross, f, swapped=True)) / 2,
                       common_skip=(tokens.common_skip + self._common(self.common_skip_cross, r, swapped=True)) / 2)

    @staticmethod
    def _common(cross: CrossBlock, pair: Tensor, swapped: bool) -> Tensor:
        first, second = halves(pair)
        return cross(second, first) if swapped else cross(first, second)

    @staticmethod
    def _unique(cross: CrossBlock, residual: nn.Module, pair: Tensor) -> Tensor:
        return cross(swap_halves(pair), pair) + residual(pair)

    def fuse_tokens(self, tokens: PairTokens) -> Tensor:
        """G = g + gs: fused features (B, L, D) of whole or of masked tokens."""
        top = self.fuse_cross(tokens.common, tokens.unique)
        skip = self.fuse_skip_cross(tokens.common_skip, tokens.unique_skip)
        return sum_halves(top) + sum_halves(skip)

    def draw(self, tokens: PairTokens, grid: tuple[int, int]) -> Decomposition:
        """Decode token features to pictures."""
        return self.paint(*self.finish(tokens), grid)

    def finish(self, tokens: PairTokens) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs of the pixel heads: common (B, L, D), unique (2B, L, D) and fused (B, L, D)."""
        common = self.common_block(tokens.common + tokens.common_skip)
        unique = self.unique_block(tokens.unique + tokens.unique_skip)
        mixed = self.fuse_tokens(tokens)
        return common, unique, self.fuse_block(self.refine(mixed) + mixed)

    def paint(self, common: Tensor, unique: Tensor, fused: Tensor, grid: tuple[int, int]) -> Decomposition:
        """Apply the pixel heads to the output of ``finish``, in float32: bf16 has fewer levels than 16-bit pictures."""
        common, unique, fused = self._pictures(common, unique, fused, grid)
        return Decomposition(common, *halves(unique), fused)

    def _pictures(self, common: Tensor, unique: Tensor, fused: Tensor, grid: tuple[int, int]) -> list[Tensor]:
        with torch.autocast(fused.device.type, enabled=False):
            return [self._picture(head(tokens.float()), grid) for head, tokens in (
                (self.common_head, common), (self.unique_head, unique), (self.fuse_head, fused))]

    def reconstruct(self, kept_tokens: PairTokens, kept: Tensor, grid: tuple[int, int]) -> Tensor:
        """Reconstruct the picture (B, 3, H, W) from the kept tokens (masked feature modelling)."""
        x = self.refine(self.fuse_tokens(kept_tokens))
        x = restore_tokens(x, kept, self.mask_token, grid[0] * grid[1]) + self.position(grid, x)
        return self._picture(self.mfm_head(self.mfm_norm(self.mfm_blocks(x))), grid)

    def _picture(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        return tokens_to_pixels(tokens[:, 1:], grid, self.patch_size)
