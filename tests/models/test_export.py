"""Exported weights are those of the checkpoint, average if kept, and tell nothing of the machine's folders."""

import json

import pytest
import torch

from models.defusion import DeFusionPP
from models.export import export
from models.weights import load_weights, read_metadata
from option.schema import Options
from utils.errors import UserError

SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 2, "last_heads": 4, "decoder_heads": 4}


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    model = DeFusionPP(**SMALL)
    options = Options(name="run", model="UCMConv", network_G=SMALL,
                      dataset={"train": {"dataroot": "/home/someone/private", "image_size": 64}})
    trained = [p for name, p in model.named_parameters() if not name.startswith("encoder.norm.")]
    state = {"state_dict": model.state_dict(), "optimizers": [], "schedulers": [], "epoch": 3, "step": 12,
             "images": 48, "version": "0", "commit": "c", "options_hash": "h",
             "options": json.dumps(options.model_dump(mode="json")),
             "ema": {"steps": 12, "average": [torch.full_like(p, 0.25) for p in trained]}}
    torch.save(state, tmp_path / "step.pt")
    return tmp_path / "step.pt"


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


def test_mistakes(checkpoint, tmp_path):
    with pytest.raises(UserError, match="ending"):
        export(checkpoint, tmp_path / "out.onnx")
    (tmp_path / "broken.pt").write_bytes(checkpoint.read_bytes()[:3000])
    with pytest.raises(UserError, match=r"broken\.pt"):
        export(tmp_path / "broken.pt", tmp_path / "out.pth")
