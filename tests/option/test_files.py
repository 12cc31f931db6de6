"""Every shipped option file loads, holds the published values, and all published keys keep working."""

from pathlib import Path

import pytest

from data.registry import DATASETS, SCENARIOS
from models.registry import MODELS
from option.document import options_page
from option.load import load_options
from option.messages import all_keys
from option.schema import Options

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "option").glob("*/*.yaml"))
TESTS = ("IVF", "MIVF", "MEF", "SMEF", "MFF")
NETWORK = {"in_nc": 3, "block_num": 2, "init": "xavier", "hidden_channels": 128, "K": 4}


def load(name):
    return load_options(ROOT / "option" / name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_loads_and_opens_with_its_command(path):
    options = load_options(path)
    assert options.dataset.train or options.dataset.test
    text = path.read_text(encoding="utf-8")
    relative = path.relative_to(ROOT).as_posix()
    assert f"-opt {relative}" in text, "its comment gives the command"
    assert not any(word in text for word in ("/work/", "/home/"))
    assert set(options.synthesis.scenarios) <= set(SCENARIOS.names())


def test_all_files_are_there():
    names = {path.relative_to(ROOT / "option").as_posix() for path in FILES}
    assert names >= {
        *(f"test/{task}_TransformerTest_Dataset.yaml" for task in TESTS),
        *(f"test/Demo_{task}.yaml" for task in ("IVF", "MEF", "MFF")),
        "train/SelfTrained_SDatasetFast.yaml", "train/SelfTrained_MDatasetFast.yaml", "train/MAE_FLIR.yaml",
        "train/MAE_ImageNet.yaml", "train/Demo_SelfTrain.yaml"}


def test_stage_1_has_the_published_values():
    options = load("train/SelfTrained_SDatasetFast.yaml")
    assert (options.name, options.model, options.use_tb_logger) == ("SelftrainedFinal", "UCMConv", True)
    data, train, val = options.dataset.train, options.train, options.dataset.val
    assert (data.train_name, data.batch_size, data.image_size, data.workers, data.samples) == (
        "train2017", 16, 224, 4, 50_000)
    assert (data.max_iter, data.iter_size) == (40, 1)
    assert (val.input_name, val.scene_folder, val.batch_size, val.workers) == ("input", "input", 1, 1)
    assert (train.lr, train.beta1, train.beta2, train.max_grad_norm, train.max_grad_clip) == (4e-4, .9, .999, 20, 20)
    assert (train.niter, train.epoch, train.lr_steps, train.lr_gamma) == (500_000, 50, (20, 40, 45, 47), .5)
    assert (train.val_freq, train.kernel_freq, train.manual_seed) == (3, 1, 1)
    assert (options.logger.print_freq, options.logger.save_checkpoint_freq) == (10, 2)
    assert options.path.strict_load and options.path.resume_state is None
    assert options.network_G.model_dump() == NETWORK and options.network_G.arguments() == {}
    assert options.synthesis.scenarios == {"noise": 1.0}
    assert (train.optimizer, train.schedule, train.accumulate) == ("adam", "step", 1)


def test_stage_2_has_the_published_values():
    options = load("train/SelfTrained_MDatasetFast.yaml")
    assert (options.name, options.model) == ("MultiModalFastM", "MUCMTransformer")
    data, train = options.dataset.train, options.train
    assert (data.train_name, data.infrare_name, data.visible_name) == ("train2017", "train/ir/", "train/vi/")
    assert (data.batch_size, data.image_size, data.workers, data.modalities) == (16, 224, 4, "ir/vi")
    assert data.photo_root == data.noise_dataroot and data.pair_folders[0] == data.irvis_dataroot
    assert (train.lr, train.epoch, train.lr_steps) == (1e-4, 200, (80, 160, 180, 190))
    assert train.mcud_weight == 1 / 16 and options.logger.save_checkpoint_freq == 5
    assert options.network_G.model_dump() == NETWORK
    assert options.teachers.modality1 and options.teachers.modality2 == "timm:vit_base_patch16_224.mae"


@pytest.mark.parametrize("name, folders", [
    ("IVF", ("IVF", "cropinfrared", "crop_LR_visible", None)),
    ("MIVF", ("IVF", "Ir", "Vis", None)),
    ("MEF", ("MEF", None, None, "input")),
    ("SMEF", ("MEF", None, None, "Dataset_Part2")),
    ("MFF", ("MFF", None, None, ".")),
])
def test_test_files_have_the_published_layouts(name, folders):
    options = load(f"test/{name}_TransformerTest_Dataset.yaml")
    test = options.dataset.test
    assert (test.datashell, test.infrare_name, test.visible_name, test.scene_folder) == folders
    assert "model" not in options.model_fields_set  # the weights say it
    assert (test.batch_size, options.network_G.model_dump()) == (1, NETWORK)
    assert (ROOT / options.path.resume_state).is_file()


@pytest.mark.parametrize("name", ["MAE_FLIR", "MAE_ImageNet"])
def test_mae_files_have_the_recipe(name):
    options = load(f"train/{name}.yaml")
    train, mae = options.train, options.mae
    assert (options.model, mae.mask_ratio, mae.norm_pix_loss, mae.decoder_width, mae.decoder_depth) == (
        "MAE", 0.75, True, 512, 8)
    assert (train.optimizer, train.beta1, train.beta2, train.weight_decay, train.schedule) == (
        "adamw", 0.9, 0.95, 0.05, "cosine")
    assert train.base_lr == 1.5e-4 and train.learning_rate(512) == pytest.approx(3e-4)
    assert train.warmup_epochs > 0


def test_published_files_load_as_they_were_written(tmp_path, monkeypatch):
    """Their keys, spellings and tags, `!!float 4e-4` and label names included, in one file."""
    monkeypatch.setenv("HOME", "/home/me")
    path = tmp_path / "published.yaml"
    path.write_text("""
name: SelftrainedFinal
use_tb_logger: true
model: UCMConv
dataset:
  train: {name: train, dataroot: ~/coco, filter: , trainpairs: list.txt, extra_data: ~/more, batch_size: 16,
          image_size: 224, max_iter: 40, iter_size: 1, workers: 4, train_name: train2017, debug: true,
          noise_dataroot: ~/coco, noise_trainpairs: l.txt, irvis_dataroot: ~/MSRS, infrare_name: train/ir/,
          visible_name: train/vi/, irvis_trainpairs: p.txt, ctmr_dataroot: ~/CT-MRI, ct_name: CT, mr_name: MRI,
          ctmr_trainpairs: c.txt}
  val: {name: val, dataroot: ~/MEFB, batch_size: 1, workers: 1, input_name: input}
  test: {name: test, dataroot: ~/MFF, batch_size: 1, workers: 1, image_size: 256, part_name: ., datashell: MFF}
network_G: {in_nc: 3, block_num: 2, init: xavier, hidden_channels: 128, K: 4}
path: {pretrain_model_G: ~, strict_load: true, resume_state: null, pretrained_models_state: old.pth}
logger: {print_freq: 10, save_checkpoint_freq: 2}
train:
  lr: !!float 4e-4
  beta1: 0.9
  beta2: 0.999
  max_grad_norm: 20
  max_grad_clip: 20
  niter: 500000
  epoch: 50
  lr_steps: [20, 40, 45, 47]
  lr_gamma: 0.5
  val_freq: 3 #!!float 5e3
  kernel_freq: 1
  manual_seed: 1
""", encoding="utf-8")
    options = load_options(path)
    assert options.train.lr == 4e-4 and options.dataset.train.dataroot == "/home/me/coco"
    assert options.path.pretrain_model_G is None and options.dataset.test.img_size == 256
    assert options.without_effect() == [
        "dataset.train.name", "dataset.train.max_iter", "dataset.train.iter_size", "dataset.train.debug",
        "dataset.val.name", "dataset.test.name", "dataset.test.img_size", "network_G.in_nc", "network_G.block_num",
        "network_G.init", "network_G.hidden_channels", "network_G.K", "path.pretrained_models_state",
        "train.max_grad_clip", "train.niter", "train.kernel_freq"]


def test_ct_mr_pairs_come_from_either_spelling():
    def folders(**data):
        return Options(name="x", dataset={"train": {"modalities": "ct/mr", **data}}).dataset.train.pair_folders

    assert folders(irvis_dataroot="a", infrare_name="CT", visible_name="MR") == ("a", "CT", "MR", None)
    assert folders(irvis_dataroot="a", ctmr_dataroot="b", ct_name="CT", mr_name="MR") == ("b", "CT", "MR", None)


def test_the_manual_is_the_schema():
    page = (ROOT / "docs" / "OPTIONS.md").read_text(encoding="utf-8")
    assert page == options_page(), "renew it: python -m option.document"
    for key in all_keys(Options):
        assert f"`{key.rsplit('.', 1)[-1]}`" in page


def test_every_key_is_described():
    def check(section, prefix=""):
        for name, field in section.model_fields.items():
            assert field.description, prefix + name
            assert "\n" not in field.description
        return True

    from option.messages import section_of
    pending = [Options]
    while pending:
        section = pending.pop()
        assert check(section, f"{section.__name__}.")
        pending += [inner for field in section.model_fields.values() if (inner := section_of(field.annotation))]


def test_published_model_names_are_known():
    assert MODELS.get("UCMConv") is MODELS.get("FusionModel") is MODELS.get("DeFusionPP")
    assert "photos" in DATASETS.names()
