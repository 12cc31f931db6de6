"""The encoder shared by both images: a ViT-Tiny/16 that returns all layers (docs/METHOD.md, section 3)."""

import torch
from torch import Tensor, nn

from models.layers import sincos_position_table, vit_block
from utils.tracing import is_exporting


class PositionTable(nn.Module):
    """Sine-cosine position tables, computed once per grid and kept on the device of the tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self._tables: dict[tuple, Tensor] = {}

    def forward(self, grid: tuple[int, int], like: Tensor) -> Tensor:
        """Table (1, 1 + N, D) in float32 on the device of ``like``."""
        if is_exporting() and not all(type(side) is int for side in grid):  # the grid has no numbers yet
            return sincos_position_table(self.dim, grid)
        return self._table(*grid, like.device)

    @torch.compiler.assume_constant_result  # else a compiled network would compute the table in float64 at every step
    def _table(self, height: int, width: int, device: torch.device) -> Tensor:
        key = (height, width, device)
        if key not in self._tables:
            self._tables[key] = sincos_position_table(self.dim, (height, width)).to(device)
        return self._tables[key]


class Encoder(nn.Module):
    """Vision transformer with 16 x 16 patches and a class token; weights have timm's names.

    Args:
        embed_dim: width D.
        depth: blocks.
        num_heads: heads of all blocks but the last.
        last_heads: heads of the last block (12 in the published network).
        drop_path: stochastic depth rate of all blocks but the last.
        eps: epsilon of the LayerNorms.
    """

    patch_size = 16

    def __init__(
        self,
        embed_dim: int = 192,
        depth: int = 12,
        num_heads: int = 6,
        last_heads: int | None = 12,
        drop_path: float = 0.1,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        from timm.layers import PatchEmbed  # see vit_block

        self.embed_dim = embed_dim
        self.patch_embed = PatchEmbed(None, self.patch_size, 3, embed_dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.position = PositionTable(embed_dim)
        last = num_heads if last_heads is None else last_heads
        self.blocks = nn.ModuleList(
            vit_block(embed_dim, num_heads if i < depth - 1 else last, eps=eps,
                      drop_path=drop_path if i < depth - 1 else 0.0)
            for i in range(depth))
        self.norm = nn.LayerNorm(embed_dim, eps=eps)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """MAE's initialisation: Xavier uniform maps, zero biases, class token N(0, 0.02)."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        weight = self.patch_embed.proj.weight
        nn.init.xavier_uniform_(weight.view(weight.shape[0], -1))
        nn.init.zeros_(self.patch_embed.proj.bias)
        nn.init.normal_(self.cls_token, std=0.02)

    def embed(self, x: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W), H and W multiples of 16 -> tokens with positions (B, 1 + N, D)."""
        tokens = self.patch_embed(x)
        table = self.position((x.shape[2] // self.patch_size, x.shape[3] // self.patch_size), tokens)
        tokens = tokens + table[:, 1:]
        return torch.cat([self.cls_token.expand(x.shape[0], -1, -1), tokens.float()], dim=1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Tokens after the embedding and after every block, h0 .. h_depth, each (B, 1 + N, D); no final norm."""
        layers = [self.embed(x)]
        for block in self.blocks:
            layers.append(block(layers[-1]))
        return layers
