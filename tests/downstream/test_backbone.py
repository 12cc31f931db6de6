"""The backbone has ImageNet weights where their package is installed, and says so where it is not."""

import logging

import pytest
import timm
import torch

from downstream import backbone
from downstream.backbone import Backbone, imagenet_weights


def test_maps_have_their_strides():
    network = Backbone(pretrained=False)
    maps = network(torch.rand(2, 3, 40, 72))
    assert [tuple(level.shape[1:]) for level in maps] == [
        (count, -(-40 // stride), -(-72 // stride)) for count, stride in zip(network.channels, (4, 8, 16, 32))]


def test_without_the_package_it_starts_at_random_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(backbone, "PACKAGE", "no_such_package")
    with caplog.at_level(logging.WARNING):
        Backbone()
    assert len(caplog.records) == 1
    assert caplog.messages[0].startswith("the backbone starts from random weights, as no-such-package is not installed")


def test_imagenet_weights_are_those_of_timms_network():
    """A pair of equal pictures gives what one gives: the first convolution is shared out."""
    pytest.importorskip(backbone.PACKAGE)
    weights = imagenet_weights()
    network = timm.create_model("tf_efficientnet_lite0")
    network.load_state_dict(weights)
    pair, single = Backbone(pictures=2).eval(), Backbone().eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = network.eval().forward_intermediates(2 * x - 1, indices=(1, 2, 3, 4), intermediates_only=True)
        for level, one, two in zip(expected, single(x), pair(torch.cat([x, x], dim=1))):
            torch.testing.assert_close(one, level)
            torch.testing.assert_close(two, level, rtol=1e-3, atol=1e-4)
