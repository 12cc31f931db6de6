"""The pyramid has the published strides; its finer levels see both pictures, the coarsest the fused tokens."""

import dataclasses

import torch

from downstream.pyramid import LAYERS, FeaturePyramid
from models.features import PairFeatures


def test_strides_and_sources():
    grid, random = (3, 4), torch.Generator().manual_seed(0)
    tokens = torch.randn(20, 2, 12, 32, generator=random)
    features = PairFeatures(*tokens[:4], list(tokens[4:12]), list(tokens[12:]), grid)
    pyramid = FeaturePyramid(width=32, heads=4).eval()
    with torch.no_grad():
        maps = pyramid(features)
        assert [level.shape[2:] for level in maps] == [(12, 16), (6, 8), (3, 4), (2, 2)]
        for name, moved in (("fused", [3]), ("common", []), ("unique1", []), ("unique2", [])):
            changed = pyramid(dataclasses.replace(features, **{name: getattr(features, name) + tokens[0].flip(1)}))
            assert [level for level in range(4) if not torch.equal(changed[level], maps[level])] == moved
        for side in ("layers1", "layers2"):
            for layer in range(8):
                lists = list(getattr(features, side))
                lists[layer] = lists[layer].flip(2)
                changed = pyramid(dataclasses.replace(features, **{side: lists}))
                moved = [LAYERS.index(layer)] if layer in LAYERS else []
                assert [level for level in range(4) if not torch.equal(changed[level], maps[level])] == moved
