"""ONNX files give the pictures of PyTorch, through the same fuser and without PyTorch, and say what they are."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from models import Fuser, onnx_export
from models.decomposition import Decomposition
from models.defusion import DeFusionPP
from models.export import main
from models.head import FusionHead
from models.onnx_backend import OnnxModel
from models.onnx_export import halved, quantised, write_onnx
from models.protocol import ROLES, TASKS, Traits
from option.schema import TileOptions
from tests.conftest import ROOT
from utils.errors import UserError
from utils.pictures.reading import read_picture
from utils.pictures.writing import write_picture

pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
EXPORTS = pytest.mark.skipif(tuple(map(int, torch.__version__.split(".")[:2])) < (2, 9),
                             reason="exporting is tried with PyTorch 2.9 and newer")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

SIZES = [(16, 16), (17, 23), (64, 48), (131, 150), (300, 260)]  # small, odd, and larger than a window of 224
KINDS = ("padded", "windows")


def picture(*shape: int, dtype=np.uint8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def coloured_mean(pictures: torch.Tensor) -> torch.Tensor:
    """The mean of pictures (N, B, 3, H, W), plus a tenth of the first: it depends on the order, and exceeds 1."""
    return pictures.mean(0) + 0.1 * pictures[0]


class Mean(nn.Module):
    """What the hand-made files below compute, for PyTorch."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.traits = Traits(large=kind, many=kind == "padded", roles=kind == "padded", has_components=True)

    def decompose(self, *pictures: torch.Tensor, roles=(), task="none", components=True) -> Decomposition:
        task_shift = 0.05 * TASKS.index(task) + 0.01 * sum(ROLES.index(role) for role in roles)
        return Decomposition(pictures[0], pictures[0], pictures[1], coloured_mean(torch.stack(pictures)) - task_shift)


