"""Stage 2 is the published one: teachers, predictions, losses and gradients equal the reference numbers."""

import logging

import numpy as np
import pytest
import torch

from models.defusion import DeFusionPP
from models.mae import MAEEncoder
from models.multimodal import DeFusionPPMM, MCUDLoss
from models.published import TEACHERS, from_published_name, to_published, to_published_name
from models.registry import LOSSES, MODELS
from models.teachers import Teachers, load_teacher
from models.weights import load_weights, save_weights
from tests.models import reference

TINY = {"embed_dim": 32, "depth": 2, "num_heads": 2, "last_heads": 4, "decoder_heads": 2}
TERMS = ("self_supervised_modality1", "self_supervised_modality2", "self_supervised_common", "total_loss")


@pytest.fixture(scope="module")
def golden():
    with np.load(reference.GOLDEN) as file:
        return dict(file)


def published_names(golden) -> list[str]:
    stage2 = [f"{name}.{kind}" for name in ("latent_predict1", "latent_predict2", "mm_unique_norm1", "mm_unique_norm2")
              for kind in ("weight", "bias")]
    return [*map(str, golden["published_names"]), *stage2]


@pytest.fixture(scope="module")
def model(golden) -> DeFusionPPMM:
    network = DeFusionPPMM().eval()
    reference.set_reference_weights(network, published_names(golden))
    return network


@pytest.fixture(scope="module")
def teachers() -> Teachers:
    encoders = []
    for prefix in TEACHERS:
        with torch.device("meta"):
            encoder = MAEEncoder(768, 12)
        weights = {name: reference.weight(prefix + name, tuple(value.shape))
                   for name, value in encoder.state_dict().items()}
        encoder.load_state_dict(weights, assign=True)
        encoders.append(encoder)
    return Teachers(encoders)


@pytest.fixture(scope="module")
def seen(model, teachers) -> tuple[torch.Tensor, torch.Tensor]:
    return teachers(model.normalise(reference.image("ir")), model.normalise(reference.image("vi")))


def test_trainable_parameters_are_the_published_number():
    network = DeFusionPPMM()
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 13_718_016
    assert MODELS.get("MUCMTransformer") is DeFusionPPMM
    assert LOSSES.get("MCUDLoss") is MCUDLoss


def test_teachers_match(golden, seen):
    for index, tokens in enumerate(seen, 1):
        reference.assert_matches(golden, f"mcud/teacher{index}", tokens)


def test_predictions_losses_and_gradients_match(golden, model, seen):
    model.zero_grad(set_to_none=True)
    out = model.predict(reference.image("ir"), reference.image("vi"))
    for name in ("predict1", "predict2", "common12", "common21"):
        reference.assert_matches(golden, f"mcud/{name}", getattr(out, name))
    terms = MCUDLoss()(out, seen)
    for name in TERMS:
        assert float(terms[name].detach()) == pytest.approx(float(golden[f"loss_mcud/{name}"]), rel=1e-6), name

    terms["total_loss"].backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    reached = {from_published_name(str(name)) for name in golden["grad_mcud/names"]}
    assert set(gradients) == reached
    for name, want in zip(golden["grad_mcud/names"], golden["grad_mcud/norms"]):
        if not str(name).endswith("key.bias"):  # zero in exact arithmetic: both values are rounding
            got = float(gradients[from_published_name(str(name))].norm())
            assert got == pytest.approx(want, rel=2e-4, abs=1e-6), name


def test_bf16_autocast_stays_close(golden, model, teachers, seen):
    halves = Teachers([MAEEncoder(768, 12), MAEEncoder(768, 12)])
    halves.first.load_state_dict(teachers.first.state_dict())
    halves.second.load_state_dict(teachers.second.state_dict())
    ir, vi = reference.image("ir"), reference.image("vi")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        out = model.predict(ir, vi)
        tokens = halves(model.normalise(ir), model.normalise(vi))
        terms = MCUDLoss()(out, tokens)
    assert halves.first.blocks[0].mlp.fc1.weight.dtype == torch.bfloat16
    assert halves.first.norm.weight.dtype == torch.float32
    for got, want in zip(tokens, seen):
        assert got.dtype == torch.float32
        assert float((got - want).square().mean().sqrt() / want.std()) < 2e-2
    for name in TERMS:
        assert float(terms[name]) == pytest.approx(float(golden[f"loss_mcud/{name}"]), rel=2e-3), name


