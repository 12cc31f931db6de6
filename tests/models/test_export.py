"""Exported weights are those of the checkpoint, average if kept, and tell nothing of the machine's folders."""

import json

import pytest
import torch

from models.defusion import DeFusionPP
from models.export import export, main
from models.head import FusionHead
from models.multimodal import DeFusionPPMM
from models.weight_files import read_metadata, weight_checksum
from models.weights import load_weights
from option.schema import Options
from utils.errors import UserError

SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 2, "last_heads": 4, "decoder_heads": 4}


def write_checkpoint(path, model, name, network=SMALL):
    """A training checkpoint of a network that the option file calls ``name``, with .25 everywhere as its average."""
    options = Options(name="run", model=name, network_G=network,
                      dataset={"train": {"dataroot": "/home/someone/private", "image_size": 64}})
    trained = [p for name, p in model.named_parameters() if not name.startswith("encoder.norm.")]
    state = {"state_dict": model.state_dict(), "optimizers": [], "schedulers": [], "epoch": 3, "step": 12,
             "images": 48, "version": "0", "commit": "c", "options_hash": "h",
             "options": json.dumps(options.model_dump(mode="json")),
             "ema": {"steps": 12, "average": [torch.full_like(p, 0.25) for p in trained]}}
    torch.save(state, path)
    return path


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    return write_checkpoint(tmp_path / "step.pt", DeFusionPP(**SMALL), "UCMConv")


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_last_weights_and_average(checkpoint, tmp_path, ending):
    for average in (True, False):
        out = tmp_path / f"out{ending}"
        export(checkpoint, out, average=average)
        model = DeFusionPP(**SMALL)
        load_weights(model, out)
        weight = model.fuse_head.weight
        assert bool((weight == 0.25).all()) == average


def test_the_file_says_what_it_is_and_nothing_private(checkpoint, tmp_path):
    export(checkpoint, tmp_path / "out.safetensors")
    about = read_metadata(tmp_path / "out.safetensors")
    assert about["model"] == "DeFusionPP" and json.loads(about["network"]) == SMALL and about["images_seen"] == "48"
    assert "private" not in json.dumps(about) and json.loads(about["training"])["image_size"] == 64


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_stage_2_with_teachers_of_any_width(tmp_path, ending):
    torch.manual_seed(0)
    model = DeFusionPPMM(**SMALL, teacher_widths=(64, 32))
    out = tmp_path / f"out{ending}"
    export(write_checkpoint(tmp_path / "step.pt", model, "MUCMTransformer"), out, average=False)
    network, both = DeFusionPP(**SMALL), DeFusionPPMM(**SMALL, teacher_widths=(64, 32))
    load_weights(network, out, strict=ending == ".safetensors")  # the published layout keeps the predictors
    load_weights(both, out)
    close = {"rtol": 1e-3, "atol": 1e-6} if ending == ".safetensors" else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(network.fuse_head.weight, model.fuse_head.weight, **close)
    if ending == ".pth":
        torch.testing.assert_close(both.predict2.weight, model.predict2.weight, rtol=0, atol=0)


@pytest.mark.parametrize(("change", "message"), [
    ({"state_dict": [torch.zeros(1)]}, "lacks state_dict"),
    ({"state_dict": {"mask_token": torch.zeros(1, 1, 48)}}, r"lacks \d+ weights that the network needs"),
    ({"options": "{"}, "its options cannot be read"), ({"options": None}, "its options cannot be read"),
    ({"options": "{}"}, "its options cannot be read"), ({"commit": ...}, "lacks commit"),
    ({"ema": {"steps": 1, "average": []}}, r"its moving average has 0 tensors, this network \d+; export the last")])
def test_checkpoints_of_another_kind_are_one_line(checkpoint, tmp_path, change, message):
    state = torch.load(checkpoint, weights_only=True) | change
    torch.save({key: value for key, value in state.items() if value is not ...}, tmp_path / "odd.pt")
    with pytest.raises(UserError, match=rf"odd\.pt: .*{message}") as caught:
        export(tmp_path / "odd.pt", tmp_path / "out.safetensors")
    assert "\n" not in str(caught.value)


