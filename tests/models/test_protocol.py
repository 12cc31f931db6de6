"""Every model says what it is, every loss takes (out, sample), and a loss of another kind of model is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

import selftrain
from data.photos import PhotoBatch
from data.sample import Sample, stack_of
from models.protocol import TASKS, Loss, Traits
from models.registry import LOSSES, MODELS, create_loss
from models.tasks import TRAINING, CUDTask
from option.load import load_options
from utils.errors import UserError
from utils.pictures.writing import write_picture

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", MODELS.names())
def test_a_model_says_what_it_is(name):
    traits = MODELS.get(name).traits
    assert type(traits) is Traits
    assert traits.training in (None, *TRAINING)
    if traits.training:
        assert issubclass(traits.gives, LOSSES.get(traits.loss).takes)


@pytest.mark.parametrize("name", LOSSES.names())
def test_a_loss_takes_an_output_and_a_sample(name):
    loss: Loss = LOSSES.create(name)
    assert isinstance(loss.takes, type)
    assert loss.forward.__code__.co_varnames[:3] == ("self", "out", "sample")


@pytest.mark.parametrize("overrides", (
    ["train.loss=HRLoss"],
    ["train.loss=CUDLoss", "synthesis.pictures=2"],
    ["synthesis.pictures=4", "synthesis.scenarios={defocus: 1, bracket: 1, targets: 1}"],
))
def test_a_head_trains_with_its_own_loss_with_the_published_one_and_on_stacks(overrides):
    options = load_options(ROOT / "option/train/HighRes.yaml", [
        *overrides, "train.loss_arguments={}", "dataset.train.image_size=64"])
    task = selftrain.build_task(options)
    pixels = torch.randint(0, 256, (4, 3, 80, 72), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    photographs = PhotoBatch(pixels, torch.tensor([[80, 72]] * 4), pixels.float().mean((1, 2, 3)) / 255)
    generators = {name: torch.Generator().manual_seed(1) for name in task.generator_names}
    terms = task(photographs, generators)
    terms["total_loss"].backward()
    assert all(weight.grad.isfinite().all() for weight in task.trainable())
    assert task.model.corrections.answers[0].weight.grad.abs().sum() > 0
    assert set(task.pictures(photographs, generators)) >= {"x1", "x2", "target", "fused"}


@pytest.mark.parametrize(("overrides", "message"), (
    (["model=UCMConv", "train.loss=HRLoss"], "HRLoss needs HRDecomposition, and UCMConv gives Decomposition; "
                                             "its own loss is CUDLoss"),
    (["model=FusionHead", "train.loss=MAELoss"], "MAELoss needs MaskedPrediction, and FusionHead gives"),
))
def test_a_loss_of_another_kind_of_model_is_an_error(overrides, message):
    options = load_options(ROOT / "option/train/HighRes.yaml", [*overrides, "train.loss_arguments={}"])
    with pytest.raises(UserError, match=message):
        create_loss(options, MODELS.get(options.model).traits)


def test_the_published_loss_on_stacks_is_one_line():
    task = selftrain.build_task(load_options(ROOT / "option/train/HighRes.yaml", [
        "train.loss=CUDLoss", "train.loss_arguments={}"]))
    stack = stack_of(torch.rand(3, 1, 3, 64, 64), torch.ones(3, 1, 1, 64, 64), torch.rand(1, 3, 64, 64))
    with pytest.raises(UserError, match=r"set synthesis\.pictures: 2"):
        task.criterion(task.decompose(stack, {"damage": torch.Generator()}), stack)


def test_a_rule_has_nothing_to_learn():
    options = load_options(ROOT / "option/train/SelfTrained_SDatasetFast.yaml", ["model=Average"])
    with pytest.raises(UserError, match="model: Average has nothing to learn"):
        selftrain.build_task(options)


@pytest.mark.parametrize("name", ("FusionHead", "DeFusionPPHR"))
@pytest.mark.parametrize("untold", (0.0, 0.3, 1.0))
def test_a_head_is_not_told_task_and_roles_in_a_share_of_the_samples(untold, name, monkeypatch):
    monkeypatch.setattr(CUDTask, "untold", untold)
    seen = {}
    transformer = {"embed_dim": 48, "depth": 1, "num_heads": 3, "last_heads": 3, "decoder_heads": 4}
    model = MODELS.create(name, widths=(4, 4, 4, 4, 4), **transformer if name == "DeFusionPPHR" else {})
    task = TRAINING[model.traits.training](model, None, LOSSES.create("HRLoss"))
    monkeypatch.setattr(model, "forward", lambda *pictures, **told: seen.update(told))
    x = torch.rand(200, 3, 16, 16)
    sample = Sample(x, x, *torch.ones(2, 200, 1, 16, 16), x, infrared=torch.ones(200, dtype=torch.long),
                    task=torch.full((200,), TASKS.index("IVF")))
    task.decompose(sample, {name: torch.Generator().manual_seed(0) for name in CUDTask.generator_names})
    told = seen["task"] > 0
    assert torch.equal(seen["roles"], sample.roles * told) and torch.equal(seen["task"], sample.task * told)
    assert float(told.float().mean()) == pytest.approx(1 - untold, abs=0.1)


def test_a_head_learns_from_real_pairs_that_its_options_name_and_other_models_do_not(tmp_path):
    for folder, shape in (("ir", (40, 48)), ("vi", (40, 48, 3)), ("photos", (40, 48, 3))):
        for number in range(2):
            pixels = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
            write_picture(tmp_path / folder / f"{number}.png", pixels)
    keys = [f"dataset.train.dataroot={tmp_path / 'photos'}", "dataset.train.train_name=", "dataset.train.image_size=32",
            "dataset.train.batch_size=2", "dataset.train.workers=0"]
    pairs = [f"dataset.train.irvis_dataroot={tmp_path}"]
    options = load_options(ROOT / "option/train/HighRes.yaml", [*keys, *pairs])
    place = {"seed": 1, "run_dir": None, "rank": 0, "world": 1, "device": torch.device("cpu")}
    batch = next(iter(selftrain.build_loader(options, **place)))
    task = selftrain.build_task(options)
    generators = {name: torch.Generator().manual_seed(1) for name in task.generator_names}
    sample = task.synthesize(batch, generators)
    assert len(batch.photos) == len(batch.pairs) == 2 and sample.x1.shape[0] == 4
    assert sample.task[2:].tolist() == [TASKS.index("IVF")] * 2
    assert torch.isfinite(task(batch, generators)["total_loss"])
    alone = load_options(ROOT / "option/train/HighRes.yaml", keys)
    published = load_options(ROOT / "option/train/SelfTrained_SDatasetFast.yaml", [*keys, *pairs])
    for other in (alone, published):
        assert isinstance(next(iter(selftrain.build_loader(other, **place))), PhotoBatch)