def write_mean(path: Path, kind: str, **changes: str | None) -> Path:
    """A file that computes `Mean`, made without the exporter."""
    helper, TensorProto, node = onnx.helper, onnx.TensorProto, onnx.helper.make_node
    free = ["n", 3, "h", "w"]
    many = kind == "padded"
    inputs = [("pictures", TensorProto.FLOAT, free), ("roles", TensorProto.INT64, ["n"]),
              ("task", TensorProto.INT64, [1])]
    constants = {"axis": np.array([0]), "two": np.array([2]), "zero": np.array([0]), "one": np.array([1]),
                 "tenth": np.float32(0.1), "half": np.float32(0.5), "by_task": np.float32(0.05),
                 "by_role": np.float32(0.01)}
    if many:
        nodes = [node("Slice", ["pictures", "zero", "one"], ["common"]), node("Identity", ["common"], ["unique1"]),
                 node("Slice", ["pictures", "one", "two"], ["unique2"]),
                 node("ReduceMean", ["pictures", "axis"], ["mean"]),
                 node("Cast", ["task"], ["t"], to=1), node("Mul", ["t", "by_task"], ["shift1"]),
                 node("Cast", ["roles"], ["r"], to=1), node("ReduceSum", ["r", "axis"], ["sum"]),
                 node("Mul", ["sum", "by_role"], ["shift2"]), node("Add", ["shift1", "shift2"], ["shift"]),
                 node("Mul", ["common", "tenth"], ["more"]), node("Add", ["mean", "more"], ["most"]),
                 node("Sub", ["most", "shift"], ["fused"])]
    else:
        inputs = [(name, TensorProto.FLOAT, free) for name in ("x1", "x2")]
        nodes = [node("Identity", ["x1"], ["common"]), node("Identity", ["x1"], ["unique1"]),
                 node("Identity", ["x2"], ["unique2"]), node("Add", ["x1", "x2"], ["both"]),
                 node("Mul", ["both", "half"], ["mean"]), node("Mul", ["x1", "tenth"], ["more"]),
                 node("Add", ["mean", "more"], ["fused"])]
    outputs = ("fused", "common", "unique1", "unique2")
    graph = helper.make_graph(
        nodes, "mean", [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    traits = {"large": kind, "many": many, "roles": many, "has_components": True}
    about = {"model": "Mean", "traits": json.dumps(traits), "roles": json.dumps(ROLES), "tasks": json.dumps(TASKS),
             "for": json.dumps(TASKS)}
    helper.set_model_props(model, {key: value for key, value in (about | changes).items() if value is not None})
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module", params=KINDS)
def both(request, tmp_path_factory) -> tuple[Fuser, Fuser]:
    """Fusers of PyTorch and of ONNX Runtime for one rule."""
    path = write_mean(tmp_path_factory.mktemp("mean") / "mean.onnx", request.param)
    return Fuser(Mean(request.param), device="cpu", amp="off"), Fuser.from_pretrained(path)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("task", "channels"), [("IVF", (1, 3)), ("MEF", (3, 3)), ("MFF", (3, 3, 3)), (None, (3, 1)),
                                                (None, (1, 1, 1))])
def test_colours_and_windows_are_those_of_pytorch(both, size, task, channels):
    pictures = [picture(*size, count, seed=seed) for seed, count in enumerate(channels)]
    for color in (None, "ycbcr"):
        want, got = (fuse(*pictures, task=task, color=color) for fuse in both)
        for name in ("fused", "common", "unique1", "unique2"):
            one, other = getattr(want, name), getattr(got, name)
            assert (one is None) == (other is None) == (name != "fused" and len(pictures) > 2)
            assert one is None or (one.dtype == other.dtype and np.abs(one.astype(int) - other.astype(int)).max() <= 1)


def test_every_kind_of_source_comes_back_as_its_kind(both, tmp_path):
    """Files, 16 bits, floats and tensors; maps of preferred pictures."""
    pair = [picture(40, 50, 1), picture(40, 50, 3, seed=1)]
    paths = [write_picture(tmp_path / f"{number}.png", one) for number, one in enumerate(pair)]
    deep = [one.astype(np.uint16) * 257 for one in pair]
    floats = [one / np.float32(255) for one in pair]
    tensors = [torch.from_numpy(one).permute(2, 0, 1).requires_grad_() for one in floats]
    prefer = np.zeros((2, 40, 50))
    prefer[1, :, 20:] = 0.7
    for sources in (paths, deep, floats, tensors):
        want, got = (fuse(*sources, prefer=prefer).fused for fuse in both)
        assert type(got) is type(want) and got.dtype == want.dtype
        scale = 257 if got.dtype == np.uint16 else 1
        assert np.abs(np.asarray(got, np.float64) - np.asarray(want, np.float64)).max() <= scale


def test_scenes_at_once(both):
    scenes = [[picture(40, 50, 3, seed=3 * number + place) for place in range(2)] for number in range(3)]
    for want, got in zip(*(fuse.batch(scenes, task="MEF") for fuse in both)):
        assert np.abs(want.astype(int) - got.astype(int)).max() <= 1


@pytest.mark.parametrize(("changes", "grids"), [({}, 1), ({"grids": "4"}, 4)])
def test_a_file_says_over_how_many_grids_to_average(tmp_path, changes, grids):
    assert OnnxModel(write_mean(tmp_path / "mean.onnx", "windows", **changes)).grids == grids
    network = DeFusionPP(embed_dim=48, depth=1, num_heads=2, last_heads=2, decoder_heads=2, grids=grids)
    assert onnx_export._metadata(network, SimpleNamespace(tasks=[]))["grids"] == str(grids)


def test_windows_of_another_size(tmp_path):
    path = write_mean(tmp_path / "mean.onnx", "windows")
    tile = TileOptions(size=64, overlap=16, batch=3)
    pair = [picture(100, 150, 3, seed=seed) for seed in range(2)]
    want, got = (Fuser(model, tile=tile, amp="off")(*pair).fused for model in (Mean("windows"), OnnxModel(path)))
    assert np.abs(want.astype(int) - got.astype(int)).max() <= 1


@pytest.mark.parametrize(("changes", "message"), [
    ({"model": None}, "not an ONNX file of defusionpp"), ({"traits": "["}, "not an ONNX file of defusionpp"),
    ({"traits": '{"colour": 1}'}, "not an ONNX file of defusionpp"),
    ({"roles": None}, "not an ONNX file of defusionpp"), ({"for": None}, "not an ONNX file of defusionpp")])
def test_files_of_others_are_one_line(tmp_path, changes, message):
    path = write_mean(tmp_path / "odd.onnx", "padded", **changes)
    with pytest.raises(UserError, match=rf"odd\.onnx: {message}") as caught:
        Fuser.from_pretrained(path)
    assert "\n" not in str(caught.value)


def test_mistakes_are_one_line(tmp_path):
    path = write_mean(tmp_path / "mean.onnx", "padded")
    (tmp_path / "cut.onnx").write_bytes(path.read_bytes()[:200])
    for given, keywords, message in [
            (tmp_path / "cut.onnx", {}, r"cut\.onnx: not a readable ONNX file"),
            (path, {"model": "DeFusionPP"}, "leave model and network out"),
            (path, {"device": "tpu"}, "device: tpu is not available to this ONNX Runtime"),
            (path, {"amp": "bf16"}, "amp: 'bf16' needs PyTorch")]:
        with pytest.raises(UserError, match=message) as caught:
            Fuser.from_pretrained(given, **keywords)
        assert "\n" not in str(caught.value)


def test_a_file_for_one_task_refuses_others(tmp_path):
    path = write_mean(tmp_path / "mean.onnx", "padded", **{"for": '["MEF"]'})
    fuse, pair = Fuser.from_pretrained(path), [picture(40, 50, 3, seed=seed) for seed in range(2)]
    assert fuse(*pair, task="MEF").fused.shape == (40, 50, 3)
    with pytest.raises(UserError, match=r"mean\.onnx: made for MEF, not for the task MFF; give another task"):
        fuse(*pair, task="MFF")


MISSING = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""
FUSE = MISSING + """
import numpy as np
from models import Fuser
from utils.errors import UserError
rng = np.random.default_rng(0)
pair = [rng.integers(0, 256, (40, 50, count), dtype=np.uint8) for count in (1, 3)]
np.save({out!r}, Fuser.from_pretrained({path!r})(*pair, task="IVF").fused)
for use in (lambda: Fuser.from_pretrained("defusionpp_hr"), lambda: Fuser.from_pretrained({path!r})("a.png", "b.png")):
    try:
        use()
    except UserError as error:
        print(error)
"""
COMMAND = MISSING + """
from app.command import main
sys.argv[1:] = {words}
main()
"""
ALL_BUT_TWO = ("torch", "torchvision", "timm", "cv2", "PIL", "scipy", "numba", "pydantic", "yaml", "safetensors",
               "tifffile", "imagecodecs", "filelock", "tqdm", "onnx")


def run_without(script: str, **words: object) -> subprocess.CompletedProcess:
    """Run a script from the checkout in a process that lacks libraries."""
    return subprocess.run([sys.executable, "-c", script.format(**words)], cwd=ROOT, capture_output=True, text=True,
                          timeout=300)


def test_numpy_and_onnx_runtime_are_enough(tmp_path):
    """For arrays; weights and files that need more say so."""
    path, out = write_mean(tmp_path / "mean.onnx", "padded"), tmp_path / "fused.npy"
    done = run_without(FUSE, missing=ALL_BUT_TWO, path=str(path), out=str(out))
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert "defusionpp_hr.safetensors: needs PyTorch, which is not installed; give an .onnx file" in first
    assert second == ("a.png: files are read by cv2, which is not installed; give arrays, or pip install "
                      "'defusionpp-onnx[files]'")
    rng = np.random.default_rng(0)
    pair = [rng.integers(0, 256, (40, 50, count), dtype=np.uint8) for count in (1, 3)]
    assert np.array_equal(np.load(out), Fuser.from_pretrained(path)(*pair, task="IVF").fused)


def test_the_command_fuses_files_without_pytorch(tmp_path):
    path = write_mean(tmp_path / "mean.onnx", "padded")
    pair = [write_picture(tmp_path / f"{name}.png", picture(40, 50, count)) for name, count in (("ir", 1), ("vi", 3))]
    words = ["fuse", *map(str, pair), "-o", str(tmp_path / "fused.png"), "--model", str(path)]
    done = run_without(COMMAND, missing=("torch", "scipy", "numba", "pydantic", "yaml", "safetensors"), words=words)
    assert done.returncode == 0, done.stderr
    want = Fuser.from_pretrained(path)(*pair, task="IVF").fused
    assert np.array_equal(read_picture(tmp_path / "fused.png").pixels, want)
    done = run_without(COMMAND, missing=("torch", "scipy"), words=[*words, "--overwrite", "--model", "SaliencePyramid"])
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2, "error: torch is not installed; this command needs it; pip install 'defusionpp'")


