"""A comparison makes each run once, continues where it was stopped, and reports rows with intervals."""

import json
import os

import numpy as np
import pytest
import torch
import yaml
from torchmetrics.detection import MeanAveragePrecision

from downstream import __main__ as downstream
from downstream import compare, drawing
from downstream.records import Record, confusion_of, read_record
from downstream.rows import record_path, runs_of
from downstream.scores import SegmentationMeter
from downstream.statistics import bootstrap_weights, figures_of, parts_of, worst_pictures
from downstream.tallies import DetectionTally, SegmentationTally
from models.weight_files import find_weights
from option.load import OptionError, dump_options, load_options
from option.schema import CompareOptions, Options, RowOptions
from tests.conftest import ROOT
from tests.downstream.scenes import CLASSES, make_boxes, make_scenes, scene_options
from utils.errors import UserError
from utils.locks import FolderLock
from utils.pictures.colour import grey_levels
from utils.pictures.reading import read_picture

ROWS = {"early": {"options": {"downstream.input": "early"}}, "average": {"fuse": "Average"}}


def options_of(root, out, task="segmentation", rows=ROWS, **changes) -> Options:
    data = {"label_name": "labels"} if task == "detection" else {}
    settings = {"task": task, "classes": ("warm", "green") if task == "detection" else CLASSES, "pretrained": False,
                "width": 64 if task == "detection" else 16, "freeze_norms": task == "detection",
                "compare": {"rows": rows, "seeds": [1, 2], "parts": {"odd": "[135]"}, "resamples": 100, "shown": 2,
                            **changes.pop("compare", {})}}
    path = {"experiments_root": str(out / "runs"), "results_root": str(out / "results")}
    return scene_options(root, downstream=settings, path=path, train_data={"cache": "ram", **data}, test_data=data,
                         train={"epoch": 1, **changes})


@pytest.mark.parametrize("task, make, seeds", [("segmentation", make_scenes, [1, 2]), ("detection", make_boxes, [1])])
def test_from_rows_to_a_report(tmp_path, task, make, seeds, monkeypatch):
    """Stopped after its first run, it makes the others alone, all rows with a seed before the next seed."""
    make(tmp_path)
    options = options_of(tmp_path, tmp_path, task, compare={"seeds": seeds})
    dump_options(options, tmp_path / "options.yaml")
    made, whole = [], compare.make_run

    def stop_after_one(options, one, sets):
        if made:
            raise KeyboardInterrupt
        made.append((one.row, one.seed))
        return whole(options, one, sets)

    monkeypatch.setattr(compare, "make_run", stop_after_one)
    with pytest.raises(KeyboardInterrupt):
        compare.main(["-opt", str(tmp_path / "options.yaml")])
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "results" / "tiny" / "runs").glob("*.json")}
    monkeypatch.setattr(compare, "make_run", lambda *given: made.append((given[1].row, given[1].seed)) or whole(*given))
    compare.main(["-opt", str(tmp_path / "options.yaml")])
    assert made == [(row, seed) for seed in seeds for row in ROWS] and len(times) == 1
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert not list((tmp_path / "runs").rglob("*.pt"))
    scores = json.loads((tmp_path / "results" / "tiny" / "scores.json").read_text())
    assert scores["pictures"] == {"all": 6, "odd": 3}
    assert all(list(rows) == list(ROWS) for rows in scores["scores"].values())
    text = (tmp_path / "results" / "tiny" / "report.html").read_text()
    assert text.count("<img ") == 2 * (1 + len(ROWS)) and "http:" not in text and "https:" not in text
    mirror, = (tmp_path / "results" / "fused" / "Average").glob(f"{tmp_path.name}-*")
    assert len(list((mirror / "pictures").iterdir())) == 6
    label = "labels" if task == "detection" else "label"
    assert (mirror / label).resolve() == tmp_path / label


