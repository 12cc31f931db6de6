"""A literal implementation of docs/METHOD.md with library modules, the reference for speed.

The images pass the encoder one after the other, each block runs separately, the two linear maps before attention are
applied consecutively, attention is the library's, losses are summed sample by sample, SSIM is a depthwise convolution,
and everything is float32. ``tests/benchmarks`` checks that the results equal ours.
"""

import copy

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Attention
from torch import Tensor, nn

from models.defusion import Decomposition, DeFusionPP
from models.layers import CrossBlock, SelfAttention, choose_kept, tokens_to_pixels
from models.windows import MARGIN, MULTIPLE, reflect_pad


class NaiveCross(nn.Module):
    """X(a, b) with ``nn.MultiheadAttention`` after three linear maps."""

    def __init__(self, source: CrossBlock) -> None:
        super().__init__()
        dim = source.query.in_features
        self.common = source.common
        self.query, self.key, self.value = source.query, source.key, source.value
        self.attention = nn.MultiheadAttention(dim, source.num_heads, batch_first=True)
        self.attention.load_state_dict({
            "in_proj_weight": source.in_proj_weight, "in_proj_bias": source.in_proj_bias,
            "out_proj.weight": source.out_proj.weight, "out_proj.bias": source.out_proj.bias})
        self.linear1, self.linear2 = source.linear1, source.linear2
        self.norm1, self.norm2 = source.norm1, source.norm2
        self.dropout = nn.Dropout(source.dropout)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """(B, L, D) twice -> (B, L, D); query and residual come from ``b``."""
        query, key, value = self.query(b), self.key(b if self.common else a), self.value(a)
        y = self.norm1(b + self.dropout(self.attention(query, key, value, need_weights=False)[0]))
        return self.norm2(y + self.dropout(self.linear2(self.dropout(F.relu(self.linear1(y))))))


def _library_attention(source: SelfAttention) -> Attention:
    layer = Attention(source.qkv.in_features, source.num_heads, qkv_bias=source.qkv.bias is not None)
    layer.load_state_dict(source.state_dict())
    return layer


def _with_library_parts(network: nn.Module) -> nn.Module:
    """Replace our attention modules by the library's, with the same weights."""
    for name, child in network.named_children():
        if isinstance(child, CrossBlock):
            setattr(network, name, NaiveCross(child))
        elif isinstance(child, SelfAttention):
            setattr(network, name, _library_attention(child))
        else:
            _with_library_parts(child)
    return network


class NaiveNetwork(nn.Module):
    """The network of METHOD.md, section 3, one tensor at a time.

    Args:
        source: network whose weights are copied.
    """

    def __init__(self, source: DeFusionPP) -> None:
        super().__init__()
        self.parts = _with_library_parts(copy.deepcopy(source))

    def forward(self, x1: Tensor, x2: Tensor, noise: Tensor, swapped: bool = False) -> Decomposition:
        """Training pass; arguments as in ``DeFusionPP.forward``."""
        grid = self.parts.grid(x1)
        tokens = self._separate(x1, x2, swapped)
        result = self._draw(*tokens, grid)
        kept = choose_kept(noise, self.parts.mask_ratio)
        result.recon = self._reconstruct([self._keep(t, kept) for t in tokens], kept, grid)
        return result

    def decompose(self, x1: Tensor, x2: Tensor) -> Decomposition:
        """Inference pass on (B, 3, H, W) in [0, 1]."""
        return self._draw(*self._separate(x1, x2, False), self.parts.grid(x1))

    def _features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        layers = self.parts.encoder((x - self.parts.mean) / self.parts.std)
        return layers[-1], self.parts.skip_norm1(layers[0]) + self.parts.skip_norm2(layers[1])

    def _separate(self, x1: Tensor, x2: Tensor, swapped: bool) -> tuple[Tensor, ...]:
        """c, u1, u2 from the top and cs, u1s, u2s from the skip path."""
        p = self.parts
        (f1, r1), (f2, r2) = self._features(x1), self._features(x2)
        c = p.common_cross(f2, f1) if swapped else p.common_cross(f1, f2)
        cs = p.common_skip_cross(r2, r1) if swapped else p.common_skip_cross(r1, r2)
        u2 = p.unique_cross(f1, f2) + p.unique_residual(f2)
        u2s = p.unique_skip_cross(r1, r2) + p.unique_skip_residual(r2)
        u1 = p.unique_cross(f2, f1) + p.unique_residual(f1)
        u1s = p.unique_skip_cross(r2, r1) + p.unique_skip_residual(r1)
        return c, u1, u2, cs, u1s, u2s

    def _fused_tokens(self, c: Tensor, u1: Tensor, u2: Tensor, cs: Tensor, u1s: Tensor, u2s: Tensor) -> Tensor:
        p = self.parts
        g = p.fuse_cross(c, u1) + p.fuse_cross(c, u2)
        return g + p.fuse_skip_cross(cs, u1s) + p.fuse_skip_cross(cs, u2s)

    def _draw(self, c: Tensor, u1: Tensor, u2: Tensor, cs: Tensor, u1s: Tensor, u2s: Tensor,
              grid: tuple[int, int]) -> Decomposition:
        p = self.parts
        g = self._fused_tokens(c, u1, u2, cs, u1s, u2s)
        tokens = (p.common_head(p.common_block(c + cs)), p.unique_head(p.unique_block(u1 + u1s)),
                  p.unique_head(p.unique_block(u2 + u2s)), p.fuse_head(p.fuse_block(p.refine(g) + g)))
        return Decomposition(*(tokens_to_pixels(t[:, 1:], grid) for t in tokens))

    def _reconstruct(self, tokens: list[Tensor], kept: Tensor, grid: tuple[int, int]) -> Tensor:
        p = self.parts
        x = p.refine(self._fused_tokens(*tokens))
        full = p.mask_token.repeat(len(x), grid[0] * grid[1], 1)
        full = full.scatter(1, kept.unsqueeze(-1).expand(-1, -1, x.shape[-1]), x[:, 1:])
        x = torch.cat([x[:, :1], full], dim=1) + p.position(grid, x)
        return tokens_to_pixels(p.mfm_head(p.mfm_norm(p.mfm_blocks(x)))[:, 1:], grid)

    @staticmethod
    def _keep(tokens: Tensor, kept: Tensor) -> Tensor:
        index = kept.unsqueeze(-1).expand(-1, -1, tokens.shape[-1])
        return torch.cat([tokens[:, :1], tokens[:, 1:].gather(1, index)], dim=1)


