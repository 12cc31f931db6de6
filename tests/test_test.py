"""`test.py` from the command line: what it leaves behind, what it says to mistakes, one process or two."""

import csv
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from metrics.folders import find_scenes
from models import Fuser, create_model
from models.defusion import DeFusionPP
from models.weights import save_weights
from option.load import OptionError
from tests.rig import write_rig
from utils.errors import UserError
from utils.memory import memory_in_use
from utils.pictures.reading import read_picture

ROOT = Path(__file__).resolve().parent.parent
SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 2, "last_heads": 4, "decoder_heads": 4}
FILES = ("recover", "common", "upper", "lower", "over", "under")


def picture(path: Path, shape: tuple[int, ...] = (70, 90, 3), dtype: type = np.uint8, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
    assert cv2.imwrite(str(path), cv2.blur(noise, (5, 5)))


@pytest.fixture
def road(tmp_path) -> Path:
    """Three infrared/visible pairs, one of them with 16-bit infrared."""
    for seed, stem in enumerate(("a", "b", "c")):
        picture(tmp_path / f"set/ir/{stem}.png", (70, 90), np.uint16 if stem == "c" else np.uint8, seed)
        picture(tmp_path / f"set/vi/{stem}.jpg", seed=seed + 10)
    torch.manual_seed(0)
    save_weights(DeFusionPP(**SMALL), tmp_path / "small.safetensors", metadata={"network": SMALL})
    return tmp_path


def arguments(folder: Path, *settings: str) -> list[str]:
    given = ("name=run", "model=FusionModel", f"dataset.test.dataroot={folder / 'set'}", "dataset.test.infrare_name=ir",
             "dataset.test.visible_name=vi", f"path.resume_state={folder / 'small.safetensors'}",
             f"path.results_root={folder / 'results'}", *settings)
    return ["-opt", str(ROOT / "option/test/IVF_TransformerTest_Dataset.yaml"), "--device", "cpu",
            *(part for setting in given for part in ("--set", setting))]


def start(folder: Path, *settings: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    """The script as a user starts it."""
    command = [sys.executable, *launcher, "test.py", *arguments(folder, *settings)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})


@pytest.fixture(scope="module")
def main():
    """The script's main function: the same without a new interpreter (the name `test` is the library's)."""
    spec = importlib.util.spec_from_file_location("fusing_script", ROOT / "test.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.main


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def test_a_run_leaves_pictures_tables_sheet_and_report(road, main, capsys):
    main(arguments(road, "save.report=true", "metrics=EN,SSIM", "dataset.test.ir_range=minmax"))
    results = road / "results/run"
    names = {f"{stem}_{part}.png" for stem in "abc" for part in FILES}
    assert {path.name for path in (results / "test_images").iterdir()} == names
    assert {"summary.csv", "metrics.csv", "metrics.json", "contact_sheet.png", "report.html", "report.md"} <= {
        path.name for path in results.iterdir()}
    deep = cv2.imread(str(results / "test_images/c_recover.png"), cv2.IMREAD_UNCHANGED)
    assert deep.dtype == np.uint16 and deep.shape == (70, 90, 3)
    record = json.loads((results / "metrics.json").read_text())
    assert set(record["mean"]) == {"EN", "SSIM"} and len(record["pairs"]) == 3
    assert {key: record["provenance"][key] for key in ("layout", "range", "ir_range", "range_joint", "colour")} == {
        "layout": "IVF", "range": "full", "ir_range": "minmax", "range_joint": "by layout", "colour": "grey"}
    assert "EN" in (told := capsys.readouterr().out) and "±" in told
    assert [row["stem"] for row in rows(results / "summary.csv")] == ["a", "b", "c"]
    main(arguments(road, "metrics=none", "save.components=false", "save.inputs=false", "save.contact_sheet=false"))
    assert list((road / "results").glob("run_archived_*"))
    assert {path.name for path in (results / "test_images").iterdir()} == {f"{stem}_recover.png" for stem in "abc"}


@pytest.mark.parametrize(("setting", "stretched"), [
    ("range=minmax", {"over", "under"}), ("ir_range=minmax", {"over"}), ("workers=1", set())])
def test_ranges_reach_the_pictures(road, main, setting, stretched):
    """The sources as they were fused, beside the result: the noise of the set spans no whole range by itself."""
    main(arguments(road, "model=Average", "path.resume_state=null", f"dataset.test.{setting}", "metrics=none"))
    for part in ("over", "under"):
        pixels = cv2.imread(str(road / f"results/run/test_images/a_{part}.png"), cv2.IMREAD_UNCHANGED)
        assert ((pixels.min(), pixels.max()) == (0, 255)) == (part in stretched)


def test_a_baseline_needs_no_weights(road, main):
    main(arguments(road, "model=LaplacianPyramid", "path.resume_state=null", "metrics=none"))
    assert len(rows(road / "results/run/summary.csv")) == 3


@pytest.fixture
def scenes(tmp_path) -> Path:
    """A scene of two focus settings and one of four, of which `extremes` fuses the first and the last."""
    for scene, count in (("pair", 2), ("series", 4)):
        for number in range(count):
            picture(tmp_path / f"set/{scene}/{number}.png", seed=10 * number)
    return tmp_path


def focus(folder: Path, *settings: str) -> list[str]:
    given = ("name=run", "model=FocusSelection", "path.resume_state=null", f"dataset.test.dataroot={folder / 'set'}",
             "dataset.test.datashell=MFF", "dataset.test.part_name=null", f"path.results_root={folder / 'results'}",
             "metrics=EN,SSIM", "save.report=true", *settings)
    return ["-opt", str(ROOT / "option/test/MFF_TransformerTest_Dataset.yaml"), "--device", "cpu",
            *(part for setting in given for part in ("--set", setting))]


def test_a_whole_stack_is_fused_and_not_scored(scenes, main, capsys):
    main(focus(scenes, "dataset.test.stack=all"))
    results, told = scenes / "results/run", capsys.readouterr()
    sources = sorted((scenes / "set/series").iterdir())
    expected = Fuser(create_model("FocusSelection"), device="cpu")(*sources, task="MFF").fused
    assert np.abs(read_picture(results / "test_images/series_recover.png").pixels.astype(int) - expected).max() <= 1
    files = {"pair": ("recover", "over", "under"), "series": ("recover", "over", "under", "input3", "input4")}
    assert {path.name for path in (results / "test_images").iterdir()} == {
        f"{scene}_{part}.png" for scene, parts in files.items() for part in parts}
    assert [(row["stem"], row["pictures"]) for row in rows(results / "summary.csv")] == [("pair", "2"), ("series", "4")]
    record = json.loads((results / "metrics.json").read_text())
    assert list(record["pairs"]) == ["pair"]
    assert record["provenance"]["not scored"].startswith("1 of 2 scenes")
    assert "not scored: 1 of 2 scenes" in told.err and "not used" not in told.err
    assert "series" not in (results / "report.md").read_text()
    again = find_scenes(results)
    assert [pair.stem for pair in again.pairs] == ["pair"]


def test_the_extremes_of_a_stack_are_fused_and_the_rest_is_named(scenes, main, capsys):
    main(focus(scenes))
    told = capsys.readouterr().err
    assert "series: 2 of 4 pictures not used (1.png, 2.png)" in told
    assert "dataset.test.stack: extremes leaves pictures out (named above); all fuses every one" in told
    record = json.loads((scenes / "results/run/metrics.json").read_text())
    assert list(record["pairs"]) == ["pair", "series"] and "not scored" not in record["provenance"]


def test_a_set_of_stacks_alone_has_no_scores(scenes, main, capsys):
    shutil.rmtree(scenes / "set/pair")
    main(focus(scenes, "dataset.test.stack=all"))
    assert "±" not in capsys.readouterr().out
    assert json.loads((scenes / "results/run/metrics.json").read_text())["pairs"] == {}


def test_two_processes_share_the_pairs_and_write_one_record(road, main):
    main(arguments(road, "name=alone", "metrics=EN,SSIM"))
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    shared = start(road, "name=shared", "metrics=EN,SSIM", launcher=launcher)
    assert shared.returncode == 0, shared.stderr
    one, two = (json.loads((road / f"results/{name}/metrics.json").read_text()) for name in ("alone", "shared"))
    assert {stem: pair["scores"] for stem, pair in one["pairs"].items()} == {
        stem: pair["scores"] for stem, pair in two["pairs"].items()}
    assert len(rows(road / "results/shared/summary.csv")) == 3
    assert len(list((road / "results/shared/test_images").iterdir())) == 18


def test_unpaired_and_undecodable_files_are_listed_and_the_rest_is_fused(road):
    picture(road / "set/ir/alone.png")
    picture(road / "set/ir/broken.png")
    (road / "set/vi/broken.jpg").write_bytes(b"\xff\xd8 not a picture")
    done = start(road, "metrics=none")
    assert done.returncode == 0
    assert "alone.png: no partner" in done.stderr and "broken.jpg" in done.stderr
    assert len(rows(road / "results/run/summary.csv")) == 3


def test_a_bad_pair_costs_only_itself(road, main, monkeypatch, capsys):
    """Two sizes, too few pixels, a name too long for the results, and a bug that shows in one pair alone."""
    picture(road / "set/vi/b.jpg", (70, 91, 3))
    for suffix, side in (("png", "ir"), ("jpg", "vi")):
        picture(road / f"set/{side}/tiny.{suffix}", (15, 400))
        picture(road / f"set/{side}/{'n' * 245}.{suffix}")
        picture(road / f"set/{side}/odd.{suffix}", (16, 17))
    fuse = Fuser.__call__

    def stumble(self, first, second, **how):
        return 1 // 0 if first.size == (17, 16) else fuse(self, first, second, **how)

    monkeypatch.setattr(Fuser, "__call__", stumble)
    with pytest.raises(UserError, match=r"4 of 6 pairs could not be fused \(named above\); the others are in .*run$"):
        main(arguments(road, "metrics=EN"))
    told = capsys.readouterr().err
    for reason in ("b.png is 90 x 70", "b.jpg is 91 x 70", "tiny.png is 400 x 15", "odd: could not be fused (ZeroDiv",
                   "nnn: results cannot be written (File name too long)"):
        assert reason in told
    assert [row["stem"] for row in rows(road / "results/run/summary.csv")] == ["a", "c"]
    assert [row["stem"] for row in rows(road / "results/run/metrics.csv")][:-2] == ["a", "c"]


def test_pairs_are_lined_up_scored_and_written_on_one_grid(tmp_path, main):
    write_rig(tmp_path / "set", "ab", 12)
    given = "model=SaliencePyramid", "path.resume_state=null", "metrics=SSIM", "dataset.test.align=auto"
    main(arguments(tmp_path, *given, "name=cut"))
    main(arguments(tmp_path, *given, "name=whole", "dataset.test.align_margin=fill"))
    main(arguments(tmp_path, *given, "name=as_is", "dataset.test.align=none"))
    about = {name: rows(tmp_path / f"results/{name}/summary.csv")[0] for name in ("cut", "whole", "as_is")}
    assert about["whole"]["width"] == about["as_is"]["width"] == "432" and 417 <= int(about["cut"]["width"]) <= 420
    scores = {name: float(rows(tmp_path / f"results/{name}/metrics.csv")[0]["SSIM"]) for name in about}
    assert min(scores["cut"], scores["whole"]) > scores["as_is"] + 0.05


def test_pairs_that_cannot_be_lined_up_are_fused_as_they_lie_and_end_with_a_line(road, main, capsys):
    with pytest.raises(UserError, match=r"3 of 3 pairs were fused as they lie \(named above\)"):
        main(arguments(road, "model=Average", "path.resume_state=null", "metrics=none", "dataset.test.align=auto"))
    assert capsys.readouterr().err.count("no credible alignment with") == 3
    assert [row["stem"] for row in rows(road / "results/run/summary.csv")
            if "no credible alignment with" in row["note"]] == ["a", "b", "c"]


def test_the_record_of_the_scores_names_pairs_that_are_fused_unaligned(road, main):
    with pytest.raises(UserError, match="fused as they lie"):
        main(arguments(road, "model=Average", "path.resume_state=null", "metrics=SSIM",
                       "dataset.test.align=auto"))
    record = json.loads((road / "results/run/metrics.json").read_text(encoding="utf-8"))
    assert record["provenance"]["fused unaligned"] == ["a", "b", "c"]
    assert "# fused unaligned: a, b, c" in (road / "results/run/metrics.csv").read_text(encoding="utf-8")
    main(arguments(road, "model=Average", "path.resume_state=null", "metrics=SSIM", "name=plain"))
    assert "fused unaligned" not in (road / "results/plain/metrics.json").read_text(encoding="utf-8")
    assert {row["note"] for row in rows(road / "results/plain/summary.csv")} == {""}


def test_a_report_without_scores_is_told(road, main, capsys):
    main(arguments(road, "save.report=true", "metrics=none"))
    assert "--set: save.report: a report shows scores and metrics is none" in capsys.readouterr().err


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    return [int(word) for task in Path(f"/proc/{pid}/task").iterdir()
            for word in (task / "children").read_text().split()]


@pytest.mark.parametrize(("number", "group"), [(signal.SIGTERM, False), (signal.SIGHUP, True), (signal.SIGKILL, False)])
def test_a_stopped_run_keeps_what_is_done_and_leaves_no_process(road, number, group):
    """SIGTERM as `kill` sends it, the end of a terminal, which its whole group hears, and what nobody can catch."""
    for seed in range(40):
        picture(road / f"set/ir/p{seed}.png", (256, 256), seed=seed)
        picture(road / f"set/vi/p{seed}.jpg", (256, 256, 3), seed=seed)
    command = [sys.executable, "test.py", *arguments(road, "metrics=EN,SSIM")]
    run = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True,
                           env=os.environ | {"OMP_NUM_THREADS": "1"},
                           preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))
    written = road / "results/run/test_images"
    while run.poll() is None and len(list(written.glob("*_recover.png"))) < 3:
        time.sleep(0.05)
    workers = children(run.pid)
    (os.killpg if group else os.kill)(run.pid, number)
    told = run.communicate(timeout=60)[1]
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert workers and not [worker for worker in workers if Path(f"/proc/{worker}").exists()]
    if number == signal.SIGKILL:
        return
    assert run.returncode == 128 + number and "Traceback" not in told
    assert told.splitlines()[-1] == f"stopped by {number.name}"
    done = {path.name.removesuffix("_recover.png") for path in written.glob("*_recover.png")}
    assert {row["stem"] for row in rows(road / "results/run/summary.csv")} == done and 3 <= len(done) < 43
    assert {row["stem"] for row in rows(road / "results/run/metrics.csv")} - {"mean", "std"} == done
    assert (road / "results/run/contact_sheet.png").exists()