class Blend(nn.Module):
    """A small model for windows; the first picture's share comes from a convolution and a matrix product."""

    traits = Traits(large="windows")

    def __init__(self) -> None:
        super().__init__()
        self.look, self.mix = nn.Conv2d(6, 16, 3, padding=1), nn.Linear(16, 1)

    def decompose(self, x1: torch.Tensor, x2: torch.Tensor) -> Decomposition:
        features = torch.relu(self.look(torch.cat([x1, x2], dim=1)))
        share = torch.sigmoid(self.mix(features.movedim(1, -1))).movedim(-1, 1)
        return Decomposition(None, None, None, torch.lerp(x2, x1, share))


@pytest.fixture(scope="module")
def blend(tmp_path_factory) -> tuple[Blend, Path]:
    """A model and its file."""
    torch.manual_seed(0)
    model, path = Blend().eval(), tmp_path_factory.mktemp("blend") / "blend.onnx"
    write_onnx(model, path, {"version": "9"})
    return model, path


def changed(path: Path, change) -> Path:
    """A changed copy of a file."""
    out = path.with_name(f"{change.__name__}.onnx")
    onnx.save(change(onnx.load(path)), out)
    return out


def apart(first: Fuser, second: Fuser, *pictures: np.ndarray, task: str | None = None) -> int:
    """Largest difference of two fusers in levels of 255, from pictures of 16 bits, so that rounding hides nothing."""
    deep = [one.astype(np.uint16) * 257 for one in pictures]
    results = [fuse(*deep, task=task) for fuse in (first, second)]
    largest = [np.abs(one.astype(float) - other.astype(float)).max() / 257 for one, other in zip(*(
        [getattr(result, name) for name in ("fused", "common", "unique1", "unique2")] for result in results))
        if one is not None]
    return max(largest)