def test_a_run_is_known_by_what_decides_its_scores(tmp_path):
    make_scenes(tmp_path, count=2)
    options = options_of(tmp_path, tmp_path)
    digests = [run.digest for run in runs_of(options)]
    assert len(set(digests)) == 4
    same = options_of(tmp_path, tmp_path, compare={"shown": 5, "seeds": [1, 2, 3]}).model_copy(update={"name": "b"})
    assert [run.digest for run in runs_of(same)][:4] == digests
    longer = options_of(tmp_path, tmp_path, epoch=2)
    assert not set(digests) & {run.digest for run in runs_of(longer)}
    record = tmp_path / "one.json"
    record.write_text(json.dumps({"about": {"digest": digests[0]}, "pictures": {}}))
    assert read_record(record, digests[0]) and read_record(record, digests[1]) is None


@pytest.mark.parametrize("row", [
    {"fuse": "FILE"}, {"options": {"downstream.input": "features", "path.pretrain_model_G": "FILE"}}])
def test_other_weights_are_another_row(tmp_path, row):
    """The checksum of the weights counts, not their name."""
    make_scenes(tmp_path, count=2)
    file = tmp_path / "one.safetensors"
    rows = {"ours": json.loads(json.dumps(row).replace("FILE", str(file)))}
    found = []
    for number, weights in enumerate(("defusionpp_hr", "defusionpp_cud")):
        file.write_bytes(find_weights(weights).read_bytes())
        os.utime(file, (number, number))
        found += runs_of(options_of(tmp_path, tmp_path, rows=rows, compare={"seeds": [1]}))
    before, after = found
    assert before.digest != after.digest
    key = "fuse sha256" if "fuse" in row else "features sha256"
    assert before.origin[key] != after.origin[key]
    assert "fuse" not in row or before.options.dataset.train.picture_root != after.options.dataset.train.picture_root


@pytest.mark.parametrize("rows, message", [
    ({}, r"downstream\.compare\.rows: no rows"),
    ({"a": {"pictures": "no/such"}}, r"rows\.a\.pictures: no folder no/such/train and no/such/test"),
    ({"a": {"fuse": "no_such_weights"}}, r"no_such_weights: no such weight file"),
    ({"a": {"options": {"downstream.inptu": "early"}}}, r"rows\.a: downstream\.inptu: unknown key"),
])
def test_bad_rows_are_named(tmp_path, rows, message):
    with pytest.raises((UserError, OptionError), match=message):
        runs_of(options_of(tmp_path, tmp_path, rows=rows))


def test_bad_sections_are_named():
    with pytest.raises(ValueError, match="baseline 'b' is none of the rows a"):
        CompareOptions(rows={"a": RowOptions()}, baseline="b")
    with pytest.raises(ValueError, match="two sources"):
        RowOptions(fuse="Average", pictures="folder")


def test_bad_labels_stop_a_comparison_before_its_first_run(tmp_path):
    make_scenes(tmp_path)
    (tmp_path / "label" / "3.png").unlink()
    with pytest.raises(UserError, match="3: no label of that stem"):
        compare.make_runs(options_of(tmp_path, tmp_path))
    assert not (tmp_path / "runs").exists() and not (tmp_path / "results").exists()


def test_segmentation_scores_are_those_of_torchmetrics():
    random = np.random.default_rng(0)
    meter, confusions = SegmentationMeter(3), []
    for _ in range(4):
        label = random.choice([0, 1, 255], (20, 30)).astype(np.uint8)
        found = random.integers(0, 2, (20, 30)).astype(np.uint8)
        meter.add(torch.from_numpy(found), torch.from_numpy(label))
        confusions.append(confusion_of(found, label, 3))
    tally = SegmentationTally(np.array(confusions), CLASSES)
    expected = meter.scores().numbers(CLASSES)
    ours = tally.scores(np.ones((1, 4)))
    assert {name: values[0] for name, values in ours.items()} == pytest.approx(expected, nan_ok=True)
    twice = tally.scores(np.array([[2.0, 1, 0, 1]]))
    again = SegmentationTally(np.array(confusions)[[0, 0, 1, 3]], CLASSES).scores(np.ones((1, 4)))
    for name, values in twice.items():
        np.testing.assert_allclose(values, again[name])