@pytest.mark.parametrize(("setting", "message"), [
    ("dataset.test.dataroot=nowhere", "no folder nowhere/ir"),
    ("dataset.test.infrare_nmae=x", "--set: dataset.test.infrare_nmae: unknown key (did you mean infrare_name?)"),
    ("model=Laplacian", "LaplacianPyramid"),
    ("path.resume_state=none.pth", "none.pth: no such weight file"),
    ("path.resume_state=null", "path.resume_state: FusionModel needs weights"),
    ("metrics=Qabg", "Qabf"),
    ("tile.size=100", "tile.size"),
    ("network_G.embed_dim=0", "--set: network_G.embed_dim: should be 1 or more, got 0"),
    ("network_G.depth=-1", "--set: network_G.depth: should be 1 or more, got -1"),
    ("network_G.dropout=1", "--set: network_G.dropout: should be less than 1, got 1"),
    (f"name={'n' * 300}", "200 bytes or less, got 300"),
    ("color=red", "color"),
])
def test_mistakes_are_one_line_and_touch_nothing(road, main, setting, message):
    """`utils.cli.run` makes one line and exit code 2 of these errors."""
    with pytest.raises((UserError, OptionError)) as caught:
        main(arguments(road, setting))
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (road / "results").exists()


@pytest.mark.slow
def test_memory_stays_flat_over_500_pairs(tmp_path, main, monkeypatch):
    """After the first hundred pairs, less than 10 MB more a thousand pairs (prints the slope)."""
    for index in range(500):
        picture(tmp_path / f"set/ir/{index:03}.png", (64, 96), seed=index)
        picture(tmp_path / f"set/vi/{index:03}.png", (64, 96, 3), seed=index + 500)
    torch.manual_seed(0)
    save_weights(DeFusionPP(**SMALL), tmp_path / "small.safetensors", metadata={"network": SMALL})
    seen = []
    fuse = Fuser.__call__

    def watched(self, *pair, **how):
        seen.append(memory_in_use(torch.device("cpu")) / 1e6)
        return fuse(self, *pair, **how)

    monkeypatch.setattr(Fuser, "__call__", watched)
    main(arguments(tmp_path, "metrics=none"))
    assert len(seen) == 500
    slope = np.polyfit(np.arange(400), seen[100:], 1)[0] * 1000
    print(f"memory: {slope:+.2f} MB over 1,000 fused pairs, {seen[-1]:.0f} MB at the end")
    assert slope < 10
