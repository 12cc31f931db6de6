"""Windows change nothing: identity stays identity, any size comes back, no seam and no grid shows."""

from itertools import pairwise

import pytest
import torch

from models.defusion import DeFusionPP
from models.fuser import Fuser
from models.windows import reflect_pad, run_grids, run_windows, window_starts


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (224, 224), (225, 300), (500, 16), (301, 530)])
def test_identity_survives_cutting_and_blending(size):
    image = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(run_windows(lambda x: x, image, batch=3), image, atol=1e-6)


def test_every_window_is_a_multiple_of_16_and_at_most_the_size():
    seen = []

    def look(x):
        seen.append(tuple(x.shape))
        return x[:, :1]

    run_windows(look, torch.rand(3, 333, 90), size=96, overlap=32, batch=4)
    assert all(h % 16 == 0 and w % 16 == 0 and h <= 96 and w <= 96 and b <= 4 for b, _, h, w in seen)


@pytest.mark.parametrize(("length", "size", "overlap"), [(225, 224, 64), (1000, 224, 64), (3872, 224, 32)])
def test_windows_cover_the_length_and_share_the_overlap(length, size, overlap):
    starts = window_starts(length, size, overlap)
    assert starts[0] == 0 and starts[-1] + size == length
    assert max(b - a for a, b in pairwise(starts)) <= size - overlap + 1


def test_a_constant_error_of_each_window_blends_without_a_seam():
    """Windows that disagree by 0.1 meet in a ramp: no step of neighbouring pixels exceeds a few percent of it."""
    values = iter([0.0, 0.1] * 100)
    out = run_windows(lambda x: torch.full_like(x[:, :1], next(values)), torch.rand(3, 400, 400), batch=1)
    steps = torch.maximum(out.diff(dim=1).abs().max(), out.diff(dim=2).abs().max())
    assert steps < 0.1 * 0.05


def test_two_windows_meet_in_a_ramp_of_their_whole_overlap():
    """Windows of 0 and of 1 that share 32 columns: the blend rises as sin^2 over all of these."""
    values = iter([0.0, 1.0])
    image = torch.rand(3, 16, 128)  # with its margins 48 x 160: two windows of 96, from 0 and from 64
    out = run_windows(lambda x: torch.full_like(x[:, :1], next(values)), image, size=96, overlap=32, batch=1)
    position = torch.arange(128.0) + 16 + 0.5 - 64
    expected = torch.sin(torch.pi / 2 * (position / 32).clamp(0, 1)).square()
    torch.testing.assert_close(out, expected.expand(1, 16, -1), atol=1e-5, rtol=0)


def test_maps_of_a_coarser_grid_come_back_aligned():
    image = torch.rand(2, 301, 290, generator=torch.Generator().manual_seed(1))
    out = run_windows(lambda x: torch.nn.functional.avg_pool2d(x, 4), image, stride=4)
    padded = reflect_pad(image, 0, 3, 0, 2)
    assert out.shape == (2, 76, 73)
    assert torch.allclose(out, torch.nn.functional.avg_pool2d(padded, 4), atol=1e-6)


def test_reflection_repeats_for_pictures_smaller_than_the_margin():
    row = torch.arange(3.0).expand(1, 3, 3)
    assert reflect_pad(row, 0, 0, 4, 4)[0, 0].tolist() == [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2]


def test_the_mean_over_grids_keeps_pictures_and_loses_what_the_patches_draw():
    image = torch.rand(3, 150, 301, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(run_grids(lambda x: x, image, grids=4), image, atol=1e-6)

    def with_stripes(x):
        """The second half of each patch is darker, as where a network draws tiles."""
        return x - 0.2 * (torch.arange(x.shape[-1]) % 16 >= 8)

    image = image[:, :60, :80]  # one window
    one, four = (run_grids(with_stripes, image, grids=grids) - image for grids in (1, 4))
    assert torch.equal(one, run_windows(with_stripes, image) - image)
    assert one.std() > 0.09 and four.std() < 1e-6


def test_a_fuser_averages_over_the_grids_of_its_network():
    torch.manual_seed(0)
    network = DeFusionPP(embed_dim=48, depth=2, num_heads=2, last_heads=4, decoder_heads=4, grids=4).eval()
    pair = [torch.rand(3, 70, 90) for _ in range(2)]
    with torch.inference_mode():
        many = [run_windows(lambda x: network.decompose(x[:, :3], x[:, 3:]).fused, torch.cat(pair), shift=shift)
                for shift in ((0, 0), (56, 104), (104, 48), (48, 72))]
        got = Fuser(network, device="cpu", amp="off")(*pair, color="rgb").fused
    torch.testing.assert_close(got, (sum(many) / 4).clamp(0, 1), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="grids should be 1 to 4, got 5"):
        DeFusionPP(grids=5)
