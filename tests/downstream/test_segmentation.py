"""A segmenter of every kind is trained by the engine, learns what its pictures show, and is scored."""

import json

import cv2
import numpy as np
import pytest
import torch

from data.labelled import LabelledBatch
from downstream import evaluate
from downstream.__main__ import main
from downstream.networks import network_from_options
from downstream.sets import scored_set, training_set
from downstream.task import SegmentationTask
from downstream.train import build_loader, build_task, build_validation
from option.load import dump_options
from option.schema import Options
from option.sections_downstream import MSRS_CLASSES
from tests.conftest import ROOT
from tests.downstream.scenes import CLASSES, make_scenes, scene_options
from utils.engine.batches import first_batches
from utils.engine.launch import train
from utils.engine.optimisation import Schedule, build_optimizer
from utils.engine.randomness import Randomness
from utils.errors import UserError
from utils.pictures.writing import write_picture

CPU = torch.device("cpu")
WAYS = ("picture", "early", "late", "features")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    make_scenes(folder)
    return folder


def options_of(way: str, root, out, **sections) -> Options:
    downstream = {"input": way, "pretrained": False, **sections.pop("downstream", {})}
    path = {"experiments_root": str(out / "runs"), "results_root": str(out / "results"), **sections.pop("path", {})}
    return scene_options(root, downstream=downstream, path=path, **sections)


def scored(options: Options, out) -> dict:
    """What ``python -m downstream.evaluate`` writes."""
    dump_options(options, out / "options.yaml")
    evaluate.main(["-opt", str(out / "options.yaml")])
    return json.loads((out / "results" / "tiny" / "scores.json").read_text())


@pytest.mark.parametrize("way, warm", [("picture", False), ("early", True)])
def test_it_learns_what_its_pictures_show(root, tmp_path, way, warm):
    """The green class is seen by both; the warm one by the pair alone."""
    options = options_of(way, root, tmp_path, train={"lr": 1e-2, "epoch": 24}, logger={"save_checkpoint_freq": 24})
    assert train(options, build_task, build_loader).steps == 48
    found = scored(options, tmp_path)
    scores, confusion = found["scores"], np.array(found["confusion"])
    assert scores["IoU green"] > 0.4 and (scores["IoU warm"] > 0.4) == warm and scores["IoU warm"] < 1
    assert confusion.sum() == 6 * 40 * 56
    assert scores["pixel accuracy"] == pytest.approx(confusion.trace() / confusion.sum())
    assert set(found["pictures"]) == set("012345") and all(row.keys() == scores.keys()
                                                           for row in found["pictures"].values())
    assert cv2.imread(str(tmp_path / "results" / "tiny" / "confusion.png")) is not None


@pytest.mark.parametrize("way", ["late", "features"])
def test_a_run_is_scored_with_its_last_weights(root, tmp_path, way):
    """Scores after the run are those that validation gave at its end, with the moving average."""
    options = options_of(way, root, tmp_path, train={"epoch": 1, "val_freq": 1, "ema": 0.5})
    data = options.dataset
    options = options.model_copy(update={"dataset": data.model_copy(update={"val": data.test})})
    train(options, build_task, build_loader, build_validation)
    lines = (tmp_path / "runs" / "tiny" / "history.jsonl").read_text().splitlines()
    last = next(line for line in map(json.loads, reversed(lines)) if line["kind"] == "val")
    scores = scored(options, tmp_path)["scores"]
    assert {name: last[name] for name in scores} == pytest.approx(scores)


@pytest.mark.parametrize("way, freeze", [*((way, False) for way in WAYS), ("features", True)])
def test_every_trained_weight_gets_a_gradient_from_every_picture(root, tmp_path, way, freeze):
    options = options_of(way, root, tmp_path, downstream={"freeze": freeze})
    task = build_task(options).train()
    if freeze:
        assert not any(module.training for module in task.model.maps[0].network.modules())
    loader = build_loader(options, seed=1, run_dir=None, rank=0, world=1, device=CPU)
    batch = first_batches(loader, CPU, 1)[0]
    task(batch, Randomness(1, CPU).generators)["total_loss"].backward()
    trained = {id(weight) for weight in task.trainable()}
    for name, weight in task.model.named_parameters():
        assert (weight.grad is not None) == (id(weight) in trained), name
        assert id(weight) not in trained or weight.grad.isfinite().all()
    assert any(".network." in name for name, weight in task.model.named_parameters()
               if id(weight) in trained) == (way == "features" and not freeze)
    x, model = torch.rand(1, 3 if way == "picture" else 6, 40, 56), task.model.eval()
    with torch.no_grad():
        logits = model(x)
        assert logits.shape == (1, 3, 40, 56)
        for start in range(0, x.shape[1], 3):
            for part in (slice(None), slice(-4, None)):  # all columns, and those that fill no patch of 16
                changed = x.clone()
                changed[:, start:start + 3, :, part] = 1 - x[:, start:start + 3, :, part]
                assert not torch.equal(model(changed), logits)


