"""Scores from the worker pool equal those of a plain call; files are paired by name; ranks follow the direction."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from metrics import COMMON, compute
from metrics.__main__ import main
from metrics.evaluate import Scorer, comparison_of, score_folders
from metrics.folders import Method, find_results, find_scenes, find_sources, name_methods, with_truths
from metrics.ranking import Comparison, file_name, rank
from metrics.scores import Scores
from tests.metrics.scenes import texture, write_set
from utils.errors import MissingFileError, UserError
from utils.pictures.depth import to_8_bit
from utils.pictures.pairs import PairList, PairPaths, load_pair
from utils.pictures.reading import ReadingRule, read_grey_or_rgb

ROOT = Path(__file__).resolve().parent.parent.parent


def test_scorer_gives_what_compute_gives():
    triples = {f"p{k}": (texture(k), texture(k + 50), texture(k + 90)) for k in range(5)}
    with Scorer(COMMON, workers=1) as scorer:
        for number, (stem, triple) in enumerate(triples.items()):
            scorer.submit(stem, *triple, seconds=number)
        scores = scorer.collect()
    assert scores.stems == tuple(triples)
    assert scores.values == {stem: compute(COMMON, *triple) for stem, triple in triples.items()}
    assert scores.seconds["p3"] == 3.0 and scores.sizes["p0"] == (80, 60) and not scores.problems


def test_workers_do_not_import_the_callers_script(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nsys.path.insert(0, sys.argv[1])\nopen(sys.argv[2], 'a').write('x')\n"
        "import numpy as np\nfrom metrics.evaluate import Scorer\n"
        "picture = np.random.default_rng(0).integers(0, 256, (50, 50), dtype=np.uint8)\n"
        "scorer = Scorer(['EN'])\nscorer.submit('a', picture, picture, picture)\n"
        "print(scorer.collect().values['a']['EN'] > 7)\n")
    marks = tmp_path / "marks"
    done = subprocess.run([sys.executable, script, ROOT, marks], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "True", done.stderr
    assert marks.read_text() == "x"


def test_many_more_pairs_than_the_queue_holds():
    picture = texture(1, (20, 20))
    with Scorer(["EN"], workers=1) as scorer:
        for number in range(40):
            scorer.submit(str(number), picture, picture, picture)
        assert len(scorer.collect().values) == 40


def test_files_and_deep_pictures_score_as_their_arrays(tmp_path):
    a, b, f = texture(1), texture(2), texture(3)
    deep = f.astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "f.tif"), deep)
    with Scorer(["EN", "MI"], workers=0) as scorer:
        scorer.submit("plain", a, b, f)
        scorer.submit("deep", a, b, deep[..., None])
        scorer.submit("file", a, b, tmp_path / "f.tif")
        values = scorer.collect().values
    assert values["plain"] == values["deep"] == values["file"]


def test_what_cannot_be_scored_is_told_and_stops_nothing(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    a = texture(1)
    with Scorer(["EN"], workers=0) as scorer:
        scorer.submit("good", a, a, a)
        scorer.submit("size", a, a, a[:-1])
        scorer.submit("broken", a, a, tmp_path / "broken.png")
        with pytest.raises(ValueError, match="own stem"):
            scorer.submit("good", a, a, a)
        scores = scorer.collect()
    assert scores.stems == ("good",)
    assert "80 x 60, 80 x 60, 80 x 59" in scores.problems[0] and "broken.png" in scores.problems[1]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_score_that_fails_costs_only_itself(workers):
    a = texture(1)
    with Scorer(["EN"], workers=workers) as scorer:
        for stem, pixels in (("good", a), ("bad", object()), ("dropped", a), ("last", a)):
            scorer.submit(stem, a, a, pixels)
        scores = scorer.collect(without={"dropped"})
    assert scores.stems == ("good", "last")
    assert len(scores.problems) == 1 and scores.problems[0].startswith("bad: not scored (")


def test_a_killed_worker_costs_its_pairs_alone():
    """As the system does when the memory is full."""
    a = texture(1)
    with Scorer(["EN"], workers=1) as scorer:
        scorer.submit("before", a, a, a)
        scorer._futures["before"].result()
        os.kill(next(iter(scorer._pool._executor._processes)), signal.SIGKILL)
        while not scorer._pool._executor._broken:
            time.sleep(0.01)
        scorer.submit("after", a, a, a)
        scores = scorer.collect()
    assert scores.stems == ("before",)
    assert scores.problems == ("after: not scored: the scoring process was killed",)


def test_unknown_metric_stops_before_any_work():
    with pytest.raises(UserError, match="SSIM"):
        Scorer(["SSIN"])
    with pytest.raises(UserError, match="ground truth"):
        Scorer(["PSNR_truth"])


def test_mean_and_spread_leave_out_what_is_not_defined():
    scores = Scores(("X", "Y"), {"a": {"X": 1.0, "Y": math.nan}, "b": {"X": 2.0, "Y": 5.0}, "c": {"X": 6.0, "Y": 7.0}})
    assert scores.mean() == {"X": 3.0, "Y": 6.0}
    assert scores.std()["X"] == pytest.approx(np.std([1, 2, 6], ddof=1))
    assert math.isnan(Scores(("X",), {"a": {"X": 1.0}}).std()["X"])


def test_files_say_how_they_were_made(tmp_path):
    scores = Scores(("X",), {"a": {"X": 1.0}, "b": {"X": math.nan}}, {"a": 0.5}, {"a": (4, 3), "b": (4, 3)})
    scores.write_csv(tmp_path / "s.csv", {"version": "1.0", "definitions": {"X": "X@Lab"}})
    scores.write_json(tmp_path / "s.json", {"version": "1.0"})
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert lines[:2] == ["# version: 1.0", "# definitions: X = X@Lab"]
    rows = list(csv.DictReader(lines[2:]))
    assert [row["stem"] for row in rows] == ["a", "b", "mean", "std"]
    assert rows[0]["X"] == "1" and rows[1]["X"] == "" and rows[2]["X"] == "1" and rows[0]["seconds"] == "0.5"
    content = json.loads((tmp_path / "s.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    assert content["provenance"]["version"] == "1.0" and content["pairs"]["b"]["scores"]["X"] is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.csv", "s.json"]


@pytest.mark.parametrize(("values", "better", "expected"), [
    ([1, 3, 2], "higher", [3, 1, 2]),
    ([1, 3, 2], "lower", [1, 3, 2]),
    ([-0.1, 0.05, 0.3], "nearest0", [2, 1, 3]),
    ([2, 2, 1], "higher", [1.5, 1.5, 3]),
    ([0.1 + 0.2, 0.3, 1], "lower", [1.5, 1.5, 3]),
    ([7, math.inf, 5], "higher", [2, 1, 3]),
    ([math.inf, math.inf, 5], "lower", [2.5, 2.5, 1]),
])
def test_rank(values, better, expected):
    assert rank(values, better) == expected


def test_rank_names_the_directions():
    with pytest.raises(ValueError, match="nearest0"):
        rank([1.0], "up")
    with pytest.raises(ValueError, match="NaN has no rank"):
        rank([1.0, math.nan], "higher")


def test_sources_pair_by_stem_and_strangers_are_listed(tmp_path):
    for name in ("a/x.png", "a/y.jpg", "a/only.png", "b/y.bmp", "b/x.tif", "b/other.png", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_sources(tmp_path / "a", tmp_path / "b")
    assert [(pair.stem, pair.first.name, pair.second.name) for pair in found.pairs] == [
        ("x", "x.png", "x.tif"), ("y", "y.jpg", "y.bmp")]
    assert len(found.problems) == 2 and "only.png" in found.problems[0] and "other.png" in found.problems[1]
    (tmp_path / "a" / "x.jpg").touch()
    found = find_sources(tmp_path / "a", tmp_path / "b")
    assert [pair.stem for pair in found.pairs] == ["y"] and "stem x is there more than once" in found.problems[0]
    with pytest.raises(MissingFileError, match="nowhere"):
        find_sources(tmp_path / "nowhere", tmp_path / "b")


def test_a_result_is_found_by_its_stem(tmp_path):
    folder = tmp_path / "Net"
    folder.mkdir()
    for name in ("a.png", "a_common.png", "b_recover.png", "b_upper.png", "c_NET.jpg", "net_d.png", "e10.png"):
        (folder / name).touch()
    found = find_results(Method("Net", folder), ["a", "b", "c", "d", "e1"])
    assert {stem: path.name for stem, path in found.pictures.items()} == {
        "a": "a.png", "b": "b_recover.png", "c": "c_NET.jpg", "d": "net_d.png"}
    assert found.missing == ("e1",)


def test_methods_take_the_name_of_the_run(tmp_path):
    for name in ("one", "two/test_images", "other/one"):
        (tmp_path / name).mkdir(parents=True)
    methods = name_methods([tmp_path / "one", tmp_path / "two" / "test_images", f"mine={tmp_path / 'other' / 'one'}"])
    assert [method.name for method in methods] == ["one", "two", "mine"]
    with pytest.raises(UserError, match="two methods are called one"):
        name_methods([tmp_path / "one", tmp_path / "other" / "one"])


def test_scenes_are_what_test_py_reads(tmp_path):
    """Scenes of two without a layout; scenes of more, flat files and ground truths by its rules."""
    for name, level in (("s1/over", 200), ("s1/under", 20), ("s2/b", 20), ("s2/a", 200), ("s3/1", 50), ("s3/2", 200),
                        ("s3/3", 20), ("s4/ground_truth", 90), ("s4/near", 9), ("s4/zfar", 9), ("road_ir", 9),
                        ("road_vi", 9)):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "set" / f"{name}.png"), np.full((20, 20), level, np.uint8))

    def pairs(layout):
        found = find_scenes(tmp_path / "set", layout)
        return {pair.stem: f"{pair.first.stem} {pair.second.stem}" for pair in found.pairs}, found

    by_name, found = pairs(None)
    assert by_name == {"s1": "over under", "s2": "a b", "s4": "near zfar", "road": "road_ir road_vi"}
    assert "s3: two pictures are needed, there are 1.png, 2.png, 3.png; name the layout" in found.problems[0]
    assert [pair.truth and pair.truth.stem for pair in found.pairs] == [None, None, None, "ground_truth"]
    assert pairs("MEF")[0] == by_name | {"s3": "2 3", "road": "road_vi road_ir"} | {"s4": "zfar near"}
    assert pairs("MFF")[0] == by_name | {"s3": "1 3"}
    assert pairs("IVF")[0] == {"road": "road_ir road_vi"}


def test_a_run_folder_is_both_sources_and_results(tmp_path):
    run = tmp_path / "run7"
    (run / "test_images").mkdir(parents=True)
    (run / "contact_sheet.png").touch()
    for part in ("over", "under", "recover", "common", "upper", "lower"):
        (run / "test_images" / f"my_scene_{part}.png").touch()
    found = find_scenes(run)
    assert [(pair.stem, pair.first.name, pair.second.name) for pair in found.pairs] == [
        ("my_scene", "my_scene_over.png", "my_scene_under.png")]
    for argument, name in ((run, "run7"), (f"Ours={run}", "Ours"), (run / "test_images", "run7")):
        method = find_results(name_methods([argument])[0], ["my_scene"])
        assert method.name == name and method.pictures["my_scene"].name == "my_scene_recover.png"
    (run / "test_images" / "my_scene_under.png").unlink()
    with pytest.raises(UserError, match=r"run7: this run kept no inputs \(save.inputs\)"):
        find_scenes(run)


def test_a_double_stem_costs_its_own_pair(tmp_path):
    sources, methods = write_set(tmp_path)
    (tmp_path / "Mean" / "scene1.jpg").touch()
    result = score_folders(sources, methods, ["EN"], workers=0)
    assert result.scores["Mean"].stems == ("scene0", "scene2")
    assert any("Mean: two pictures of one stem" in line and "scene1.jpg" in line for line in result.problems())


def test_truths_are_found_by_stem_and_scored(tmp_path):
    sources, methods = write_set(tmp_path)
    (tmp_path / "truth").mkdir()
    cv2.imwrite(str(tmp_path / "truth" / "scene0.png"), cv2.imread(str(tmp_path / "Mean" / "scene0.png")))
    cv2.imwrite(str(tmp_path / "truth" / "scene1_gt.png"), texture(5))
    sources = with_truths(sources, tmp_path / "truth")
    assert sources.problems == [f"no ground truth for scene2; in {tmp_path / 'truth'}"]
    result = score_folders(sources, methods, ["PSNR_truth", "EN"], workers=0)
    assert result.scores["Mean"].values["scene0"]["PSNR_truth"] == math.inf
    expected = compute(["PSNR_truth"], *3 * [cv2.imread(str(tmp_path / "Mean" / "scene1.png"), 0)], truth=texture(5))
    assert result.scores["Mean"].values["scene1"]["PSNR_truth"] == expected["PSNR_truth"]
    assert math.isnan(result.scores["Mean"].values["scene2"]["PSNR_truth"])
    assert result.shared["PSNR_truth"] == ("scene0", "scene1") and result.ranks()["Mean"]["PSNR_truth"] == 1
    with pytest.raises(UserError, match="no ground truth has the name of a pair"):
        with_truths(find_sources(tmp_path / "ir", tmp_path / "vi"), Path(__file__).parent)
    with pytest.raises(UserError, match="need a ground truth"):
        score_folders(find_sources(tmp_path / "ir", tmp_path / "vi"), methods, ["PSNR_truth"], workers=0)


def test_pictures_are_read_as_for_fusing(tmp_path):
    """The ranges of the sources and an EXIF turn count, and half a file is no picture."""
    image = pytest.importorskip("PIL.Image")
    for folder, pixels in (("ir", texture(1).astype(np.uint16) * 16), ("vi", texture(2).astype(np.uint16) * 9),
                           ("Ours", texture(3))):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "a.png"), pixels)
    folders, methods = (tmp_path / "ir", tmp_path / "vi"), name_methods([tmp_path / "Ours"])
    seen = []
    for layout, rule in (("IVF", ReadingRule(infrared_range="minmax")), ("IVF", ReadingRule("minmax")),
                         ("MEF", ReadingRule("minmax")), ("MEF", ReadingRule())):
        sources = find_sources(*folders, layout)
        scores = score_folders(sources, methods, ["MSE"], workers=0, rule=rule).scores["Ours"]
        pair = load_pair(sources.pairs[0], rule, layout)
        first, second = (to_8_bit(picture.pixels) for picture in (pair.first, pair.second))
        assert scores.values["a"] == compute(["MSE"], first, second, texture(3))
        assert scores.as_dict()["range"] == rule.value_range
        seen.append(scores.values["a"]["MSE"])
    assert len(set(seen)) == 4
    assert scores.as_dict()["ir_range"] == "full" and scores.as_dict()["range_joint"] == "by layout"
    exif = image.Exif()
    exif[0x112] = 6
    image.fromarray(texture(3)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_grey_or_rgb(tmp_path / "turned.jpg").shape == (80, 60)
    whole = (tmp_path / "turned.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[:len(whole) // 2])
    with pytest.raises(UserError, match="truncated"):
        read_grey_or_rgb(tmp_path / "cut.jpg")


def test_reading_keeps_grey_drops_alpha_and_orders_rgb(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[..., 2], pixels[..., 3] = 200, 9
    cv2.imwrite(str(tmp_path / "c.png"), pixels)
    cv2.imwrite(str(tmp_path / "g.png"), pixels[..., 2])
    assert read_grey_or_rgb(tmp_path / "c.png")[0, 0].tolist() == [200, 0, 0]
    assert read_grey_or_rgb(tmp_path / "g.png").shape == (2, 2)


def test_a_method_without_all_pairs_is_shown_and_not_ranked(tmp_path):
    sources, methods = write_set(tmp_path, suffix="_recover")
    (tmp_path / "First" / "scene1_recover.png").unlink()
    result = score_folders(sources, methods, ["EN", "CC", "MSE"], workers=0)
    assert result.ranked == ("Mean", "Second") and result.partial == ("First",)
    assert result.order()[-1] == "First" and set(result.mean_ranks()) == {"Mean", "Second"}
    assert result.ranks()["Mean"]["MSE"] == 1.0
    assert any("First: no picture for scene1" in line for line in result.problems())
    shared = score_folders(sources, methods, ["EN", "CC", "MSE"], workers=0, shared_only=True)
    assert shared.stems == ("scene0", "scene2") and len(shared.ranked) == 3


def comparison(**tables):
    """Scores of methods by hand: ``Mine={"X": [1, 2]}`` is one value a pair."""
    stems = [f"p{number}" for number in range(len(next(iter(next(iter(tables.values())).values()))))]
    scores = {method: Scores(tuple(table), {stem: {metric: float(values[number]) for metric, values in table.items()}
                                            for number, stem in enumerate(stems)}) for method, table in tables.items()}
    sources = PairList([PairPaths(stem, Path(stem), Path(stem)) for stem in stems])
    names = next(iter(scores.values())).names
    return Comparison(sources, tuple(Method(name, Path(name)) for name in scores), names, scores)


def test_the_mean_rank_is_the_mean_over_the_metrics():
    found = comparison(One={"EN": [3, 3], "MSE": [9, 9], "CC": [0.3, 0.3]},
                       Two={"EN": [2, 2], "MSE": [5, 5], "CC": [0.2, 0.2]},
                       Three={"EN": [1, 1], "MSE": [7, 7], "CC": [0.1, 0.1]})
    assert found.ranks() == {"One": {"EN": 1, "MSE": 3, "CC": 1}, "Two": {"EN": 2, "MSE": 1, "CC": 2},
                             "Three": {"EN": 3, "MSE": 2, "CC": 3}}
    assert found.mean_ranks() == pytest.approx({"One": 5 / 3, "Two": 5 / 3, "Three": 8 / 3})


def test_ranks_compare_means_over_the_same_pairs():
    """What is best where others are not defined gains nothing by it."""
    nan = math.nan
    found = comparison(Rarely={"CC": [0.2, nan, nan, 0.9]}, Often={"CC": [0.3, 0.1, 0.1, nan]})
    assert found.scores["Rarely"].mean()["CC"] > found.scores["Often"].mean()["CC"]
    assert found.ranks() == {"Rarely": {"CC": 2}, "Often": {"CC": 1}}
    assert found.shared == {"CC": ("p0",)} and found.as_dict()["ranked_on"] == {"CC": 1}
    assert "CC: ranked on 1 of 4 pairs, where every ranked method is defined" in found.problems()


def test_an_infinite_value_is_the_best_one():
    found = comparison(Exact={"PSNR": [math.inf, 20]}, Near={"PSNR": [60, 40]})
    assert found.scores["Exact"].mean()["PSNR"] == math.inf
    assert found.ranks() == {"Exact": {"PSNR": 1}, "Near": {"PSNR": 2}}
    assert found.as_dict()["methods"]["Exact"]["mean"] == {"PSNR": "inf"}


def test_a_method_without_a_metric_of_the_others_is_not_ranked():
    """A constant grey has no CC, and with it would have a mean rank over fewer metrics."""
    nan = math.nan
    found = comparison(Grey={"EN": [9, 9], "CC": [nan, nan], "MS_SSIM": [nan, nan]},
                       One={"EN": [2, 2], "CC": [0.5, nan], "MS_SSIM": [nan, nan]},
                       Two={"EN": [1, 1], "CC": [0.4, 0.9], "MS_SSIM": [nan, nan]})
    assert found.ranked == ("One", "Two") and found.partial == ("Grey",) and found.order() == ["One", "Two", "Grey"]
    assert found.ranks() == {"One": {"EN": 1, "CC": 1}, "Two": {"EN": 2, "CC": 2}}
    assert found.mean_ranks() == {"One": 1.0, "Two": 2.0}
    assert "Grey: not ranked, as CC cannot be computed for any pair" in found.problems()


def test_no_cell_is_a_formula_and_no_name_too_long(tmp_path):
    found = comparison(**{"=cmd()": {"EN": [1, 2]}, "x" * 300: {"EN": [3, 4]}})
    found.write(tmp_path, {})
    Scores(("EN",), {"@sum": {"EN": -1.0}}).write_csv(tmp_path / "one.csv")
    cells = [cell for path in tmp_path.glob("*.csv") for row in csv.reader(path.open()) for cell in row]
    assert "'=cmd()" in cells and "'@sum" in cells
    assert "-1" in cells and not [cell for cell in cells if cell.startswith(("=", "+", "@"))]
    assert all(len(path.name) < 120 for path in tmp_path.iterdir()) and len(list(tmp_path.iterdir())) == 7
    assert file_name("x" * 300) != file_name("x" * 301)


def test_comparison_from_scores_at_hand_is_the_same(tmp_path):
    sources, methods = write_set(tmp_path)
    whole = score_folders(sources, methods, "common", workers=0)
    again = comparison_of(whole.scores, sources, {method.name: method.folder for method in methods})
    assert again.as_dict() == whole.as_dict()


def test_no_result_at_all_is_the_users_mistake(tmp_path):
    sources, _ = write_set(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no fused picture matches"):
        score_folders(sources, name_methods([tmp_path / "empty"]), ["EN"], workers=0)


def test_command_writes_and_prints(tmp_path, capsys):
    write_set(tmp_path, colour=True)
    folders = [str(tmp_path / name) for name in ("Mean", "First")]
    sources = ["--a", str(tmp_path / "ir"), "--b", str(tmp_path / "vi")]
    code = main([*sources, "--fused", *folders, "--names", "EN,SSIM", "MSE", "--workers", "0", "--out",
                 str(tmp_path / "out"), "--html", "--colour", "channels"])
    printed = capsys.readouterr().out
    assert code == 0 and "SSIM↑" in printed and "MSE↓" in printed
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"comparison.csv", "scores.json", "scores_Mean.csv", "scores_First.csv", "results_Mean.json",
                     "results_First.json", "report.html", "report.md", "report_files"}
    stored = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert stored["provenance"]["definitions"]["SSIM"] == "SSIM@VIFB"
    assert stored["methods"]["Mean"]["colour"] == "channels"


def test_list_shows_every_default(capsys):
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n{name} " in printed for name in COMMON)


@pytest.mark.parametrize(("arguments", "told"), [
    ([], "no sources"),
    (["--a", "x"], "no sources"),
    (["--pairs", "x", "--a", "x"], "no sources"),
    (["--pairs", "x"], "no results"),
    (["--pairs", "nowhere", "--fused", "y"], "no folder nowhere"),
    (["--pairs", "tests", "--fused", "tests", "--out", "README.md"], "README.md is a file"),
    (["--pairs", "tests", "--fused", "tests", "--out", "README.md/deep"], "README.md is a file"),
    (["--a", "x", "--b", "y", "--fused", "z", "--range", "minmax"], "say which by --layout"),
    (["--a", "x", "--b", "y", "--fused", "z", "--layout", "MEF", "--ir-range", "minmax"], "use --range"),
    (["--bogus"], "unrecognized"),
    (["--pairs", "x", "--fused", "y", "--html"], "--out"),
    (["--pairs", "x", "--fused", "y", "--names", "SSIN"], "SSIM"),
    (["--pairs", "x", "--fused", "y", "--names", "none"], "no metric"),
])
def test_mistakes_are_one_line_each(arguments, told):
    with pytest.raises(UserError, match=told) as caught:
        main(arguments)
    assert "\n" not in str(caught.value)


def test_mistake_exits_2_without_traceback():
    done = subprocess.run([sys.executable, "-m", "metrics", "--a", "nowhere", "--b", "x", "--fused", "y"], cwd=ROOT,
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stderr.startswith("error: no folder nowhere")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(("task", "method"), [("ivf", "IFCNN"), ("ivf", "SeAFusion"), ("mef", "Mertens"),
                                              ("mff", "DRPL")])
def test_published_methods_score_as_on_record(shared_data, task, method):
    """The means of an independent implementation, stored with five decimals, on ten real pairs."""
    root = shared_data / "peers" / task
    record = json.loads((shared_data / "peers.json").read_text())["by_METRICS_md"][task]
    means = record["mean"].get(method) or record["partial"][method]["mean"]
    folders = root / "pairs"
    sources = find_sources(folders / "ir", folders / "vi") if task == "ivf" else find_scenes(folders)
    found = score_folders(sources, name_methods([root / "results" / method]), list(means), workers=0)
    for name, value in found.scores[method].mean().items():
        assert value == pytest.approx(means[name], abs=6e-6 * max(1.0, abs(means[name]))), name
