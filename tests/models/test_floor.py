"""Warm targets are lifted to their infrared brightness, and nothing else is."""

import pytest
import torch

from models.floor import lift_targets, surroundings_of
from models.head import FusionHead
from models.pyramid import shrink
from tests.models.test_targets import BODY, scene

MIDDLE = (..., slice(44, 56), slice(33, 37))
RULE = {"roles": ("infrared", "visible"), "task": "IVF"}


def colour(x: torch.Tensor) -> torch.Tensor:
    return x.expand(-1, 3, -1, -1).clone()


def lifted(infrared: torch.Tensor, fused: torch.Tensor, share: float = 1.0) -> torch.Tensor:
    small = [shrink(shrink(colour(x))) for x in (infrared, fused)]
    return lift_targets(colour(fused), colour(infrared), surroundings_of(*small, 4), share)


def test_a_dark_coat_shows_its_warm_owner_and_the_ground_stays():
    night = scene(0.3, 0.1)
    got = lifted(scene(0.2, 0.9), night)
    assert (got[MIDDLE] - 0.9).abs().max() < 0.02
    outside = torch.ones(96, 96, dtype=torch.bool)
    outside[38:62, 28:42] = False
    assert torch.equal(got[..., outside], colour(night)[..., outside])
    assert float(lifted(scene(0.2, 0.9), night, share=0.5)[MIDDLE].mean()) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("ground, infrared", ((0.97, scene(0.2, 0.9)), (0.3, scene(0.2, 0.39)), (0.3, scene(0.7, 0.8))),
                         ids=("on snow", "lukewarm", "as warm as its surroundings"))
def test_other_bodies_keep_their_brightness(ground, infrared):
    fused = scene(ground, 0.1)
    assert (lifted(infrared, fused) - fused).abs().max() < 0.1


def test_brighter_targets_and_scenes_without_infrared_do_not_change():
    bright = scene(0.3, 0.95)
    assert torch.equal(lifted(scene(0.2, 0.9), bright), colour(bright))
    assert torch.equal(lifted(torch.zeros_like(bright), bright), colour(bright))


def test_the_head_lifts_where_it_knows_the_infrared_picture():
    torch.manual_seed(0)
    infrared, visible = colour(scene(0.25, 0.75)), colour(scene(0.4, 0.0))
    visible[BODY] = 0.5 * (torch.rand(20, 10) > 0.7)  # a coat with a pattern, dark in the mean
    plain, head = FusionHead().eval(), FusionHead(warm_floor=1.0).eval()
    with torch.inference_mode():
        told, swapped = (head.decompose(*pair, roles=roles, task="IVF").fused for pair, roles in (
            ((infrared, visible), ("infrared", "visible")), ((visible, infrared), ("visible", "infrared"))))
        untold = head.decompose(infrared, visible).fused
        assert torch.equal(untold, plain.decompose(infrared, visible, **RULE).fused)
    assert told[MIDDLE].min() > 0.73 and untold[MIDDLE].min() < 0.68
    assert (told - swapped).abs().max() < 1e-5
