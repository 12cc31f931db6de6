"""Scores of a segmentation are those counted by hand; pixels without a label do not count."""

import math

import cv2
import numpy as np
import torch

from downstream.colours import class_colours, in_colours
from downstream.scores import SegmentationMeter, draw_confusion

LABEL = torch.tensor([[0, 0, 1, 1], [0, 255, 1, 1]])
FOUND = torch.tensor([[0, 1, 1, 1], [0, 1, 0, 1]])


def test_counts_by_hand():
    meter = SegmentationMeter(3)
    one = meter.add(FOUND, LABEL)
    assert one.confusion.tolist() == [[2, 1, 0], [1, 3, 0], [0, 0, 0]]
    assert math.isclose(one.accuracy, 5 / 7, rel_tol=1e-6)
    torch.testing.assert_close(one.iou, torch.tensor([2 / 4, 3 / 5, math.nan]), equal_nan=True)
    assert math.isclose(one.miou, 0.55, rel_tol=1e-6) and math.isclose(one.miou_foreground, 0.6, rel_tol=1e-6)
    two = meter.add(torch.full((2, 4), 2), LABEL)
    assert two.iou.tolist() == [0, 0, 0] and two.accuracy == 0
    total = meter.scores()
    assert total.confusion.tolist() == [[2, 1, 3], [1, 3, 4], [0, 0, 0]]
    torch.testing.assert_close(total.iou, torch.tensor([2 / 7, 3 / 9, 0.0]))
    assert list(total.numbers(("a", "b", "c"))) == ["mIoU", "mIoU without background", "pixel accuracy", "IoU a",
                                                    "IoU b", "IoU c"]


def test_the_confusion_matrix_is_drawn(tmp_path):
    draw_confusion(torch.tensor([[0, 90], [0, 0]]), ("a", "b"), tmp_path / "confusion.png")
    picture = cv2.imread(str(tmp_path / "confusion.png"))
    rows, columns = np.nonzero((picture == (107, 48, 8)).all(-1))  # the blue of 100 percent
    height, width = picture.shape[:2]
    assert 0.05 < len(rows) / (height * width) < 0.25
    assert rows.max() < 0.6 * height and columns.min() > 0.4 * width, "label a, prediction b: above, at the right"


def test_classes_have_vocs_colours():
    known = {0: [0, 0, 0], 1: [128, 0, 0], 2: [0, 128, 0], 3: [128, 128, 0], 15: [192, 128, 128], 20: [0, 64, 128]}
    assert {i: (class_colours()[i] * 255).tolist() for i in known} == known
    assert len(class_colours().unique(dim=0)) == 256
    assert in_colours(torch.tensor([[[1, 2]]]))[0, :, 0, 1].tolist() == class_colours()[2].tolist()
