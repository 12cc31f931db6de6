"""Leaderboards compare equal pairs by equal definitions, whatever their names, and refuse the rest in one line."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from metrics.__main__ import main as score
from metrics.evaluate import Scorer, pixel_checksum, score_folders
from metrics.leaderboard import main, make_leaderboards
from metrics.ranking import Comparison
from metrics.results import read_result
from tests.metrics.scenes import texture, write_set
from utils.errors import UserError

NAMES = ("EN", "MI", "SSIM", "Q_CB")


@pytest.fixture(scope="module")
def scored(tmp_path_factory) -> tuple[Path, Comparison]:
    """Results files of three methods on three pairs, and their comparison."""
    root = tmp_path_factory.mktemp("set")
    sources, methods = write_set(root)
    assert score(["--a", f"{root / 'ir'}", "--b", f"{root / 'vi'}", "--fused", *(f"{one.folder}" for one in methods),
                  "--names", *NAMES, "--workers", "0", "--out", f"{root / 'out'}"]) == 0
    return root, score_folders(sources, methods, NAMES, workers=0)


def write(path: Path, values: dict[str, dict[str, float | str | None]], **changes) -> Path:
    """A results file by hand; ``values`` is stem -> metric -> value, and a pair's checksums are made of its stem."""
    names = list(next(iter(values.values())))
    content = {"provenance": {"version": "9", "method": path.stem,
                              "definitions": {name: f"{name}@VIFB" for name in names}}, "colour": "grey",
               "pairs": {stem: {"checksums": [f"a{stem}", f"b{stem}"], "scores": row} for stem, row in values.items()}}
    content["provenance"] |= changes.pop("provenance", {})
    path.write_text(json.dumps(content | changes))
    return path


