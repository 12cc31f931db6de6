"""A masked autoencoder sees a quarter and is scored on the rest; a teacher is exactly the encoder of its file."""

import argparse

import pytest
import skimage.data
import timm
import torch

from models.defusion import IMAGENET_MEAN, IMAGENET_STD, DeFusionPP
from models.layers import pixels_to_tokens, tokens_to_pixels
from models.mae import MAE, MAELoss, MaskedPrediction
from models.tasks import MAETask
from models.teachers import Teachers, load_teacher
from models.weight_files import pretrained_names, teacher_names
from models.weights import load_weights, save_weights
from utils.errors import UserError

GRID, PATCHES = (2, 3), 6


@pytest.fixture(scope="module")
def mae() -> MAE:
    torch.manual_seed(0)
    return MAE(size="tiny", decoder_width=32, decoder_depth=1, depth=2).eval()


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))


def noise(seed: int = 2, patches: int = PATCHES) -> torch.Tensor:
    return torch.rand(2, patches, generator=torch.Generator().manual_seed(seed))


def test_patches_come_back_as_the_picture(pictures):
    tokens = pixels_to_tokens(pictures)
    assert tokens.shape == (2, PATCHES, 768)
    assert torch.equal(tokens_to_pixels(tokens, GRID), pictures)
    patch = pictures[0, :, 16:32, 32:48].permute(1, 2, 0)  # row, column, channel
    assert torch.equal(tokens[0, 5], patch.reshape(-1))


def test_a_quarter_is_seen_and_nothing_else_matters(mae, pictures):
    draw = noise()
    with torch.no_grad():
        out = mae(pictures, draw)
        spoiled = mae(mae.masked_picture(pictures, out), draw)
    assert out.prediction.shape == (2, PATCHES, 768)
    assert out.hidden.sum(1).tolist() == [5, 5]  # floor(6 / 4) = 1 is kept
    torch.testing.assert_close(out.prediction, spoiled.prediction)
    assert torch.equal(out.hidden.argmin(1), draw.argmin(1))


def test_positions_tell_hidden_patches_apart(mae, pictures):
    with torch.no_grad():
        out = mae(pictures, noise())
    hidden = out.prediction[0, out.hidden[0].bool()]
    assert (hidden[0] - hidden[1]).abs().mean() > 1e-3


def test_targets_have_mean_0_and_variance_1(mae, pictures):
    targets = mae.targets(pictures)
    assert targets.mean(-1).abs().max() < 1e-5
    torch.testing.assert_close(targets.var(-1), torch.ones(2, PATCHES), rtol=1e-3, atol=1e-3)


def test_the_loss_is_the_error_of_hidden_patches_alone(mae, pictures):
    targets = mae.targets(pictures)
    hidden = torch.tensor([[0.0, 1, 1, 1, 1, 1]] * 2)
    prediction = targets.clone()
    prediction[:, 0] += 5  # seen: does not count
    assert float(MAELoss()(MaskedPrediction(prediction, hidden), targets)["total_loss"]) == 0
    prediction[:, 1:3] += 1
    assert float(MAELoss()(MaskedPrediction(prediction, hidden), targets)["total_loss"]) == pytest.approx(2 / 5)


def test_a_perfect_prediction_shows_the_picture(mae, pictures):
    out = MaskedPrediction(mae.targets(pictures), torch.ones(2, PATCHES))
    torch.testing.assert_close(mae.picture(pictures, out), pictures, rtol=0, atol=1e-5)