def test_another_width_is_named(checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=True)
    state["state_dict"]["mask_token"] = torch.zeros(1, 1, 96)
    torch.save(state, tmp_path / "odd.pt")
    with pytest.raises(UserError, match=r"odd\.pt: .*1 weights have another shape: mask_token is \(1, 1, 96\)"):
        export(tmp_path / "odd.pt", tmp_path / "out.safetensors")


@pytest.mark.parametrize("average", [True, False])
def test_a_head_from_before_roles_and_tasks_is_exported(tmp_path, average):
    """Its checkpoint lacks the embeddings; they stay at zero, with which the head is what it was."""
    model = FusionHead()
    torch.nn.init.normal_(model.corrections.answers[0].weight)
    path = write_checkpoint(tmp_path / "step.pt", model, "FusionHead", {})
    state = torch.load(path, weights_only=True)
    names = [name for name in state["state_dict"] if not name.startswith(FusionHead.traits.optional)]
    assert len(names) < len(state["state_dict"])
    state["state_dict"] = {name: state["state_dict"][name] for name in names}
    state["ema"]["average"] = [torch.full_like(value, 0.25) for value in state["state_dict"].values()]
    torch.save(state, path)
    load_weights(FusionHead(), path, start=True)  # as path.pretrain_model_G takes it
    export(path, tmp_path / "out.safetensors", average=average)
    found = FusionHead()
    load_weights(found, tmp_path / "out.safetensors")
    for name, value in found.state_dict().items():
        want = torch.zeros(()) if name not in names else torch.tensor(0.25) if average else model.state_dict()[name]
        torch.testing.assert_close(value, want.expand_as(value), rtol=1e-3, atol=1e-4, msg=name)


def test_the_head_alone_has_no_published_layout(tmp_path):
    path = write_checkpoint(tmp_path / "step.pt", FusionHead(), "FusionHead", {})
    with pytest.raises(UserError, match=r"FusionHead has no published layout; give \.safetensors"):
        export(path, tmp_path / "out.pth", average=False)


def test_what_reaches_the_onnx_exporter(checkpoint, tmp_path, monkeypatch):
    """Average or last weights of a checkpoint, or a weight file; its checksum, precision and tasks."""
    seen = []

    def note(model, path, about, precision, tasks):
        seen.append((bool((model.fuse_head.weight == 0.25).all()), about["weights"], precision, [*tasks]))
        path.write_bytes(b"file")

    monkeypatch.setattr("models.export.write_onnx", note)
    weights, out = tmp_path / "weights.safetensors", str(tmp_path / "out.onnx")
    export(checkpoint, weights)
    main([str(checkpoint), out])
    main([str(checkpoint), out, "--last", "--precision", "int8"])
    main([str(weights), out, "--task", "MEF"])
    every = ["none", "IVF", "MEF", "MFF"]
    assert seen == [(True, weight_checksum(checkpoint), "float32", every),
                    (False, weight_checksum(checkpoint), "int8", every),
                    (True, weight_checksum(weights), "float32", ["MEF"])]


def test_a_damaged_checkpoint_becomes_no_onnx_file(checkpoint, tmp_path):
    (tmp_path / "broken.pt").write_bytes(checkpoint.read_bytes()[:3000])
    with pytest.raises(UserError, match=r"broken\.pt"):
        main([str(tmp_path / "broken.pt"), str(tmp_path / "out.onnx")])
    assert not (tmp_path / "out.onnx").exists()


def test_mistakes(checkpoint, tmp_path):
    with pytest.raises(UserError, match="ending"):
        export(checkpoint, tmp_path / "out.onnx")
    (tmp_path / "broken.pt").write_bytes(checkpoint.read_bytes()[:3000])
    with pytest.raises(UserError, match=r"broken\.pt"):
        export(tmp_path / "broken.pt", tmp_path / "out.pth")
