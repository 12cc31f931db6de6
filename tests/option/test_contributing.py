"""The examples in CONTRIBUTING.md work as they stand: one file and one option file each, nothing else edited."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

import data
import models
from data.registry import SCENARIOS, scenario_shares
from models.decomposition import Decomposition
from models.defusion import DeFusionPP
from models.registry import LOSSES, MODELS, create_loss, model_from_options
from option.load import load_options
from utils.errors import UserError

PAGE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(python|yaml)\n(.*?)```", PAGE, flags=re.DOTALL)
PYTHON = [text for kind, text in BLOCKS if kind == "python"]
YAML = [text for kind, text in BLOCKS if kind == "yaml"]
FILES = re.findall(r"^`((?:models|data)/\w+\.py)`:$", PAGE, flags=re.MULTILINE)


@pytest.fixture
def dropped_in(tmp_path, monkeypatch):
    """Puts the page's files where the packages look for modules, and forgets them afterwards."""
    registries = (MODELS, LOSSES, SCENARIOS)
    for registry in registries:
        registry.names()  # what is there already stays
    before = [(dict(registry._entries), set(registry._imported)) for registry in registries]
    for package in (models, data):
        folder = tmp_path / package.__name__
        folder.mkdir()
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    for name, text in zip(FILES, PYTHON, strict=True):
        (tmp_path / name).write_text(text, encoding="utf-8")
    yield tmp_path
    for registry, (entries, imported) in zip(registries, before):
        registry._entries, registry._imported = entries, imported
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py").replace("/", "."), None)


def option_file(folder, text):
    path = folder / "options.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_page_holds_the_examples():
    assert FILES == ["models/sharper.py", "models/gradient_loss.py", "data/stripes.py"]
    assert len(YAML) == 3


def test_the_model_takes_each_half_from_the_sharp_image(dropped_in):
    model = model_from_options(load_options(option_file(dropped_in, YAML[0])))
    assert type(model).__name__ == "Sharper" and model.window == 7
    texture = torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    flat = texture.mean(dim=(-2, -1), keepdim=True).expand_as(texture)
    left = (torch.arange(64) < 32).expand_as(texture)
    near, far = torch.where(left, texture, flat), torch.where(left, flat, texture)
    fused = model.decompose(near, far).fused
    away_from_border = (torch.arange(64) - 32).abs() > 8
    assert (fused - texture)[..., away_from_border].abs().max() < 0.02
    assert torch.allclose(fused, model.decompose(far, near).fused, atol=1e-5)


def test_the_model_runs_on_pictures_of_any_size(dropped_in):
    from models.fuser import Fuser

    fuse = Fuser(model_from_options(load_options(option_file(dropped_in, YAML[0]))), device="cpu")
    picture = np.random.default_rng(0).integers(0, 256, (37, 51, 3), dtype=np.uint8)
    fusion = fuse(picture, picture, task="MFF")
    assert fusion.common is None and np.array_equal(fusion.fused, picture)


def test_mistakes_in_its_option_file_are_named_with_their_place(dropped_in):
    path = option_file(dropped_in, YAML[0])
    for override, message in (
        ("model=Sharpr", "--set: model: unknown model Sharpr (did you mean Sharper?)"),
        ("network_G.windw=3", "--set: network_G.windw: unknown key (did you mean window?)"),
        ("network_G.gain=high", "--set: network_G.gain: should be a number, got 'high'"),
        ("network_G.gain=2", None),
        ("network_G.window=4", f"{path}: network_G: Sharper cannot be built with window=4: window 4 is even; "
                               "give an odd number of pixels"),
    ):
        options = load_options(path, [override])
        if message is None:
            assert model_from_options(options).gain == 2.0
            continue
        with pytest.raises(UserError) as error:
            model_from_options(options)
        assert str(error.value).startswith(message)


def test_the_loss_adds_its_term_to_the_published_ones(dropped_in):
    options = load_options(option_file(dropped_in, "name: run\n" + YAML[1]))
    loss = create_loss(options, DeFusionPP.traits)
    assert (loss.gradient, loss.fused, loss.common) == (20.0, 80.0, 20.0)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    truth = SimpleNamespace(common=x, unique1=x, unique2=x, target=x)
    terms = loss(Decomposition(x, x, x, x * 0.5), truth)
    parts = sum(value for name, value in terms.items() if name != "total_loss")
    assert terms["gradient"] > 0 and torch.isclose(terms["total_loss"], parts)


def test_the_damage_keeps_each_pixel_in_exactly_one_image(dropped_in):
    shares = scenario_shares(load_options(option_file(dropped_in, "name: run\n" + YAML[2])))
    assert shares == yaml.safe_load(YAML[2])["synthesis"]["scenarios"]
    x = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    sample = SCENARIOS.get("stripes")(x, torch.Generator().manual_seed(3))
    assert torch.equal(sample.mask1 + sample.mask2, torch.ones(3, 1, 64, 64))
    assert torch.allclose(sample.common + sample.unique1 + sample.unique2, x)


@pytest.mark.parametrize("text, line", [
    ("train: {loss: CUDLos}", "train.loss: unknown loss CUDLos (did you mean CUDLoss?); known: CUDLoss"),
    ("train: {loss: CUDLoss, loss_arguments: {comon: 1}}",
     "train.loss_arguments.comon: unknown key (did you mean common?)"),
    ("synthesis: {scenarios: {noize: 1}}",
     "synthesis.scenarios.noize: unknown scenario noize (did you mean noise?); known: noise"),
])
def test_unknown_losses_and_damages_are_named_with_their_place(tmp_path, text, line):
    path = option_file(tmp_path, f"name: run\n{text}\n")
    options = load_options(path)
    with pytest.raises(UserError) as error:
        create_loss(options, DeFusionPP.traits)
        scenario_shares(options)
    assert str(error.value).startswith(f"{path}: {line}")