def test_training_lowers_the_loss_and_reaches_every_weight():
    torch.manual_seed(0)
    task = MAETask(MAE(size="tiny", decoder_width=32, decoder_depth=1, depth=1), lambda batch, _: batch, MAELoss())
    generators = {"mfm": torch.Generator().manual_seed(0)}
    batch = torch.rand(4, 3, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    optimiser = torch.optim.AdamW(task.trainable(), lr=2e-3)
    losses = []
    for _ in range(25):
        loss = task(batch, generators)["total_loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in task.trainable())
    assert losses[-1] < 0.8 * losses[0]
    shown = task.pictures(batch, generators)
    assert list(shown) == ["target", "seen", "recon"]
    assert all(value.shape == batch.shape and value.min() >= 0 and value.max() <= 1 for value in shown.values())


def test_parameters_are_those_of_the_official_base_model():
    with torch.device("meta"):
        model = MAE(size="base")
    # 111,907,840 in the official implementation, less its two fixed position tables
    assert sum(p.numel() for p in model.parameters()) == 111_907_840 - 197 * (768 + 512)


def test_an_unknown_size_names_the_known_ones():
    with pytest.raises(UserError, match="tiny, small, base"):
        MAE(size="huge")


def test_it_says_that_it_fuses_nothing(mae, pictures):
    with pytest.raises(UserError, match="fuses nothing; give DeFusionPP"):
        mae.decompose(pictures, pictures)


def encoder_state(model: MAE) -> dict[str, torch.Tensor]:
    return {name: value for name, value in model.state_dict().items()
            if not name.startswith(("decoder_", "mask_token"))}


def assert_is_encoder_of(teacher, model) -> None:
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(teacher(x), super(MAE, model).forward(x))


@pytest.mark.parametrize("layout", ["official", "official_training", "checkpoint", "safetensors"])
def test_teacher_from_every_layout(mae, tmp_path, layout):
    path = tmp_path / ("teacher.safetensors" if layout == "safetensors" else "teacher.pth")
    if layout == "official":  # encoder and its position table
        table = mae.position((14, 14), mae.cls_token)
        torch.save({"model": encoder_state(mae) | {"pos_embed": table}}, path)
    elif layout == "official_training":  # with decoder, and the arguments of its training
        torch.save({"model": mae.state_dict(), "args": argparse.Namespace(lr=1e-3), "epoch": 1}, path)
    elif layout == "checkpoint":
        torch.save({"state_dict": mae.state_dict(), "optimizers": [], "schedulers": [], "epoch": 1}, path)
    else:
        save_weights(mae, path, dtype=torch.float32)
    teacher = load_teacher(str(path))
    assert (teacher.embed_dim, len(teacher.blocks), teacher.blocks[0].attn.num_heads) == (192, 2, 3)
    assert not teacher.training and not any(p.requires_grad for p in teacher.parameters())
    assert_is_encoder_of(teacher, mae)


@pytest.mark.parametrize("name", ["mae_infrared", "mae_visible"])
def test_shipped_teachers_load_by_name_and_see_what_is_shown(name):
    """Tokens of a photograph hardly change with its brightness, and much with another photograph: not collapsed."""
    assert name in teacher_names() and name not in pretrained_names()
    teacher = load_teacher(name)
    assert (teacher.embed_dim, len(teacher.blocks)) == (192, 12)
    shown, other = (torch.from_numpy(pixels[100:324, 128:352]).permute(2, 0, 1) / 255
                    for pixels in (skimage.data.astronaut(), skimage.data.coffee()))
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        same, darker, different = teacher((torch.stack([shown, 0.9 * shown, other]) - mean) / deviation)
    assert same.shape == (1 + 14 * 14, 192) and same.isfinite().all()
    assert (same - different).square().mean() > 20 * (same - darker).square().mean()


def test_both_shipped_teachers_go_into_stage_2():
    teachers = Teachers.load("mae_infrared", "mae_visible")
    assert teachers.widths == (192, 192) and teachers.first is not teachers.second


@pytest.mark.parametrize(("change", "message"), [
    (lambda s: {k: v for k, v in s.items() if not k.startswith("blocks.1.norm1")},
     r"lacks 2 weights: blocks.1.norm1.weight, blocks.1.norm1.bias"),
    (lambda s: {k: v for k, v in s.items() if not k.startswith("norm.")}, "lacks 2 weights: norm.weight, norm.bias"),
    (lambda s: s | {"blocks.0.ls1.gamma": torch.ones(192)}, "also has 1 weights: blocks.0.ls1.gamma"),
    (lambda s: s | {"blocks.0.mlp.fc1.bias": torch.ones(5)}, "another shape for 1 weights: blocks.0.mlp.fc1.bias"),
    (lambda s: s | {"pos_embed": torch.zeros(1, 197, 192)}, "position table"),
    (lambda s: {f"encoder.{k}": v for k, v in s.items()}, "no MAE encoder"),
])
def test_no_weight_of_a_teacher_stays_random(mae, tmp_path, change, message):
    torch.save({"model": change(encoder_state(mae))}, tmp_path / "teacher.pth")
    with pytest.raises(UserError, match=message) as error:
        load_teacher(str(tmp_path / "teacher.pth"))
    assert "teacher.pth" in str(error.value) and "\n" not in str(error.value)


def test_a_fusion_network_is_no_teacher(tmp_path):
    network = DeFusionPP(embed_dim=64, depth=1, num_heads=2, last_heads=2, decoder_heads=2)
    save_weights(network, tmp_path / "fusion.safetensors")
    with pytest.raises(UserError, match="no MAE encoder"):
        load_teacher(str(tmp_path / "fusion.safetensors"))


def test_missing_teacher_says_the_three_ways_to_one():
    with pytest.raises(UserError, match=r"X.yaml: teachers.modality2: missing.*MAE_FLIR.*official.*timm:") as error:
        Teachers.load("timm:anything", None, where="X.yaml: teachers")
    assert "\n" not in str(error.value)


def test_teacher_from_timm(mae, monkeypatch):
    """A timm model's weights are taken; its own forward pass gives the same tokens."""
    source = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=0).eval()
    source.pos_embed.data = load_table(192)
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, num_classes: source)
    teacher = load_teacher("timm:vit_tiny_patch16_224.mae")
    x = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(teacher(x), source.forward_features(x), rtol=1e-4, atol=1e-4)


