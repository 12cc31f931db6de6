"""A detector of every kind is trained by the engine, finds what its pictures show, and is scored as COCO does."""

import json
import math

import numpy as np
import pytest
import torch

from data.boxed import BoxedBatch
from downstream import evaluate
from downstream.__main__ import main
from downstream.detection import DetectionMeter, mirror_some
from downstream.networks import network_from_options
from downstream.sets import scored_set, training_set
from downstream.train import build_loader, build_task
from option.load import dump_options
from tests.downstream.scenes import make_boxes, scene_options
from utils.engine.batches import first_batches
from utils.engine.launch import train
from utils.engine.randomness import Randomness
from utils.errors import UserError
from utils.pictures.writing import write_picture

CPU = torch.device("cpu")
CLASSES = ("warm", "green")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("boxes")
    make_boxes(folder)
    return folder


def options_of(way, root, out, **sections):
    downstream = {"task": "detection", "classes": CLASSES, "input": way, "pretrained": False, "width": 64,
                  **sections.pop("downstream", {})}
    path = {"experiments_root": str(out / "runs"), "results_root": str(out / "results")}
    data = {"label_name": "labels"}
    return scene_options(root, downstream=downstream, path=path, train_data=data, test_data=data, **sections)


def test_it_finds_what_its_pictures_show(root, tmp_path):
    options = options_of("early", root, tmp_path, train={"lr": 3e-3, "epoch": 15}, logger={"save_checkpoint_freq": 15})
    assert train(options, build_task, build_loader).steps == 30
    dump_options(options, tmp_path / "options.yaml")
    evaluate.main(["-opt", str(tmp_path / "options.yaml")])
    scores = json.loads((tmp_path / "results" / "tiny" / "scores.json").read_text())["scores"]
    assert list(scores) == ["mAP", "mAP50", "mAP75", "AP warm", "AP green"]
    assert scores["mAP50"] > 0.1  # 0 without training


@pytest.mark.parametrize("way, freeze", [("picture", False), ("early", False), ("late", False), ("features", False),
                                         ("features", True)])
def test_every_trained_weight_gets_a_gradient(root, tmp_path, way, freeze):
    options = options_of(way, root, tmp_path, downstream={"freeze": freeze})
    task = build_task(options).train()
    loader = build_loader(options, seed=1, rank=0, world=1, device=CPU)
    batch, draws = first_batches(loader, CPU, 1)[0], Randomness(1, CPU).generators
    terms = task(batch, draws)
    assert set(terms) == {"classification", "bbox_regression", "bbox_ctrness", "total_loss"}
    terms["total_loss"].backward()
    trained = {id(weight) for weight in task.trainable()}
    for name, weight in task.model.named_parameters():
        assert id(weight) in trained or weight.grad is None, name
        assert id(weight) not in trained or (weight.grad is not None and weight.grad.isfinite().all()), name
    assert any(".network." in name for name, weight in task.model.named_parameters()
               if id(weight) in trained) == (way == "features" and not freeze)
    shown = task.eval().pictures(batch, draws)
    assert list(shown) == ["label", "prediction"]
    assert all(value.shape == (3, 3, 64, 96) and 0 <= value.min() <= value.max() <= 1 for value in shown.values())


def test_boxes_do_not_get_stuck_at_size_0(root, tmp_path):
    """Where every distance is far below 0 before the last layer, the boxes still learn."""
    options = options_of("picture", root, tmp_path)
    task, loader = build_task(options).train(), build_loader(options, seed=1, rank=0, world=1, device=CPU)
    layer = task.model.fcos.head.regression_head.bbox_reg[0]
    torch.nn.init.constant_(layer.bias, -3)
    task(first_batches(loader, CPU, 1)[0], Randomness(1, CPU).generators)["bbox_regression"].backward()
    assert layer.bias.grad.abs().min() > 0


def test_boxes_shrink_with_their_pictures(root, tmp_path):
    whole = training_set(options_of("picture", root, tmp_path)).read(0)
    small = training_set(options_of("picture", root, tmp_path, downstream={"short_side": 32})).read(0)
    assert small.pictures.shape == (3, 32, 48) and whole.pictures.shape == (3, 64, 96)
    torch.testing.assert_close(small.corners, whole.corners / 2)
    assert torch.equal(small.classes, whole.classes)


