"""Multi-head attention, with the fastest implementation for each device.

Shape letters: B batch, L tokens, D width, H heads, C channels a head.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


class _BlockwiseAttention(torch.autograd.Function):
    """Attention in bf16 on a CPU, a few heads at a time, so that their scores stay in the cache.

    Copies each operand once into one contiguous matrix per head. Outputs of one linear map are passed, and get their
    gradient, as one tensor. Measured against the library's kernel in docs/SPEED.md.
    """

    BLOCK_BYTES = 5 << 20

    @staticmethod
    def forward(ctx, heads: int, *parts: Tensor) -> Tensor:
        batch, dim = parts[0].shape[0], sum(part.shape[-1] for part in parts) // 3
        q, k, v = (x for part in parts for x in _by_head(part, dim, heads, batch))
        q.mul_(q.shape[-1] ** -0.5)
        training = any(ctx.needs_input_grad)
        blocks = _BlockwiseAttention.blocks(q, k)
        kept = q.new_empty(len(q) if training else blocks[0].stop, q.shape[1], k.shape[1])
        out = torch.empty_like(q)
        for block in blocks:
            weights = kept[block] if training else kept[: len(q[block])]
            torch.bmm(q[block], k[block].transpose(1, 2), out=weights)
            torch.softmax(weights, dim=-1, out=weights)
            torch.bmm(weights, v[block], out=out[block])
        if training:
            ctx.save_for_backward(q, k, v, out, kept)
        ctx.heads, ctx.shapes = heads, [part.shape for part in parts]
        return merge_heads(out.view(batch, heads, *out.shape[1:]))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, kept = ctx.saved_tensors
        (grad,) = _by_head(grad, grad.shape[-1], ctx.heads, len(grad))
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        shared = (grad * out).sum(-1, keepdim=True)
        blocks = _BlockwiseAttention.blocks(q, k)
        scratch = torch.empty_like(kept[blocks[0]])
        for block in blocks:
            scores = torch.bmm(grad[block], v[block].transpose(1, 2), out=scratch[: len(q[block])])
            scores.sub_(shared[block]).mul_(kept[block])
            torch.bmm(kept[block].transpose(1, 2), grad[block], out=dv[block])
            torch.bmm(scores, k[block], out=dq[block])
            torch.bmm(scores.transpose(1, 2), q[block], out=dk[block])
        dq.mul_(q.shape[-1] ** -0.5)
        pieces = iter((dq, dk, dv))
        return None, *(_by_token(pieces, shape, dq.shape[-1] * ctx.heads, ctx.heads) for shape in ctx.shapes)

    @staticmethod
    def blocks(q: Tensor, k: Tensor) -> list[slice]:
        """Slices of heads whose scores take about ``BLOCK_BYTES``."""
        step = max(1, _BlockwiseAttention.BLOCK_BYTES // (q.shape[1] * k.shape[1] * q.element_size()))
        return [slice(i, min(i + step, len(q))) for i in range(0, len(q), step)]


def _by_head(part: Tensor, dim: int, heads: int, batch: int) -> Iterator[Tensor]:
    """(B', L, n D) -> n tensors (B H, L, C), each B' repeated to B."""
    pieces = part.unflatten(-1, (part.shape[-1] // dim, heads, dim // heads)).permute(2, 0, 3, 1, 4)
    out = part.new_empty(len(pieces), batch // len(part), *pieces.shape[1:]).copy_(pieces.unsqueeze(1))
    return iter(out.flatten(1, 3))


def _by_token(pieces: Iterator[Tensor], shape: torch.Size, dim: int, heads: int) -> Tensor:
    """The reverse of :func:`_by_head` for gradients: takes n tensors from ``pieces`` and sums repeated rows."""
    rows, length, width = shape
    out = None
    for index in range(width // dim):
        piece = next(pieces)
        out = piece.new_empty(rows, length, width // dim, heads, dim // heads) if out is None else out
        groups = piece.view(-1, rows, heads, length, dim // heads)
        out[:, :, index] = (groups[0] if len(groups) == 1 else groups.sum(0)).transpose(1, 2)
    return out.flatten(2)


def attention(heads: int, *parts: Tensor) -> Tensor:
    """Softmax attention, softmax(q kᵀ / √C) v, over ``heads`` heads.

    Selects the implementation found fastest by measurement: block by block in bf16 on a CPU, else the library's
    kernel.

    Args:
        heads: H.
        parts: query, key and value, concatenated along the last dimension: one to three tensors (B', L, n D) with n
            of the three in each. The first has B rows; a tensor with B' < B rows is shared by B / B' stacked groups.

    Returns:
        (B, L, D).
    """
    if parts[0].is_cpu and parts[0].dtype == torch.bfloat16:
        return _BlockwiseAttention.apply(heads, *parts)
    batch, dim = parts[0].shape[0], sum(part.shape[-1] for part in parts) // 3
    q, k, v = (split_heads(x.repeat(batch // x.shape[0], 1, 1) if x.shape[0] < batch else x, heads)
               for part in parts for x in part.split(dim, dim=-1))
    return merge_heads(F.scaled_dot_product_attention(q, k, v))


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, L, D) -> (B, H, L, C)."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, H, L, C) -> (B, L, D)."""
    return x.transpose(1, 2).flatten(2)