def load_table(width: int) -> torch.Tensor:
    from models.layers import sincos_position_table
    return sincos_position_table(width, (14, 14))


def test_timm_errors_are_one_line(monkeypatch):
    with pytest.raises(UserError, match=r"no such timm model; .*vit_base_patch16_224.mae"):
        load_teacher("timm:vit_bse_patch16_224.mae")

    def offline(*_, **__):
        raise ConnectionError("no route\nto the hub")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(UserError, match=r"could not be had \(ConnectionError: no route\)") as error:
        load_teacher("timm:vit_base_patch16_224.mae")
    assert "\n" not in str(error.value)


def test_equal_teachers_are_held_once_and_are_in_no_state(mae, tmp_path):
    save_weights(mae, tmp_path / "a.safetensors")
    path = str(tmp_path / "a.safetensors")
    teachers = Teachers.load(path, path)
    assert teachers.first is teachers.second and teachers.widths == (192, 192)


def test_pretrained_encoders_start_other_networks(mae, tmp_path):
    """An official file with its decoder, and ours, set the encoder of a fusion network or go on as a MAE."""
    torch.save({"model": mae.state_dict() | {"decoder_pos_embed": torch.zeros(1, 197, 32)}}, tmp_path / "full.pth")
    network = DeFusionPP(embed_dim=192, depth=2, num_heads=3, last_heads=3)
    assert load_weights(network, tmp_path / "full.pth", start=True).layout == "encoder"
    assert torch.equal(network.encoder.blocks[1].mlp.fc2.weight, mae.blocks[1].mlp.fc2.weight)

    again = MAE(size="tiny", decoder_width=32, decoder_depth=1, depth=2)
    report = load_weights(again, tmp_path / "full.pth")
    assert (report.missing, report.unknown) == ([], [])
    assert torch.equal(again.decoder_pred.weight, mae.decoder_pred.weight)
    save_weights(mae, tmp_path / "encoder.safetensors")
    assert {name.split(".")[0] for name in load_weights(again, tmp_path / "encoder.safetensors").missing} == {
        "mask_token", "decoder_embed", "decoder_blocks", "decoder_norm", "decoder_pred"}
