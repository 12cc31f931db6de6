"""What runs on a GPU stays there: passes on fake CUDA tensors fail when a CPU tensor slips in or a value is read back.

Fake tensors have a shape, a type and a device and no values, so that no GPU is needed.
"""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch._subclasses.fake_tensor import DataDependentOutputException

from data.photos import PhotoBatch
from data.registry import SCENARIOS
from data.sample import Sample
from data.synthesis import Synthesizer
from models import Fuser, create_model
from models.losses import CUDLoss, _blur_matrix
from models.mae import MAEEncoder, MAELoss
from models.multimodal import MCUDLoss
from models.structural import HRLoss
from models.teachers import Teachers
from option.schema import TileOptions

SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 2, "last_heads": 4, "decoder_heads": 4}
RULES = {"warm_floor": 1.0, "keep_light": True, "choose": True}
SIZE = 64


@pytest.fixture(autouse=True)
def fake() -> Iterator[None]:
    """All tensors of a test are fake."""
    with FakeTensorMode():
        try:
            torch.empty(1).to("cuda")
        except RuntimeError as error:  # PyTorch 2.6 asks the driver even here
            pytest.skip(f"fake CUDA tensors need a driver with this PyTorch: {str(error).splitlines()[0]}")
        yield
    _blur_matrix.cache_clear()  # it holds fake matrices now


def build(name: str, **network: object) -> nn.Module:
    """A model on the GPU. Its passes run outside of this context, which would hide a forgotten ``device=``."""
    with torch.device("cuda"):
        return create_model(name, **network)


def pictures(channels: int = 3, *size: int) -> Tensor:
    return torch.rand(channels, *(size or (SIZE, SIZE)), device="cuda")


def on_the_gpu(tree: object) -> list[Tensor]:
    """Every tensor of a result, all of them checked to be on the GPU."""
    if isinstance(tree, Tensor):
        assert tree.device.type == "cuda"
        return [tree]
    values = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else (
        vars(tree).values() if hasattr(tree, "__dict__") else ())
    return [tensor for value in values for tensor in on_the_gpu(value)]


class CudaGenerator(torch.Generator):
    """A generator that says it is the GPU's: fake draws need no more."""

    device = torch.device("cuda")


def test_a_slip_is_found():
    """The guard itself: a tensor of the CPU, and a value that Python needs."""
    x = pictures()
    with pytest.raises(RuntimeError, match="device"):
        x + torch.zeros(3, SIZE, SIZE)
    with pytest.raises(DataDependentOutputException):
        float(x.sum())
    with pytest.raises(AssertionError):
        on_the_gpu({"a": [x], "b": torch.zeros(1)})


@pytest.mark.parametrize("name", sorted(SCENARIOS.names()))
def test_synthesis(name):
    with torch.device("cuda"):
        batch = PhotoBatch(torch.zeros(2, 3, 80, 80, dtype=torch.uint8), torch.full((2, 2), 80), torch.rand(2))
    sample = Synthesizer(SIZE, {name: 1.0})(batch, {key: CudaGenerator() for key in ("crop", "damage")})
    assert sample.x1.shape == (2, 3, SIZE, SIZE)
    assert len(on_the_gpu(sample)) > 5


@pytest.mark.parametrize(("name", "network", "loss"), [
    ("DeFusionPP", SMALL, CUDLoss), ("DeFusionPPHR", SMALL, HRLoss), ("FusionHead", RULES, HRLoss)])
def test_training_passes_and_losses(name, network, loss):
    model = build(name, **network)
    with torch.device("cuda"):
        criterion, ones = loss(), torch.ones(2)
    x1, x2, target = torch.stack([pictures(), pictures()]).expand(3, -1, -1, -1, -1)
    mask = (x1[:, :1] > 0.5).to(x1)
    out = model(x1, x2) if name == "FusionHead" else model(x1, x2, pictures(2, 16))
    terms = criterion(out, Sample(x1, x2, mask, 1 - mask, target, truth=ones, head=ones))
    assert len(on_the_gpu(out)) >= 4 and len(on_the_gpu(terms)) >= 4


def test_stage_2():
    model = build("DeFusionPPMM", **SMALL, teacher_widths=(64, 64))
    with torch.device("cuda"):
        teacher = MAEEncoder(64, 1)
    x = pictures()[None]
    seen = Teachers((teacher, teacher))(model.normalise(x), model.normalise(x))
    assert len(on_the_gpu(MCUDLoss()(model.predict(x, x), seen))) == 4


def test_autoencoder():
    model = build("MAE", size="tiny", depth=1, decoder_depth=1, decoder_width=32)
    x = pictures()[None]
    out = model(x, pictures(1, 16))
    on_the_gpu([out, model.picture(x, out), model.masked_picture(x, out), MAELoss()(out, model.targets(x))])


@pytest.mark.parametrize("mode", ["rgb", "ycbcr", "gray"])
@pytest.mark.parametrize(("name", "network"), [
    ("DeFusionPP", SMALL), ("DeFusionPPHR", SMALL), ("FusionHead", RULES), ("Average", {}), ("SaliencePyramid", {})])
def test_the_path_of_the_fuser(monkeypatch, name, network, mode):
    """From unit pictures to unit pictures: colour, windows, network, blending, colour."""
    monkeypatch.setattr("models.torch_backend.choose_device", torch.device)
    monkeypatch.setattr(nn.Module, "to", lambda self, device: self)  # it is there, and fake parameters cannot move
    fuser = Fuser(build(name, **network), device="cuda", amp="off", tile=TileOptions(size=64, overlap=32))
    units = [pictures(1 if mode == "gray" else 3, 90, 110), pictures(3, 90, 110)]
    with torch.inference_mode():
        for task in ("IVF", "MEF", "MFF"):
            result = fuser._fuse(units, mode, task, components=True, shares=False)
            assert result["fused"].shape == (1 if mode == "gray" else 3, 90, 110)
            on_the_gpu(result)