@EXPORTS
def test_an_exported_model_gives_the_pictures_of_the_model(blend):
    model, path = blend
    here = Fuser(model, device="cpu", amp="off")
    for change, least, most in ((None, 0, 0.05), (halved, 0, 0.5), (quantised, 0.02, 10)):
        there = Fuser.from_pretrained(path if change is None else changed(path, change))
        for size in SIZES:
            assert least <= apart(here, there, picture(*size, 1), picture(*size, 3, seed=1), task="IVF") < most


@EXPORTS
def test_the_file_says_what_it_is(blend):
    about = OnnxModel(blend[1]).metadata
    assert (about["model"], about["version"], about["precision"], about["divisor"]) == ("Blend", "9", "float32", "16")
    assert json.loads(about["roles"]) == list(ROLES) and json.loads(about["tasks"]) == list(TASKS)


@EXPORTS
def test_half_precision_halves_the_weights(blend):
    sizes = [sum(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(one.data_type)).itemsize * int(np.prod(one.dims))
                 for one in onnx.load(path).graph.initializer) for path in (blend[1], changed(blend[1], halved))]
    assert 0.5 <= sizes[1] / sizes[0] < 0.6


@pytest.mark.parametrize(("words", "message"), [
    (["SaliencePyramid", "out.onnx"], "SaliencePyramid: no such weight file"),
    (["defusionpp_hr", "out.onnx", "--format", "pth"], "--format pth and the ending '.onnx'; give one of them"),
    (["defusionpp_hr", "out.safetensors", "--precision", "int8"], "--precision is for .onnx; leave it out"),
    (["defusionpp_hr", "out.safetensors", "--task", "IVF"], "--task is for .onnx; leave it out")])