def naive_ssim(x: Tensor, y: Tensor) -> Tensor:
    """SSIM per pixel of (B, C, H, W) by a depthwise convolution with an 11 x 11 Gaussian, reflecting border."""
    place = torch.arange(11, dtype=torch.float32, device=x.device) - 5
    taps = torch.exp(-(place**2) / (2 * 1.5**2))
    window = torch.outer(taps, taps) / taps.sum() ** 2
    window = window.expand(x.shape[1], 1, 11, 11)

    def blur(z: Tensor) -> Tensor:
        return F.conv2d(F.pad(z, (5, 5, 5, 5), mode="reflect"), window, groups=z.shape[1])

    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))


def naive_losses(out: Decomposition, common: Tensor, unique1: Tensor, unique2: Tensor,
                 target: Tensor) -> dict[str, Tensor]:
    """The terms of METHOD.md, section 4, computed per photograph and averaged."""
    totals: dict[str, Tensor] = {}
    for i in range(len(target)):
        each = slice(i, i + 1)
        dssim = ((1 - naive_ssim(out.fused[each], target[each])) / 2).clamp(0, 1).mean()
        terms = {
            "self_supervised_common_mix": 20 * F.l1_loss(out.common[each], common[each]),
            "self_supervised_upper_mix": 10 * F.l1_loss(out.unique1[each], unique1[each]),
            "self_supervised_lower_mix": 10 * F.l1_loss(out.unique2[each], unique2[each]),
            "self_supervised_fusion_mix": 100 * F.l1_loss(out.fused[each], target[each]) + 50 * dssim,
            "self_supervised_recon": 2 * F.l1_loss(out.recon[each], target[each]),
        }
        terms["total_loss"] = sum(terms.values())
        for name, value in terms.items():
            totals[name] = totals.get(name, 0) + value / len(target)
    return totals


def naive_fuse(network: NaiveNetwork, x1: Tensor, x2: Tensor, *, size: int = 224, step: int = 112) -> Tensor:
    """Fuse dense windows one after the other and average them.

    Args:
        x1, x2: (3, H, W) in [0, 1].
        size: side of the windows.
        step: pixels between neighbours. Plain means need a small step; docs/SPEED.md has the step that is as stable
            as our blended windows.

    Returns:
        The fused picture (3, H, W).
    """
    height, width = x1.shape[-2:]
    right, bottom = (MARGIN + (-(side + 2 * MARGIN)) % MULTIPLE for side in (width, height))
    pair = reflect_pad(torch.cat([x1, x2]), MARGIN, bottom, MARGIN, right)
    total, count = torch.zeros_like(pair[:3]), torch.zeros_like(pair[:1])
    rows, columns = (_places(side, size, step) for side in pair.shape[-2:])
    for y in rows:
        for x in columns:
            window = (..., slice(y, y + size), slice(x, x + size))
            total[window] += network.decompose(*pair[window].unsqueeze(0).split(3, dim=1)).fused[0]
            count[window] += 1
    return (total / count)[:, MARGIN : MARGIN + height, MARGIN : MARGIN + width].clamp(0, 1)


def _places(length: int, size: int, step: int) -> list[int]:
    return [*range(0, max(length - size, 0), step), max(length - size, 0)]
