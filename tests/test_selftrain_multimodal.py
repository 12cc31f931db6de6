"""The stage 2 script trains from an option file, keeps no teacher, and goes on exactly where it was stopped."""

import json

import cv2
import numpy as np
import pytest
import torch
import yaml

import selftrain
import selftrain_multimodal
from models import Fuser
from models.export import export
from models.mae import MAEEncoder
from models.multimodal import DeFusionPPMM
from models.teachers import Teachers, load_teacher
from models.weight_files import read_about
from models.weights import load_weights, save_weights
from option.load import load_options
from tests.test_selftrain import calm_logging  # noqa: F401 (used by every test here as well)
from utils.errors import UserError

NETWORK = {"embed_dim": 32, "depth": 2, "num_heads": 2, "last_heads": 2, "decoder_heads": 2}
TERMS = {"self_supervised_common_mix", "self_supervised_upper_mix", "self_supervised_lower_mix",
         "self_supervised_fusion_mix", "self_supervised_recon", "self_supervised_modality1",
         "self_supervised_modality2", "self_supervised_common", "total_loss"}


@pytest.fixture
def option_file(tmp_path):
    """Photographs, pairs, two teachers and stage 1 weights of a tiny network, and an option file for them."""
    draw = np.random.default_rng(0)
    for folder, channels in (("photos", 3), ("pairs/ir", 1), ("pairs/vi", 3)):
        (tmp_path / folder).mkdir(parents=True)
        for index in range(6):
            cells = draw.integers(0, 256, (9, 12, channels), dtype=np.uint8)
            picture = cv2.resize(cells, (64, 48), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(tmp_path / folder / f"{index}.png"), picture)
    torch.manual_seed(0)
    for index, width in ((1, 64), (2, 128)):
        save_weights(MAEEncoder(width, 1), tmp_path / f"teacher{index}.safetensors")
    save_weights(DeFusionPPMM(**NETWORK), tmp_path / "stage1.safetensors")
    tree = {
        "name": "tiny", "model": "MUCMTransformer", "device": "cpu", "use_tb_logger": True, "network_G": NETWORK,
        "dataset": {"train": {
            "noise_dataroot": str(tmp_path), "train_name": "photos", "irvis_dataroot": str(tmp_path / "pairs"),
            "infrare_name": "ir", "visible_name": "vi", "batch_size": 2, "image_size": 32, "workers": 0},
            "val": {"dataroot": str(tmp_path / "pairs"), "datashell": "IVF", "infrare_name": "ir",
                    "visible_name": "vi"}},
        "teachers": {f"modality{i}": str(tmp_path / f"teacher{i}.safetensors") for i in (1, 2)},
        "path": {"pretrain_model_G": str(tmp_path / "stage1.safetensors"), "experiments_root": str(tmp_path / "runs")},
        "logger": {"print_freq": 1, "save_checkpoint_freq": 1}, "train": {"epoch": 2, "amp": "off", "val_freq": 1},
    }
    path = tmp_path / "options.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def history(folder, kind: str = "train") -> list[dict]:
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    lines = [line for line in lines if line["kind"] == kind]
    return [{key: value for key, value in line.items() if key in TERMS | {"step", "lr", "images"}} for line in lines]


def test_it_trains_and_keeps_no_teacher(option_file):
    selftrain_multimodal.main(["-opt", str(option_file)])
    run = option_file.parent / "runs" / "tiny"
    lines = history(run)
    assert len(lines) == 6 and set(lines[0]) >= TERMS
    for line in lines:
        cud = sum(line[name] for name in TERMS - {"total_loss"} if name.endswith(("_mix", "_recon")))
        mcud = sum(line[f"self_supervised_{name}"] for name in ("modality1", "modality2", "common"))
        assert line["total_loss"] == pytest.approx(cud + mcud / 16, rel=1e-5)

    assert [line["step"] for line in history(run, "val")] == [3, 6]

    checkpoint = run / "checkpoints" / "latest.pt"
    state = torch.load(checkpoint, weights_only=True)
    expected = DeFusionPPMM(**NETWORK, teacher_widths=(64, 128))
    assert set(state["state_dict"]) == set(expected.state_dict())
    load_weights(expected, checkpoint)
    before = DeFusionPPMM(**NETWORK)
    load_weights(before, option_file.parent / "stage1.safetensors")
    assert not torch.equal(before.encoder.cls_token, expected.encoder.cls_token)


