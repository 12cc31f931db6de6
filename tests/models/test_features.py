"""The token features of a pair are those from which its pictures are drawn."""

import pytest
import torch

from models.defusion import DeFusionPP

SMALL = {"embed_dim": 48, "depth": 3, "num_heads": 3, "last_heads": 6, "decoder_heads": 4}
GRID = (2, 3)


@pytest.fixture(scope="module")
def network() -> DeFusionPP:
    torch.manual_seed(0)
    return DeFusionPP(**SMALL).eval()


@pytest.fixture(scope="module")
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.rand(2, 2, 3, 32, 48, generator=torch.Generator().manual_seed(1)))


def seen_by(network: DeFusionPP, pair, *, swapped: bool = False) -> dict[str, torch.Tensor]:
    """What enters the blocks of the common and unique heads and leaves the refinement, without the class token."""
    seen = {}
    hooks = [network.common_block.register_forward_hook(lambda _, x, y: seen.update(common=x[0])),
             network.unique_block.register_forward_hook(lambda _, x, y: seen.update(unique=x[0])),
             network.refine.register_forward_hook(lambda _, x, y: seen.setdefault("fused", y))]  # recon comes after
    with torch.no_grad():
        network(*pair, torch.rand(2, 6), swapped=swapped)
    for hook in hooks:
        hook.remove()
    return {name: value[:, 1:] for name, value in seen.items()}


@torch.no_grad()
def test_features_are_those_of_the_pictures(network, pair):
    features, one, other = network.features(*pair), seen_by(network, pair), seen_by(network, pair, swapped=True)
    torch.testing.assert_close(features.fused, one["fused"])
    torch.testing.assert_close(torch.cat([features.unique1, features.unique2]), one["unique"])
    torch.testing.assert_close(features.common, one["common"] + other["common"])
    for layers, picture in zip((features.layers1, features.layers2), pair):
        expected = network.encoder(network.normalise(picture))
        assert len(layers) == len(expected) == SMALL["depth"] + 1
        for layer, whole in zip(layers, expected):
            torch.testing.assert_close(layer, whole[:, 1:])


@torch.no_grad()
def test_swapping_the_pair_swaps_its_features(network, pair):
    features, swapped = network.features(*pair), network.features(*reversed(pair))
    torch.testing.assert_close(features.common, swapped.common)
    torch.testing.assert_close(features.unique1, swapped.unique2)
    torch.testing.assert_close(features.layers1[2], swapped.layers2[2])


@torch.no_grad()
def test_maps_have_the_places_of_the_patches(network, pair):
    features = network.features(*pair)
    assert features.grid == GRID
    row, column = 1, 2
    cell = features.as_map(features.fused)[:, :, row, column]
    assert torch.equal(cell, features.fused[:, row * GRID[1] + column])