def test_an_unlabelled_batch_costs_nothing(root, tmp_path):
    task = build_task(options_of("picture", root, tmp_path))
    loader = build_loader(options_of("picture", root, tmp_path), seed=1, rank=0, world=1, device=CPU)
    batch = first_batches(loader, CPU, 1)[0]
    batch.labels.fill_(255)
    assert task(batch, Randomness(1, CPU).generators)["total_loss"] == 0


def test_pixels_without_a_label_do_not_train():
    class Fixed(torch.nn.Module):
        """Class 1 with odds of e to 1, everywhere."""

        def forward(self, x):
            return torch.stack([torch.zeros_like(x[:, 0]), torch.ones_like(x[:, 0])], dim=1)

    labels = torch.ones(2, 1, 32, 32, dtype=torch.uint8)
    labels[:, :, ::2] = 255
    batch = LabelledBatch(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), labels, torch.full((2, 2), 32))
    loss = SegmentationTask(Fixed(), 32)(batch, Randomness(1, CPU).generators)["total_loss"]
    assert loss.item() == pytest.approx(np.log(1 + np.exp(-1)), rel=1e-5)


def test_pictures_to_look_at(root, tmp_path):
    options = options_of("early", root, tmp_path)
    loader = build_loader(options, seed=1, rank=0, world=1, device=CPU)
    shown = build_task(options).eval().pictures(first_batches(loader, CPU, 1)[0], Randomness(1, CPU).generators)
    assert list(shown) == ["input 1", "input 2", "label", "prediction"]
    assert all(value.shape == (3, 3, 32, 32) and 0 <= value.min() <= value.max() <= 1 for value in shown.values())


def test_infrared_alone_by_its_folder(root, tmp_path):
    data = {"picture_root": str(root / "ir")}
    options = options_of("picture", root, tmp_path, train_data=data, test_data=data)
    for scenes in (training_set(options), scored_set(options, "test")):
        assert scenes.roles == ["infrared"] and {scene.pictures[0].parent for scene in scenes.scenes} == {root / "ir"}


def test_a_list_chooses_scenes(root, tmp_path):
    (tmp_path / "list.txt").write_text("1\n4.png\n")
    options = options_of("early", root, tmp_path, train_data={"irvis_trainpairs": str(tmp_path / "list.txt")})
    assert [scene.stem for scene in training_set(options).scenes] == ["1", "4"]


def test_a_list_chooses_test_scenes(root, tmp_path):
    (tmp_path / "list.txt").write_text("2.png\n5\n")
    options = options_of("early", root, tmp_path, test_data={"pairs": str(tmp_path / "list.txt")})
    assert [scene.stem for scene in scored_set(options, "test").scenes] == ["2", "5"]
    options = options_of("early", root, tmp_path, test_data={"pairs": str(tmp_path / "none.txt")})
    with pytest.raises(UserError, match=r"dataset\.test\.pairs: no list .*none\.txt"):
        scored_set(options, "test")


