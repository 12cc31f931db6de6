"""Attention block by block is the library's attention, forward and backward, however its operands come packed."""

import pytest
import torch

from models.attention import _BlockwiseAttention, attention, merge_heads, split_heads
from models.layers import dropout

CASES = {
    "one tensor": ((4, 3),),
    "query apart": ((4, 1), (4, 2)),
    "value apart": ((4, 2), (4, 1)),
    "three": ((4, 1), (4, 1), (4, 1)),
    "two groups share key and value": ((4, 1), (2, 2)),
}
DIM, HEADS, TOKENS = 24, 2, 37


def leaves(shapes, dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(rows, TOKENS, count * DIM, generator=generator) for rows, count in shapes]
    return [part.bfloat16().to(dtype).requires_grad_() for part in parts]


@pytest.mark.parametrize("shapes", CASES.values(), ids=CASES)
@pytest.mark.parametrize("block_bytes", [1, 3 * 2 * TOKENS**2, 1 << 20])  # one head, three, all at a time
def test_blocks_give_the_librarys_attention(shapes, block_bytes, monkeypatch):
    monkeypatch.setattr(_BlockwiseAttention, "BLOCK_BYTES", block_bytes)
    exact, parts = leaves(shapes, torch.float32), leaves(shapes, torch.bfloat16)
    want, got = attention(HEADS, *exact), attention(HEADS, *parts)
    assert got.dtype == torch.bfloat16 and got.shape == want.shape == (4, TOKENS, DIM)
    torch.testing.assert_close(got.float(), want, rtol=0.03, atol=0.02)
    weight = torch.randn(want.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    want.backward(weight.float())
    got.backward(weight)
    for part, true in zip(parts, exact):
        assert (part.grad.float() - true.grad).norm() < 0.02 * true.grad.norm()


@pytest.mark.parametrize("scale", [1.0, 30.0])  # scores of 30: far beyond what can be raised without their maximum
def test_errors_are_those_of_rounding_once(scale):
    """As near to the truth as softmax on bf16 scores is."""
    exact = leaves(CASES["one tensor"], torch.float32)[0].detach()
    exact[..., : 2 * DIM] *= scale**0.5
    part = exact.bfloat16()
    q, k, v = (split_heads(x, HEADS) for x in part.chunk(3, dim=-1))
    plain = merge_heads((q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(-1) @ v)
    truth = attention(HEADS, part.float())
    assert (attention(HEADS, part) - truth).norm() < 1.2 * (plain - truth).norm()


def test_without_gradients_nothing_is_kept_and_the_result_is_the_same():
    parts = leaves(CASES["query apart"], torch.bfloat16)
    kept = attention(HEADS, *parts)
    for context in (torch.inference_mode, torch.no_grad):
        with context():
            got = attention(HEADS, *parts)
        assert torch.equal(got, kept) and kept.requires_grad and not got.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_drops_its_rate_keeps_the_mean_and_masks_the_gradient(dtype):
    torch.manual_seed(0)
    x = torch.ones(500, 401, dtype=dtype, requires_grad=True)
    y = dropout(x, 0.1, training=True)
    y.sum().backward()
    assert y.dtype == dtype
    assert float((y == 0).float().mean()) == pytest.approx(0.1, abs=0.003)
    assert set(y.detach().unique().tolist()) == {0.0, float(torch.tensor(1 / 0.9, dtype=dtype))}
    assert torch.equal(x.grad, y.detach())
    assert dropout(x, 0.1, training=False) is x