def test_detection_scores_are_those_of_coco():
    """Random boxes near the labels, some missed, some found twice; a picture drawn twice counts twice."""
    random = np.random.default_rng(1)
    found, wanted = [], []
    for _ in range(6):
        corners = random.uniform(0, 60, (5, 2))
        corners = np.concatenate([corners, corners + random.uniform(30, 50, (5, 2))], axis=1).astype(np.float32)
        classes = random.integers(0, 2, 5)
        near = np.concatenate([corners[:4] + random.normal(0, 2, (4, 4)), corners[:3] + random.normal(0, 5, (3, 4))])
        found.append({"boxes": near.tolist(), "scores": random.uniform(0, 1, 7).round(4).tolist(),
                      "labels": np.concatenate([classes[:4], classes[:3]]).tolist()})
        wanted.append((corners, classes))

    def of(places):
        meter = MeanAveragePrecision(rec_thresholds=np.linspace(0, 1, 101).tolist())  # its own are of float32
        for place in places:
            corners, classes = wanted[place]
            meter.update([{name: torch.tensor(value) for name, value in found[place].items()}],
                         [{"boxes": torch.from_numpy(corners), "labels": torch.from_numpy(classes)}])
        return meter.compute()

    tally = DetectionTally({str(n): one for n, one in enumerate(found)}, wanted, list("012345"), ("a", "b"))
    ours = tally.scores(np.array([[1.0] * 6, [2, 1, 0, 1, 1, 1]]))
    for row, places in enumerate((range(6), (0, 0, 1, 3, 4, 5))):
        expected = of(places)
        assert ours["mAP"][row] == pytest.approx(float(expected["map"]), abs=1e-6)
        assert ours["mAP50"][row] == pytest.approx(float(expected["map_50"]), abs=1e-6)


def test_recall_at_one_false_alarm_by_hand():
    """Two pictures, so two false boxes are allowed: the third ends the count. 2 of 4 objects are found by then."""
    objects = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float32)
    away = [50, 50, 60, 60]
    found = {"x": {"boxes": [[0, 0, 10, 10], away, away], "scores": [0.9, 0.8, 0.3], "labels": [0, 0, 0]},
             "y": {"boxes": [away, [0, 0, 10, 10], [20, 0, 30, 10]], "scores": [0.7, 0.6, 0.2], "labels": [0, 0, 0]}}
    tally = DetectionTally(found, [(objects, np.zeros(2, int))] * 2, ["x", "y"], ["person"])
    assert tally.scores(np.array([[1.0, 1], [1, 0], [0, 1], [0, 0]]))["recall person"] == pytest.approx(
        [0.5, 0.5, 1, np.nan], nan_ok=True)


class _Fixed:
    """One score for each picture; a weighting gives their mean."""

    def __init__(self, values):
        self.values = np.array(values, float)

    def scores(self, weights):
        return {"score": weights @ self.values / weights.sum(1)}

    def each(self):
        return self.values


def test_paired_bootstrap():
    """A constant gain has an interval of one point, however much the pictures differ; noise has one around 0."""
    random = np.random.default_rng(2)
    base = random.uniform(0, 1, 40)
    noise = random.normal(0, 0.1, 40)
    rows = {"base": {1: _Fixed(base), 2: _Fixed(base + 0.02)}, "gain": {1: _Fixed(base + 0.1), 3: _Fixed(base)},
            "noise": {1: _Fixed(base + noise - noise.mean())}}
    figures = {row: own["score"] for row, own in figures_of(rows, "base", np.ones(40, bool), 2000).items()}
    assert figures["base"].std == pytest.approx(0.02 / 2**0.5) and figures["base"].common == 0
    gain, other = figures["gain"], figures["noise"]
    assert (gain.seeds, gain.common, gain.clear) == (2, 1, 1)
    assert [gain.difference, gain.low, gain.high] == pytest.approx([0.1] * 3)
    half = 1.96 * noise.std() / 40**0.5
    assert other.clear == 0 and [other.low, other.high] == pytest.approx([-half, half], rel=0.1)
    part = figures_of(rows, "base", base > np.median(base), 100)["base"]["score"]
    assert part.mean == pytest.approx(np.sort(base)[20:].mean() + 0.01)
    assert worst_pictures(rows, 3) == np.argsort(base + (noise - noise.mean()) / 5)[:3].tolist()