def test_shrunk_pictures_are_scored_at_the_size_of_the_labels(root, tmp_path):
    scenes = scored_set(options_of("picture", root, tmp_path, downstream={"short_side": 32}), "test")
    sizes = []

    class Upper(torch.nn.Module):
        """Class 0 in the upper half, class 2 below."""

        def forward(self, x):
            sizes.append(tuple(x.shape[2:]))
            lower = (torch.arange(x.shape[2]) >= x.shape[2] // 2).float()[:, None].expand(1, x.shape[2], x.shape[3])
            return torch.stack([1 - lower, torch.full_like(lower, -1), lower], dim=1)

    total, _ = evaluate.score(Upper(), scenes, 3, CPU, silent=True)
    assert set(sizes) == {(32, 45)}
    assert total.confusion.sum() == 6 * 40 * 56 and total.confusion[:, 2].sum() == total.confusion.sum() / 2


@pytest.mark.parametrize("change, message", [
    ({"model": "Average"}, r"model: Average has no features of a pair; give DeFusionPP"),
    ({"network_G": {"depth": 3}}, r"network_G\.depth: 3 blocks; the head takes the lists 3, 5, 7 of the encoder"),
])
def test_models_without_features_are_refused(root, tmp_path, change, message):
    options = options_of("features", root, tmp_path)
    network = options.network_G.model_copy(update=change.pop("network_G", {}))
    with pytest.raises(UserError, match=message):
        network_from_options(options.model_copy(update={**change, "network_G": network}))


def test_missing_keys_are_named(root, tmp_path):
    with pytest.raises(UserError, match=r"dataset\.test: label_name missing; labelled scenes need dataroot,"):
        scored_set(options_of("early", root, tmp_path, test_data={"label_name": None}), "test")


def test_a_checkpoint_of_another_network_is_refused(root, tmp_path):
    options = options_of("picture", root, tmp_path, train={"epoch": 1})
    with pytest.raises(UserError, match=r"no checkpoint in .*; train first"):
        evaluate.trained_network(options)
    train(options, build_task, build_loader)
    with pytest.raises(UserError, match=r"\.pt: is of another network"):
        evaluate.trained_network(options_of("late", root, tmp_path))


def test_bad_labels_stop_a_run_before_it_starts(tmp_path):
    make_scenes(tmp_path, count=3)
    (tmp_path / "label" / "1.png").unlink()
    options = options_of("early", tmp_path, tmp_path, downstream={"classes": CLASSES[:2]})
    dump_options(options, tmp_path / "options.yaml")
    with pytest.raises(UserError) as caught:
        main(["train", "-opt", str(tmp_path / "options.yaml")])
    heading, *lines = str(caught.value).splitlines()
    assert heading == (f"{tmp_path / 'options.yaml'}: dataset.train: 3 files cannot be used; mend them or take them "
                       "out:")
    assert [line.partition(":")[0] for line in lines] == ["1", *(str(tmp_path / "label" / f"{n}.png") for n in (0, 2))]
    assert not (tmp_path / "runs" / "tiny").exists()


def test_the_documented_lines_run():
    text = (ROOT / "docs" / "DOWNSTREAM.md").read_text(encoding="utf-8")
    names: dict = {}
    exec(text.partition("```python\n")[2].partition("```")[0], names)
    assert names["features"].fused.shape == (1, 24, 192) and names["features"].grid == (4, 6)
    assert [level.shape[2:] for level in names["maps"]] == [(16, 24), (8, 12), (4, 6), (2, 3)]


def test_real_labels_are_good(shared_data):
    root = shared_data / "data" / "dev" / "msrs"
    data = {"irvis_dataroot": str(root)}
    options = scene_options(root, train_data=data, downstream={"classes": MSRS_CLASSES, "input": "early"}, path={})
    assert len(training_set(options)) == 120


def test_the_head_has_a_learning_rate_of_its_own(root, tmp_path):
    for way in WAYS:
        options = options_of(way, root, tmp_path, downstream={"head_rate": 10}, train={"warmup_epochs": 0})
        task = build_task(options)
        optimizer = build_optimizer(task.trainable(), options.train, 1e-3)
        Schedule(optimizer, options.train, 1e-3, 2.0).set(0.0)
        rates = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
        for name, weight in task.model.named_parameters():
            if id(weight) in rates:
                starts = ".body." in name or ".network." in name
                assert rates[id(weight)] == pytest.approx(1e-3 if starts else 1e-2), name


def test_class_weights_by_hand():
    """Class 1 has odds of e to 1 everywhere; half of the pixels are of each class, and class 0 counts three times."""
    class Fixed(torch.nn.Module):
        def forward(self, x):
            return torch.stack([torch.zeros_like(x[:, 0]), torch.ones_like(x[:, 0])], dim=1)

    labels = torch.ones(2, 1, 32, 32, dtype=torch.uint8)
    labels[:, :, :16] = 0
    labels[:, :, :, ::2] = 255
    batch = LabelledBatch(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), labels, torch.full((2, 2), 32))
    task = SegmentationTask(Fixed(), 32, (3.0, 1.0))
    _, ids = task.crop(batch, Randomness(1, CPU).generators)
    share = float((ids == 0).sum() * 3 / ((ids == 0).sum() * 3 + (ids == 1).sum()))
    loss = task(batch, Randomness(1, CPU).generators)["total_loss"]
    assert loss.item() == pytest.approx(np.log(1 + np.e) * share + np.log(1 + np.exp(-1)) * (1 - share), rel=1e-5)


def test_frozen_norms_keep_their_statistics(root, tmp_path):
    for way in ("picture", "late"):
        options = options_of(way, root, tmp_path, downstream={"freeze_norms": True})
        task = build_task(options).train()
        before = {name: value.clone() for name, value in task.model.named_buffers()}
        batch = first_batches(build_loader(options, seed=1, rank=0, world=1, device=CPU), CPU, 1)[0]
        task(batch, Randomness(1, CPU).generators)
        assert before and all(torch.equal(value, before[name]) for name, value in task.model.named_buffers())


def test_the_documented_lines_split_mfnet(tmp_path, monkeypatch):
    """A file of four channels becomes a visible and an infrared picture, which train with MFNet's labels and lists."""
    text = (ROOT / "docs" / "DATA.md").read_text(encoding="utf-8")
    lines, = (block for block in text.split("```python\n")[1:] if "MFNet/images" in block)
    root = tmp_path / "MFNet"
    (root / "images").mkdir(parents=True)
    four = np.random.default_rng(0).integers(0, 256, (40, 56, 4), np.uint8)
    for name in ("1D", "2N"):
        cv2.imwrite(str(root / "images" / f"{name}.png"), four)
        write_picture(root / "labels" / f"{name}.png", np.ones((40, 56), np.uint8))
    (root / "train.txt").write_text("2N\n")
    monkeypatch.chdir(tmp_path)
    exec(lines.partition("```")[0], {})
    data = {"visible_name": "vi", "infrare_name": "ir", "label_name": "labels",
            "irvis_trainpairs": str(root / "train.txt")}
    scene, = (scenes := training_set(options_of("early", root, tmp_path, train_data=data))).scenes
    assert scene.stem == "2N"
    expected = np.concatenate([four[..., 3:].repeat(3, axis=2), four[..., 2::-1]], axis=2)
    assert np.array_equal(scenes.read(0).pictures.numpy().transpose(1, 2, 0), expected)