def test_the_ranks_are_those_of_the_comparison(scored, capsys):
    root, comparison = scored
    (board,), refused = make_leaderboards([read_result(path) for path in sorted((root / "out").glob("results_*"))])
    assert board.mean_ranks() == comparison.mean_ranks() and board.ranks() == comparison.ranks() and not refused
    assert board.stems == comparison.stems and board.names == NAMES
    assert {name: one.mean() for name, one in board.scores.items()} == {
        name: one.mean() for name, one in comparison.scores.items()}
    assert main([f"{root / 'out'}"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("3 methods on 3 pairs: scene0, scene1, scene2\n")
    assert [line.split()[1] for line in told.splitlines()[2:]] == comparison.order()


def test_pairs_are_known_by_their_pixels_not_by_their_names_or_files(scored, tmp_path, capsys):
    root, _ = scored
    for number, side in ((n, s) for n in range(3) for s in ("ir", "vi")):
        pixels = cv2.imread(str(root / side / f"scene{number}.png"), cv2.IMREAD_UNCHANGED)
        pixels[0, 0] ^= number == 2  # one bit of the last pair
        for name, made in ((side, pixels), (f"{side}-fused", pixels)):
            (tmp_path / name).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / name / f"x{number}.tif"), made)
    score(["--a", f"{tmp_path / 'ir'}", "--b", f"{tmp_path / 'vi'}", "--fused", f"Mine={tmp_path / 'vi-fused'}",
           "--names", "EN,SSIM", "--workers", "0", "--out", f"{tmp_path / 'out'}"])
    capsys.readouterr()
    assert main([f"{root / 'out/results_Mean.json'}", f"{tmp_path / 'out'}"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("2 methods on 2 pairs: scene0, scene1\n") and "Mine" in told.out
    assert "note: Mean: 2 of its 3 pairs are in all files" in told.err
    assert "note: left out, as not all files have them: MI, Q_CB" in told.err


def test_arrays_and_files_have_one_checksum(scored):
    root, comparison = scored
    pictures = {side: cv2.imread(str(root / side / "scene0.png"), cv2.IMREAD_UNCHANGED) for side in ("ir", "vi")}
    with Scorer(["EN"], workers=0) as scorer:
        scorer.submit("flat", pictures["ir"], pictures["vi"], pictures["vi"])
        deep = {side: pixels[..., None].astype(np.uint16) * 257 for side, pixels in pictures.items()}
        scorer.submit("with channel, deep", deep["ir"], deep["vi"], deep["vi"])
        found = scorer.collect().checksums
    assert set(found.values()) == {comparison.scores["Mean"].checksums["scene0"]}
    flat = texture(1, (6, 8))
    assert len({pixel_checksum(one) for one in (flat, flat.reshape(8, 6), np.dstack([flat] * 3), flat[::-1])}) == 4


def test_equal_methods_share_a_place(tmp_path, capsys):
    rows = {"p": {"EN": 5.0, "SSIM": 1.0}, "q": {"EN": 6.0, "SSIM": 1.5}}
    worse = {stem: {name: value - 1 for name, value in row.items()} for stem, row in rows.items()}
    files = [write(tmp_path / f"{name}.json", values) for name, values in
             (("last", worse), ("one", rows), ("two", dict(reversed(rows.items()))))]
    assert main([f"{path}" for path in files]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert [line[:3] for line in lines] == [["1=", "one", "1.50"], ["1=", "two", "1.50"], ["3", "last", "3.00"]]


def test_files_of_other_pairs_get_a_table_of_their_own(tmp_path, capsys):
    files = [write(tmp_path / f"{name}.json", {stem: {"EN": float(number)} for stem in stems}) for number, (name, stems)
             in enumerate({"A": "pq", "B": "qr", "C": "rs", "D": "pst"}.items())]
    assert main([f"{path}" for path in files]) == 0
    told = re.findall(r"(\d methods? on \d pairs?): (.*)", capsys.readouterr().out)
    assert told == [("2 methods on 1 pair", "q"), ("2 methods on 1 pair", "s")]  # A and C share nothing, C and D do


def test_undefined_and_infinite_values(tmp_path, capsys):
    files = [write(tmp_path / f"{name}.json", {"p": row, "q": row}) for name, row in
             {"A": {"PSNR": "inf", "CC": .5}, "B": {"PSNR": 60., "CC": .7}, "C": {"PSNR": 50., "CC": None}}.items()]
    pages = ["--out", f"{tmp_path / 'l.md'}", "--out", f"{tmp_path / 'l.html'}"]
    assert main([*(f"{path}" for path in files), *pages]) == 0
    assert "|  | C | – | 50.00 | – | 9 |" in (tmp_path / "l.md").read_text()
    told = capsys.readouterr()
    lines = [line.split()[:4] for line in told.out.splitlines()[2:]]
    assert lines[2][:1] == ["C"] and sorted(line[1] for line in lines[:2]) == ["A", "B"] and "∞*" in told.out
    assert "note: C: not ranked, as CC cannot be computed for any pair" in told.err


GOOD = {"p": {"EN": 5.0, "SSIM": 1.0}}
DEFINED = {"EN": "EN@VIFB", "SSIM": "SSIM@VIFB"}
TRUTH = {"p": {"PSNR_truth": 30.0}}
BAD = {
    "missing": (None, "no such file"),
    "text": ("hello", "no results file (JSONDecodeError"),
    "binary": ("\x00\x01", "no results file"),
    "list": ("[]", "no results file"),
    "other": ('{"provenance": {"definitions": {}}}', "no results file (KeyError: 'pairs')"),
    "none": ('{"provenance": {"definitions": {}}, "pairs": {}}', "holds no scores"),
    "several": ('{"methods": {}}', "holds several methods; give the results_<method>.json beside it"),
    "renamed": ({"provenance": {"method": "good"}}, "another result is called good; name it: OTHER="),
    "defined": ({"provenance": {"definitions": {**DEFINED, "SSIM": "SSIM@CDDFuse"}}},
                "SSIM is SSIM@CDDFuse, in good.json it is SSIM@VIFB; score both by one definition"),
    "foreign": ({"provenance": {"definitions": {**DEFINED, "XYZ": "XYZ@1"}}}, "XYZ are metrics that this version"),
    "coloured": ({"colour": "channels"}, "colour is scored as channels, in good.json as grey"),
    "old": ({"pairs": {"p": {"scores": GOOD["p"]}}}, "has no checksums of its pairs; written by version 9"),
    "word": ({"pairs": {"p": {"checksums": ["ap", "bp"], "scores": {"EN": "many", "SSIM": 1}}}}, "no results file"),
    "lacking": ({"pairs": {"p": {"checksums": ["ap", "bp"], "scores": {"EN": 1}}}}, "(KeyError: 'SSIM')"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_in_one_line_and_costs_no_other(name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, says = BAD[name]
    write(Path("good.json"), GOOD)
    write(Path("fine.json"), GOOD)
    bad = Path(f"{name}.json")
    if isinstance(content, dict):
        write(bad, GOOD, **content)
    elif content is not None:
        bad.write_text(content)
    assert main(["good.json", str(bad), "fine.json", "--out", "board.md"]) == 2
    told = capsys.readouterr()
    errors = [line for line in told.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and errors[0].startswith(f"error: {bad}: ") and says in errors[0]
    assert told.out.startswith("2 methods on 1 pair: p\n") and says in Path("board.md").read_text()


def test_another_truth_is_another_comparison(tmp_path, capsys):
    good, other = (write(tmp_path / f"{name}.json", TRUTH, pairs={"p": {"checksums": ["ap", "bp", truth],
                                                                       "scores": TRUTH["p"]}})
                   for name, truth in (("good", "t1"), ("other", "t2")))
    assert main([f"{good}", f"{other}"]) == 2
    assert "other.json: p has another ground truth than in" in capsys.readouterr().err


def test_a_method_can_be_renamed_and_pages_escape_it(tmp_path, capsys):
    write(tmp_path / "good.json", GOOD)
    out = tmp_path / "pages"
    assert main([f"{tmp_path / 'good.json'}", f"<b>x|y</b>={tmp_path / 'good.json'}", "--out", f"{out / 'l.html'}",
                 "--out", f"{out / 'l.md'}"]) == 0
    html, markdown = (out / "l.html").read_text(), (out / "l.md").read_text()
    assert "&lt;b&gt;x|y&lt;/b&gt;" in html and "<b>" not in html and "x\\|y" in markdown
    assert "http" not in html.replace("http-equiv", "")
    for table in re.findall(r"(?:^\|.*\n)+", markdown, re.M):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table
    assert capsys.readouterr().out.count("1=") == 2


def test_a_wrong_suffix_stops_before_anything_is_written(tmp_path):
    good = write(tmp_path / "good.json", GOOD)
    with pytest.raises(UserError, match=r"l\.pdf: leaderboards are written as \.md or \.html"):
        main([f"{good}", "--out", f"{tmp_path / 'l.md'}", "--out", f"{tmp_path / 'l.pdf'}"])
    with pytest.raises(UserError, match=r"command line; see python -m metrics\.leaderboard --help"):
        main([])
    assert [path.name for path in tmp_path.iterdir()] == ["good.json"]