def test_bootstrap_draws_as_many_pictures_as_there_are():
    weights = bootstrap_weights(7, 50)
    assert weights.shape == (50, 7) and (weights.sum(1) == 7).all() and len(np.unique(weights, axis=0)) > 40
    assert np.array_equal(weights, bootstrap_weights(7, 50))
    assert list(parts_of(["1D", "2N"], {"night": "*N", "dusk": "*X"})) == ["all", "night"]


def test_a_run_of_another_process_is_left_to_it(tmp_path, monkeypatch):
    make_scenes(tmp_path, count=2)
    options = options_of(tmp_path, tmp_path, compare={"seeds": [1]})
    made, record = [], Record({"seconds": 0}, {})
    monkeypatch.setattr(compare, "make_run", lambda options, one, sets: made.append(one.row) or record)
    with FolderLock(record_path(options, runs_of(options)[0]).with_suffix("")):
        compare.make_runs(options)
    assert made == ["average"]


def test_the_mirror_command(tmp_path):
    make_scenes(tmp_path, count=2)
    file, out = tmp_path / "options.yaml", tmp_path / "out"
    dump_options(options_of(tmp_path, tmp_path), file)
    downstream.main(["mirror", "-opt", str(file), "--fuse", "Average", "-o", str(out)])
    for part in ("train", "test"):
        fused = read_picture(out / part / "pictures" / "0.png").pixels
        assert (out / part / "label" / "0.png").is_file()
        grey = [grey_levels(read_picture(tmp_path / name / "0.png").pixels).astype(float) for name in ("ir", "vi")]
        assert abs(grey_levels(fused) - np.mean(grey, axis=0)).max() <= 2


def test_the_documented_options_are_valid():
    """The ten lines for own data, and the shipped files."""
    text = (ROOT / "docs" / "DOWNSTREAM.md").read_text(encoding="utf-8")
    own = Options.model_validate(yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0]))
    assert [run.row for run in runs_of(own)] == ["visible", "infrared", "fused"] * 3
    for task, rows in (("Seg", 13), ("Det", 12)):
        assert len(runs_of(load_options(f"option/downstream/Compare_{task}_MSRS.yaml"))) == 5 * rows


def test_boxes_have_the_colours_of_the_legend():
    seen = np.full((60, 80, 3), 128, np.uint8)
    found = {"boxes": [[10, 30, 30, 50], [50, 30, 70, 50], [0, 0, 80, 60]], "labels": [0, 1, 1],
             "scores": [0.9, 0.5, 0.1]}
    drawn = drawing._with_boxes(seen, found, ("a", "b"))
    for (_, colour), (left, top) in zip(drawing.legend_of(("a", "b"), boxes=True), ((10, 50), (50, 50))):
        assert "#" + bytes(drawn[top, left]).hex() == colour
    assert (drawn[:, 0] == 128).all(), "weak boxes are not drawn"
    ids = np.zeros((60, 80), np.uint8)
    ids[:30] = 1
    coloured = drawing._coloured(seen, ids)
    assert np.array_equal(coloured[30:], seen[30:])
    _, colour = drawing.legend_of(("a", "b"), boxes=False)[1]
    np.testing.assert_allclose(coloured[0, 0], 0.4 * 128 + 0.6 * np.array(list(bytes.fromhex(colour[1:]))), atol=1)
