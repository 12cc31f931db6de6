"""A start from data: what the embedding keeps, what the heads give before the first step, and the same every time."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from models.data_init import embed_principal_components, initialise_from_data
from models.defusion import DeFusionPP
from models.layers import pixels_to_tokens, tokens_to_pixels
from models.losses import CUDLoss

NETWORK = {"embed_dim": 48, "depth": 2, "num_heads": 2, "last_heads": 4, "decoder_heads": 4}


def smooth(count: int, size: int, seed: int) -> torch.Tensor:
    """Pictures (count, 3, size, size) in [0, 1], smooth as photographs are."""
    coarse = torch.rand(count, 3, size // 8, size // 8, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)


def sample(seed: int) -> SimpleNamespace:
    """Pairs of which each half of a picture is missing in one."""
    target = smooth(8, 64, seed)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :32] = 1
    x1, x2 = target * mask, target * (1 - mask)
    return SimpleNamespace(x1=x1, x2=x2, target=target, common=torch.zeros_like(target), unique1=x1, unique2=x2)


def draws() -> dict[str, torch.Generator]:
    return {name: torch.Generator().manual_seed(4) for name in ("order", "mfm")}


def network() -> DeFusionPP:
    torch.manual_seed(1)
    return DeFusionPP(**NETWORK)


def test_the_embedding_is_white_enough_centred_and_keeps_the_strongest_components():
    x = smooth(64, 64, 0) * 4 - 2
    conv = torch.nn.Conv2d(3, 48, 16, 16)
    embed_principal_components(conv, x, draws()["order"])
    tokens = conv(x).flatten(2).transpose(1, 2).flatten(0, 1).detach()
    assert tokens.mean(0).abs().max() < 1e-4
    assert float(tokens.square().mean()) == pytest.approx(1, rel=1e-3)
    # Their variances are the deviations of the patches' 48 strongest components, up to one factor.
    patches = pixels_to_tokens(x, 16).flatten(0, 1)
    deviations = torch.linalg.svdvals(patches - patches.mean(0))[:48]
    variances = torch.linalg.svdvals(tokens).square()
    torch.testing.assert_close(variances / variances.sum(), deviations / deviations.sum(), rtol=1e-3, atol=1e-5)
    # No token is one component alone.
    assert float(tokens.square().mean(0).max() / tokens.square().mean(0).min()) < 30


def test_tokens_of_a_picture_are_its_pixels_again():
    x = torch.rand(2, 3, 32, 48)
    assert torch.equal(tokens_to_pixels(pixels_to_tokens(x, 16), (2, 3)), x)


def test_the_loss_on_other_pictures_is_a_fraction_of_the_random_starts_before_the_first_step():
    model, held_back, criterion = network().eval(), sample(100), CUDLoss()
    noise = torch.rand(8, 16, generator=torch.Generator().manual_seed(9))

    def loss() -> float:
        with torch.no_grad():
            return float(criterion(model(held_back.x1, held_back.x2, noise), held_back)["total_loss"])

    random = loss()
    initialise_from_data(model, [sample(seed) for seed in range(8)], draws())
    assert loss() < random / 5
    assert not any(module._forward_hooks for module in model.modules())


def test_equal_draws_make_equal_weights_and_only_embedding_and_heads_change():
    first, second, untouched = network(), network(), network().state_dict()
    for model in (first, second):
        initialise_from_data(model, [sample(0)], draws())
    changed = {name for name, value in first.state_dict().items() if not torch.equal(value, untouched[name])}
    parts = ("encoder.patch_embed.proj", "common_head", "unique_head", "fuse_head", "mfm_head")
    assert changed == {f"{part}.{kind}" for part in parts for kind in ("weight", "bias")}
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