def test_epsilons_that_the_numbers_cannot_see(model, teachers):
    assert (model.predict_norm1.eps, model.predict_norm2.eps) == (1e-5, 1e-5)
    for encoder in (teachers.first, teachers.second):
        assert {encoder.norm.eps, *(b.norm1.eps for b in encoder.blocks)} == {1e-6}
        assert {b.attn.num_heads for b in encoder.blocks} == {12}
        assert not encoder.training and not any(p.requires_grad for p in encoder.parameters())


def test_swapping_the_pair_swaps_the_predictions_orders():
    network = DeFusionPPMM(**TINY, teacher_widths=(64, 64)).eval()
    first, second = torch.rand(2, 2, 3, 32, 48)
    with torch.no_grad():
        out, swapped = network.predict(first, second), network.predict(second, first)
    assert out.predict1.shape == (2, 1 + 6, 64)
    torch.testing.assert_close(out.common12, swapped.common21)
    torch.testing.assert_close(out.common21, swapped.common12)


def test_predictors_follow_teachers_of_other_widths():
    teachers = Teachers([MAEEncoder(64, 1), MAEEncoder(128, 2)])
    network = DeFusionPPMM(**TINY, teacher_widths=teachers.widths)
    x = torch.rand(1, 3, 32, 32)
    out = network.predict(x, x)
    tokens = teachers(network.normalise(x), network.normalise(x))
    assert (out.predict1.shape, out.predict2.shape) == (tokens[0].shape, tokens[1].shape) == ((1, 5, 64), (1, 5, 128))


def published_stage2(network: DeFusionPPMM) -> dict[str, torch.Tensor]:
    """A stage 2 file as published: the network, both teachers, everything under published names."""
    state = to_published({name: value.clone() for name, value in network.state_dict().items()})
    for prefix in TEACHERS:
        teacher = MAEEncoder(64, 1)
        state |= {prefix + name: value for name, value in teacher.state_dict().items()}
        state |= {prefix + "decoder_embed.weight": torch.zeros(8, 64)}
    return state


def test_published_checkpoint_round_trip(tmp_path):
    network = DeFusionPPMM(**TINY, teacher_widths=(64, 64))
    state = published_stage2(network)
    torch.save({"state_dict": state, "optimizers": [], "schedulers": [], "epoch": 3}, tmp_path / "published.pth")

    again = DeFusionPPMM(**TINY, teacher_widths=(64, 64))
    report = load_weights(again, tmp_path / "published.pth")
    assert (report.layout, report.missing, report.unknown) == ("published", [], [])
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert {to_published_name(name) for name in again.state_dict()} <= set(state)

    for index, prefix in enumerate(TEACHERS, 1):
        teacher = load_teacher(str(tmp_path / "published.pth"), modality=index)
        assert torch.equal(teacher.blocks[0].mlp.fc1.weight, state[prefix + "blocks.0.mlp.fc1.weight"])


def test_stage_2_file_fuses_with_the_plain_network(tmp_path, caplog):
    network = DeFusionPPMM(**TINY, teacher_widths=(64, 64)).eval()
    torch.save({"state_dict": published_stage2(network)}, tmp_path / "published.pth")
    plain = DeFusionPP(**TINY).eval()
    with caplog.at_level(logging.INFO):
        load_weights(plain, tmp_path / "published.pth")
    assert "predictors of other teachers" in caplog.text
    x1, x2 = torch.rand(2, 1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(plain.decompose(x1, x2).fused, network.decompose(x1, x2).fused)

    other = DeFusionPPMM(**TINY, teacher_widths=(64, 128))
    fresh = other.predict2.weight.clone()
    load_weights(other, tmp_path / "published.pth")
    assert torch.equal(other.predict2.weight, fresh)
    assert torch.equal(other.predict1.weight, network.predict1.weight)


def test_our_weights_hold_no_teacher_and_no_predictor(tmp_path):
    network = DeFusionPPMM(**TINY, teacher_widths=(64, 64))
    save_weights(network, tmp_path / "weights.safetensors", dtype=torch.float32)
    plain = DeFusionPP(**TINY)
    report = load_weights(plain, tmp_path / "weights.safetensors")
    assert report.unknown == []
    assert not [name for name in report.loaded if name.startswith(("predict", "model_encoder"))]
