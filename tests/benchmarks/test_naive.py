"""The version that our speed is measured against computes the same: losses, gradients, fused pictures, masks."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from benchmarks.naive import NaiveNetwork, naive_fuse, naive_losses, naive_ssim
from benchmarks.naive_data import draw_naive_masks, naive_loader
from models.defusion import DeFusionPP
from models.losses import CUDLoss, ssim_map
from models.windows import run_windows


def small_network(depth: int = 3) -> DeFusionPP:
    torch.manual_seed(0)
    return DeFusionPP(embed_dim=48, depth=depth, num_heads=3, last_heads=6, decoder_heads=4).eval()


@pytest.mark.parametrize("swapped", [False, True])
def test_losses_and_gradients_are_ours(swapped):
    ours = small_network()
    literal = NaiveNetwork(ours).eval()
    pair, noise = torch.rand(6, 2, 3, 64, 64), torch.rand(2, 16)
    truth = SimpleNamespace(**dict(zip(("common", "unique1", "unique2", "target"), pair[2:])))
    want = CUDLoss()(ours(pair[0], pair[1], noise, swapped), truth)
    got = naive_losses(literal(pair[0], pair[1], noise, swapped), *pair[2:])
    assert set(got) == set(want)
    for name, value in want.items():
        assert float(got[name].detach()) == pytest.approx(float(value.detach()), rel=1e-5), name
    want["total_loss"].backward()
    got["total_loss"].backward()
    gradient = literal.parts.encoder.patch_embed.proj.weight.grad
    torch.testing.assert_close(gradient, ours.encoder.patch_embed.proj.weight.grad, rtol=1e-3, atol=1e-4)


def test_ssim_by_convolution_is_ours():
    x, y = torch.rand(2, 2, 3, 80, 33)
    gradients = []
    for ssim in (naive_ssim, ssim_map):
        x.grad = None
        ssim(x.requires_grad_(), y).square().sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(naive_ssim(x, y), ssim_map(x, y), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)


def test_windows_side_by_side_are_ours():
    """Without overlap there is nothing to blend, and both ways of cutting a picture agree."""
    network = small_network()
    x1, x2 = torch.rand(2, 3, 96, 160)  # padded by 16 on every side: 2 x 3 windows of 64

    def fused(pair: torch.Tensor) -> torch.Tensor:
        return network.decompose(*pair.split(3, dim=1)).fused

    with torch.inference_mode():
        got = naive_fuse(NaiveNetwork(network).eval(), x1, x2, size=64, step=64)
        want = run_windows(fused, torch.cat([x1, x2]), size=64, overlap=0, batch=2).clamp(0, 1)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_masks_have_the_published_share():
    torch.manual_seed(0)
    masks = torch.stack([torch.stack(draw_naive_masks(56)) for _ in range(800)])
    assert masks.amax(dim=1).min() == 1  # every pixel is in one of the two
    assert float(masks.mean()) == pytest.approx(0.6081, abs=0.03)
    assert float(masks.prod(dim=1).mean()) == pytest.approx(0.2161, abs=0.03)


def test_loader_gives_pairs_that_partition_the_photograph(tmp_path):
    for index in range(4):
        cv2.imwrite(str(tmp_path / f"{index}.jpg"), np.full((80, 90, 3), 60 * index, np.uint8))
    x1, x2, common, unique1, unique2, target = next(iter(naive_loader(tmp_path, batch_size=4, workers=0, size=64)))
    assert x1.shape == x2.shape == (4, 3, 64, 64)
    torch.testing.assert_close(common + unique1 + unique2, target)
