"""Building blocks of the networks: transformer blocks, patches, positions.

Shape letters: B batch, L tokens (class token included), N patches, D width, H heads, C channels per head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.attention import attention

if TYPE_CHECKING:
    from timm.models.vision_transformer import Block

BASE_GRID = 14  # 224 / 16: the grid on which the published position table is defined


def dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """Dropout; on a CPU with 16 random bits per element, four elements per draw.

    The library draws one number per element on one thread, which took 7 % of a training step. Sixteen bits round the
    rate to 1/65536. The mask has the dtype of ``x``: products of two dtypes are several times slower.
    """
    if not training or rate == 0:
        return x
    if not x.is_cpu:
        return F.dropout(x, rate)
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    draws = draws.view(torch.int16)[: x.numel()].view(x.shape)
    keep = torch.ge(draws, round(rate * 65536) - 32768, out=torch.empty_like(x, requires_grad=False))
    return (x * (1 / (1 - rate))).mul_(keep)


class SelfAttention(nn.Module):
    """Multi-head self-attention with timm's parameter names (``qkv``, ``proj``).

    Args:
        dim: width D of the tokens.
        num_heads: heads H; must divide ``dim``.
        qkv_bias: whether query, key and value have biases.
    """

    def __init__(self, dim: int, num_heads: int = 8, qkv_bias: bool = True, **_: object) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"SelfAttention: {num_heads} heads do not divide a width of {dim}")
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, **_: object) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        return self.proj(attention(self.num_heads, self.qkv(x)))


def vit_block(dim: int, num_heads: int, *, eps: float = 1e-5, drop_path: float = 0.0) -> Block:
    """Pre-norm ViT block: MLP ratio 4, qkv bias, exact GELU; the **B** of the method (docs/METHOD.md, section 3)."""
    # Imported here, because timm takes seconds to load and the head has no transformer.
    from timm.models.vision_transformer import Block

    return Block(
        dim,
        num_heads,
        qkv_bias=True,
        drop_path=drop_path,
        norm_layer=lambda width, **kw: nn.LayerNorm(width, eps=eps, **kw),
        attn_layer=SelfAttention,
    )


class CrossBlock(nn.Module):
    """Post-norm cross-attention block; the **X(a, b)** of the method (docs/METHOD.md, section 3).

    ``y = LN1(b + drop(att))``, ``z = LN2(y + drop(W2 drop(relu(W1 y))))``. The query and the residual come from
    the second argument. As published, query, key and value each pass two consecutive linear maps; there is no
    non-linearity between them, so the product of their weights is applied instead.

    Args:
        dim: width D.
        num_heads: heads H.
        common: take the key from ``b`` (common blocks) instead of ``a``.
        dropout: dropout rate after attention and in the MLP.
    """

    def __init__(self, dim: int, num_heads: int = 16, *, common: bool = False, dropout: float = 0.1) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.common = common
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        self.linear1 = nn.Linear(dim, 4 * dim)
        self.linear2 = nn.Linear(4 * dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.dropout = dropout
        nn.init.xavier_uniform_(self.in_proj_weight)  # as in nn.MultiheadAttention
        nn.init.zeros_(self.out_proj.bias)

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)

    def _merged(self) -> tuple[Tensor, Tensor]:
        """Weights (3, D, D) and biases (3, D) of the product of the two linear maps before attention."""
        dim = self.query.in_features
        with torch.autocast(self.query.weight.device.type, enabled=False):
            outer = self.in_proj_weight.view(3, dim, dim)
            inner = torch.stack([self.query.weight, self.key.weight, self.value.weight])
            bias = torch.stack([self.query.bias, self.key.bias, self.value.bias])
            return outer @ inner, (outer @ bias.unsqueeze(-1)).squeeze(-1) + self.in_proj_bias.view(3, dim)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Attend from ``b`` to ``a``.

        Args:
            a: (B', L, D), B' = B or a divisor of it (``a`` is then shared by B / B' stacked groups of ``b``).
            b: (B, L, D).

        Returns:
            (B, L, D).
        """
        weight, bias = self._merged()
        first = 2 if self.common else 1  # maps of b; the others are of a
        parts = (F.linear(b, weight[:first].flatten(0, 1), bias[:first].flatten()),
                 F.linear(a, weight[first:].flatten(0, 1), bias[first:].flatten()))
        y = self.norm1(b + self._drop(self.out_proj(attention(self.num_heads, *parts))))
        return self.norm2(y + self._drop(self.linear2(self._drop(F.relu(self.linear1(y))))))