def test_wrong_words_of_the_command_are_one_line(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=re.escape(message)):
        main(words)
    assert not any(tmp_path.iterdir())


def test_other_models_are_refused(tmp_path):
    with pytest.raises(UserError, match="Mean cannot be exported to ONNX; give weights of a FusionHead or DeFusionPP"):
        write_onnx(Mean("whole"), tmp_path / "out.onnx", {})
    assert not any(tmp_path.iterdir())


def restless_head() -> FusionHead:
    """A head all of whose parts have an effect."""
    torch.manual_seed(0)
    head = FusionHead(levels=4, widths=(8, 8, 8, 8), choose=True, warm_floor=0.7, keep_light=True)
    for name, weight in head.named_parameters():
        if "answer" in name or "roles" in name or "tasks" in name:
            nn.init.normal_(weight, std=0.3)
    return head.eval()


@EXPORTS
@pytest.mark.slow
def test_a_file_for_one_task_is_smaller_and_gives_the_same(tmp_path):
    head, path = restless_head(), tmp_path / "one.onnx"
    write_onnx(head, path, {}, tasks=["MEF"])
    names = [node.op_type for node in onnx.load(path).graph.node]
    assert "Sigmoid" not in names  # of the rule for warm targets
    assert apart(Fuser(head, device="cpu", amp="off"), Fuser.from_pretrained(path), *scene((75, 89), 3), task="MEF") < 1


def scene(size: tuple[int, int], count: int) -> list[np.ndarray]:
    """Pictures of one scene: smooth, with edges, and a hot spot in the first."""
    rng = np.random.default_rng(count)
    rows, columns = np.mgrid[: size[0], : size[1]]
    spot = 200 * np.exp(-((rows - size[0] / 2) ** 2 + (columns - size[1] / 3) ** 2) / 60)
    waves = 40 * np.sin(rows / 7) * np.cos(columns / 5)
    ground = 60 + waves[..., None] + 20 * rng.standard_normal((*size, 3))
    return [np.clip(ground * (0.6 + 0.4 * number) + (spot[..., None] if number == 0 else 0)
                    + 8 * rng.standard_normal((*size, 3)), 0, 255).astype(np.uint8) for number in range(count)]


@EXPORTS
@pytest.mark.slow
@pytest.mark.parametrize("name", ["restless", "defusionpp_hr", "defusionpp_cud"])
def test_learned_models_give_the_pictures_of_pytorch(name, tmp_path):
    """Five sizes, three tasks, two to four pictures: within one level of 255 everywhere."""
    path = tmp_path / "model.onnx"
    if name == "restless":
        model = restless_head()
        write_onnx(model, path, {})
        here = Fuser(model, device="cpu", amp="off")
    else:
        main([name, str(path)])
        here = Fuser.from_pretrained(name, device="cpu", amp="off")
    there = Fuser.from_pretrained(path)
    for size in SIZES:
        for task in ("IVF", "MEF", "MFF"):
            for count in (2, 3, 4):
                pictures = scene(size, count)
                first = pictures[0][..., :1] if task == "IVF" else pictures[0]
                assert apart(here, there, first, *pictures[1:], task=task) < 1, (size, task, count)