def test_a_stopped_run_goes_on_exactly(option_file):
    selftrain_multimodal.main(["-opt", str(option_file)])
    whole = option_file.parent / "runs" / "tiny"
    broken = ["-opt", str(option_file), "--set", "name=broken"]
    selftrain_multimodal.main([*broken, "--set", "train.max_steps=2"])  # in the middle of the first epoch
    selftrain_multimodal.main([*broken, "--set", "path.resume_state=latest"])
    assert history(whole.parent / "broken") == history(whole)


def test_other_modalities_through_the_same_code(option_file):
    tree = yaml.safe_load(option_file.read_text())
    data = tree["dataset"]["train"]
    data |= {"modalities": "ct/mr", "ctmr_dataroot": data.pop("irvis_dataroot"), "ct_name": data.pop("infrare_name"),
             "mr_name": data.pop("visible_name")}
    option_file.write_text(yaml.safe_dump(tree))
    selftrain_multimodal.main(["-opt", str(option_file), "--set", "train.max_steps=1"])
    assert set(history(option_file.parent / "runs" / "tiny")[0]) >= TERMS


def test_no_teacher_is_an_error_with_the_ways_out(option_file):
    with pytest.raises(UserError, match=r"teachers.modality1: missing; .*MAE_FLIR.*MAE file.*timm:vit_base"):
        selftrain_multimodal.main(["-opt", str(option_file), "--set", "teachers.modality1="])


def test_a_model_of_stage_1_is_refused(option_file):
    with pytest.raises(UserError, match="model: DeFusionPP has no stage 2; give DeFusionPPMM"):
        selftrain_multimodal.main(["-opt", str(option_file), "--set", "model=DeFusionPP"])


def test_a_pretrained_mae_becomes_the_teacher(option_file):
    """MAE through selftrain.py; its checkpoint is a teacher as it stands."""
    folder = option_file.parent
    tree = yaml.safe_load(option_file.read_text())
    mae = {"name": "mae", "model": "MAE", "device": "cpu", "mae": {"size": "tiny", "decoder_width": 32,
           "decoder_depth": 1}, "path": {"experiments_root": str(folder / "runs")},
           "dataset": {"train": {"dataroot": str(folder / "pairs/ir"), "batch_size": 3, "image_size": 32,
                                 "workers": 0}},
           "train": {"optimizer": "adamw", "weight_decay": 0.05, "schedule": "cosine", "epoch": 1, "val_freq": 1}}
    (folder / "mae.yaml").write_text(yaml.safe_dump(mae))
    selftrain.main(["-opt", str(folder / "mae.yaml")])
    checkpoint = folder / "runs/mae/checkpoints/latest.pt"
    assert list((folder / "runs/mae/tb").iterdir())

    tree["teachers"]["modality1"] = str(checkpoint)
    option_file.write_text(yaml.safe_dump(tree))
    task = selftrain_multimodal.build_task(load_options(option_file))
    assert isinstance(task.teachers, Teachers) and task.teachers.widths == (192, 128)
    saved = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert torch.equal(task.teachers.first.blocks[0].mlp.fc1.weight, saved["blocks.0.mlp.fc1.weight"])
    assert {name.split(".")[0] for name in task.state_dict()} == {"model"}

    exported = folder / "teacher.safetensors"
    export(checkpoint, exported)
    assert read_about(exported).network["size"] == "tiny"
    encoder = load_teacher(str(exported)).blocks[0].mlp.fc1.weight
    torch.testing.assert_close(encoder, saved["blocks.0.mlp.fc1.weight"], rtol=1e-3, atol=1e-4)  # half precision
    with pytest.raises(UserError, match=r"teacher\.safetensors: holds a MAE, .* fuses nothing; .*docs/STAGE2\.md"):
        Fuser.from_pretrained(exported)