def tokens_to_pixels(tokens: Tensor, grid: tuple[int, int], patch: int = 16) -> Tensor:
    """Assemble patches to a picture.

    Args:
        tokens: (B, N, 3 * patch²), values of a patch in the order (row, column, channel).
        grid: patches (down, across).

    Returns:
        (B, 3, H, W).
    """
    h, w = grid
    x = tokens.view(tokens.shape[0], h, w, patch, patch, -1).permute(0, 5, 1, 3, 2, 4)
    return x.reshape(tokens.shape[0], -1, h * patch, w * patch)


def pixels_to_tokens(pictures: Tensor, patch: int = 16) -> Tensor:
    """The inverse of :func:`tokens_to_pixels`: (B, 3, H, W) -> (B, N, 3 * patch²)."""
    batch, channels, height, width = pictures.shape
    x = pictures.view(batch, channels, height // patch, patch, width // patch, patch)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, channels * patch**2)


def choose_kept(noise: Tensor, mask_ratio: float) -> Tensor:
    """Indices (B, K) of the K = floor(N (1 - mask_ratio)) patches with the smallest noise (B, N)."""
    return noise.argsort(dim=1)[:, : int(noise.shape[1] * (1 - mask_ratio))]


def keep_tokens(tokens: Tensor, kept: Tensor) -> Tensor:
    """The class token and the kept patches.

    Args:
        tokens: (B', 1 + N, D), B' = B or a multiple of it (stacked groups that keep the same patches).
        kept: (B, K) patch indices.

    Returns:
        (B', 1 + K, D).
    """
    index = torch.cat([torch.zeros_like(kept[:, :1]), kept + 1], dim=1).unsqueeze(-1)
    return tokens.gather(1, index.repeat(tokens.shape[0] // index.shape[0], 1, tokens.shape[-1]))


def restore_tokens(tokens: Tensor, kept: Tensor, mask_token: Tensor, patches: int) -> Tensor:
    """Put kept tokens back in their positions, with the mask token in all others.

    Args:
        tokens: (B, 1 + K, D), class token first.
        kept: (B, K), positions of the K patches.
        mask_token: (1, 1, D).
        patches: N.

    Returns:
        (B, 1 + N, D).
    """
    batch, _, dim = tokens.shape
    full = mask_token.to(tokens.dtype).expand(batch, patches, dim)
    full = full.scatter(1, kept.unsqueeze(-1).expand(-1, -1, dim), tokens[:, 1:])
    return torch.cat([tokens[:, :1], full], dim=1)


def sincos_position_table(dim: int, grid: tuple[int, int], base: int = BASE_GRID) -> Tensor:
    """Fixed 2-D sine-cosine position table with a zero row for the class token (docs/METHOD.md, section 3).

    Coordinates of grids larger than ``base`` are scaled to the range used in training; smaller grids keep the step. A
    ``base`` x ``base`` grid yields the published table exactly.

    Args:
        dim: width D, a multiple of 4.
        grid: patches (down, across).

    Returns:
        (1, 1 + N, D) float32.
    """
    h, w = grid
    y, x = (torch.arange(side, dtype=torch.float64) for side in (h, w))
    y, x = (side * (base / (side[-1] + 1)).clamp(max=1) for side in (y, x))
    half = dim // 2
    omega = 10000.0 ** (-2.0 * torch.arange(half // 2, dtype=torch.float64) / half)

    def encode(position: Tensor) -> Tensor:
        angle = position.reshape(-1, 1) * omega
        return torch.cat([angle.sin(), angle.cos()], dim=1)

    across, down = torch.outer(torch.ones_like(y), x), torch.outer(y, torch.ones_like(x))
    table = torch.cat([encode(across), encode(down)], dim=1)
    return torch.cat([torch.zeros(1, dim, dtype=torch.float64), table]).float().unsqueeze(0)