def test_a_mirrored_scene_keeps_its_boxes_on_its_objects():
    """Each box is white on black; other sizes and numbers of boxes fill the batch up."""
    pictures = torch.zeros(2, 3, 20, 30, dtype=torch.uint8)
    pictures[0, :, 2:8, 3:10] = pictures[0, :, 12:15, 20:29] = pictures[1, :, 4:9, 1:6] = 255
    corners = torch.tensor([[[3, 2, 10, 8], [20, 12, 29, 15]], [[1, 4, 6, 9], [0, 0, 0, 0]]]).float()
    batch = BoxedBatch(pictures.repeat(16, 1, 1, 1), corners.repeat(16, 1, 1), torch.tensor([[0, 1], [1, -1]] * 16),
                       torch.tensor([[20, 30], [16, 24]] * 16))
    seen, targets = mirror_some(batch, torch.Generator().manual_seed(0))
    lefts = set()
    for picture, target, (h, w) in zip(seen, targets, batch.sizes.tolist()):
        drawn = torch.zeros(h, w)
        for left, top, right, bottom in target["boxes"].long().tolist():
            drawn[top:bottom, left:right] = 1
        assert all(torch.equal(channel, drawn) for channel in picture)
        assert target["labels"].tolist() == ([0, 1] if h == 20 else [1])
        lefts.add((h, target["boxes"][0, 0].item()))
    assert lefts == {(20, 3), (20, 20), (16, 1), (16, 18)}, "some are mirrored, some are not"


def test_precision_by_hand():
    """One class found exactly; of the other, two objects of which one is found, at an overlap of 0.62."""
    meter = DetectionMeter(("a", "b", "c"))
    meter.add({"boxes": torch.tensor([[0, 0, 10, 10], [20, 0, 26.2, 10]]).float(), "scores": torch.tensor([0.9, 0.8]),
               "labels": torch.tensor([0, 1])},
              {"boxes": torch.tensor([[0, 0, 10, 10], [20, 0, 30, 10], [50, 50, 60, 60]]).float(),
               "labels": torch.tensor([0, 1, 1])})
    numbers = meter.numbers()
    half = 51 / 101  # recall 0 to .5 of COCO's 101 places
    assert numbers["mAP50"] == pytest.approx((1 + half) / 2, abs=1e-6)
    assert numbers["mAP75"] == pytest.approx(0.5, abs=1e-6)
    assert numbers["AP a"] == pytest.approx(1) and numbers["AP b"] == pytest.approx(half * 3 / 10, abs=1e-6)
    assert math.isnan(numbers["AP c"])


def test_bad_boxes_stop_a_run_before_it_starts(tmp_path):
    make_boxes(tmp_path)
    (tmp_path / "labels" / "0.txt").write_text("5 .5 .5 .1 .1")
    (tmp_path / "labels" / "1.txt").unlink()
    (tmp_path / "labels" / "2.txt").write_text("0 .5 .5 1.5 .1")
    write_picture(tmp_path / "vi" / "3.png", np.zeros((64, 95), np.uint8))
    options = options_of("early", tmp_path, tmp_path)
    dump_options(options, tmp_path / "options.yaml")
    with pytest.raises(UserError) as caught:
        main(["train", "-opt", str(tmp_path / "options.yaml")])
    _, *lines = str(caught.value).splitlines()
    assert lines[0] == f"1: no label of that stem in {tmp_path / 'labels'}"
    assert lines[1].startswith(f"{tmp_path / 'labels' / '0.txt'}, line 1: class 5 is none of the 2 classes")
    assert lines[2].startswith(f"{tmp_path / 'labels' / '2.txt'}, line 1: the box from (-24, 28.8) to (120, 35.2) is")
    assert lines[3] == (f"{tmp_path / 'ir' / '3.png'} and {tmp_path / 'vi' / '3.png'} differ in size; register and "
                        "resize the pair first")
    assert len(lines) == 4 and not (tmp_path / "runs" / "tiny").exists()


def test_a_width_that_does_not_fit_is_refused(root, tmp_path):
    with pytest.raises(UserError, match=r"downstream\.width: 16; a detector needs a multiple of 32"):
        network_from_options(options_of("early", root, tmp_path, downstream={"width": 16}))


def test_real_boxes_are_good(shared_data, tmp_path):
    root = shared_data / "data" / "test" / "det"
    options = options_of("early", root, tmp_path, downstream={"classes": ("person", "bicycle", "car")})
    scenes = scored_set(options, "test")
    counts = torch.zeros(3, dtype=torch.int64)
    for index in range(len(scenes)):
        counts += torch.from_numpy(scenes.boxes(index, (640, 480)).classes).bincount(minlength=3)
    assert len(scenes) == 40 and counts.tolist() == [145, 17, 56]
