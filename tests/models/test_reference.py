"""The network is the published one: outputs, losses and gradients equal the reference numbers."""

import numpy as np
import pytest
import torch

from data.sample import Sample
from models.defusion import DeFusionPP
from models.losses import CUDLoss
from tests.models import reference

PUBLISHED_TERMS = ("self_supervised_common_mix", "self_supervised_upper_mix", "self_supervised_lower_mix",
                   "self_supervised_recon", "self_supervised_fusion_mix", "total_loss")


@pytest.fixture(scope="module")
def golden():
    with np.load(reference.GOLDEN) as file:
        return dict(file)


@pytest.fixture(scope="module")
def model(golden) -> DeFusionPP:
    network = DeFusionPP().eval()
    reference.set_reference_weights(network, golden["published_names"])
    return network


@pytest.fixture(scope="module")
def sample() -> Sample:
    x, (m1, m2) = reference.image("x1"), reference.masks()
    x1 = x * m1 + reference.image("ir") * (1 - m1)
    x2 = x * m2 + reference.image("vi") * (1 - m2)
    return Sample(x1, x2, m1, m2, x)


def test_parameter_count_is_the_published_one():
    network = DeFusionPP()
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 13_420_800


def test_every_encoder_layer_matches(golden, model):
    with torch.no_grad():
        layers = model.encoder((reference.image("x1") - model.mean) / model.std)
    assert len(layers) == 13
    for index in (0, 1, 6, 11, 12):
        reference.assert_matches(golden, f"encoder/layer{index}", layers[index])


@pytest.mark.parametrize("order", ["order12", "order21"])
def test_decomposition_losses_and_gradients_match(golden, model, sample, order):
    model.zero_grad(set_to_none=True)
    out = model(sample.x1, sample.x2, reference.mfm_noise(), swapped=order == "order21")
    for name in ("recon", "common", "unique1", "unique2", "fused"):
        reference.assert_matches(golden, f"cud/{order}/{name}", getattr(out, name))

    terms = CUDLoss()(out, sample)
    for name in PUBLISHED_TERMS:
        want = float(golden[f"loss_cud/{order}/{name}"])  # published: summed over the two samples
        assert float(terms[name].detach()) * reference.BATCH == pytest.approx(want, rel=1e-6), name

    (terms["total_loss"] * reference.BATCH).backward()
    gradients = dict(model.named_parameters())
    from models.published import from_published_name
    for name, want in zip(golden["grad_cud/names"], golden[f"grad_cud/{order}/norms"]):
        gradient = gradients[from_published_name(str(name))].grad
        if str(name).endswith("key.bias"):
            continue  # zero in exact arithmetic: both values are rounding
        got = -1.0 if gradient is None else float(gradient.norm())
        assert got == pytest.approx(want, rel=2e-4, abs=1e-6), name


def test_inference_equals_the_training_pass_in_order_12(golden, model, sample):
    with torch.no_grad():
        out = model.decompose(sample.x1, sample.x2)
    assert out.recon is None
    for name in ("common", "unique1", "unique2", "fused"):
        reference.assert_matches(golden, f"cud/order12/{name}", getattr(out, name))


def test_epsilons_and_heads_that_the_numbers_cannot_see(model):
    assert {b.norm1.eps for b in model.encoder.blocks} == {1e-6}
    assert [b.attn.num_heads for b in model.encoder.blocks] == [6] * 11 + [12]
    assert {m.eps for m in (model.skip_norm1, model.skip_norm2, model.mfm_norm)} == {1e-5}
    for block in (*model.refine, model.common_block, model.unique_residual, *model.mfm_blocks):
        assert (block.norm1.eps, block.norm2.eps, block.attn.num_heads) == (1e-5, 1e-5, 16)
    for cross in (model.common_cross, model.unique_skip_cross, model.fuse_cross):
        assert (cross.norm1.eps, cross.norm2.eps, cross.num_heads, cross.dropout) == (1e-5, 1e-5, 16, 0.1)


def test_bf16_autocast_stays_close(golden, model, sample):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        out = model(sample.x1, sample.x2, reference.mfm_noise())
        terms = CUDLoss()(out, sample)
    for name in ("recon", "common", "unique1", "unique2", "fused"):
        key = f"cud/order12/{name}"
        got = getattr(out, name).float().numpy().ravel()[golden[f"{key}/index"]]
        error = got - golden[f"{key}/value"]
        assert np.sqrt(np.mean(error**2)) / golden[f"{key}/mean_std_absmax"][1] < 2e-2, name
    for name in PUBLISHED_TERMS:
        want = float(golden[f"loss_cud/order12/{name}"])
        assert float(terms[name]) * reference.BATCH == pytest.approx(want, rel=2e-3), name
