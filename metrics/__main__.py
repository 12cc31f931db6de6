"""Score result folders from the command line, without any model.

    python -m metrics --list
    python -m metrics --a infrared --b visible --fused results/Ours results/Theirs --out scores --html
    python -m metrics --pairs scenes --layout MEF --fused Ours=results/run7 --names EN,SSIM,Q_CV --colour channels
    python -m metrics --pairs results/run7 --fused results/run7 --truth photographs --names PSNR_truth,SSIM_truth

``--a`` and ``--b`` are folders with one picture per pair under the same name; ``--pairs`` takes any layout of
docs/DATA.md or a run folder of ``test.py``. ``metrics/folders.py`` describes how the pictures of a method are found.
"""

import argparse
import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from metrics import METRICS, expand
from metrics.evaluate import score_folders
from metrics.folders import find_results, find_scenes, find_sources, name_methods, with_truths
from metrics.pictures import PictureLimits
from metrics.ranking import Comparison
from metrics.report import ARROWS, decimals, definitions, write_report
from metrics.scores import told
from metrics.text import columns
from utils import cli
from utils.errors import UserError
from utils.files import check_folder
from utils.pictures.reading import ReadingRule
from utils.version import VERSION, commit


def parser() -> argparse.ArgumentParser:
    """The command line."""
    line = cli.Parser("python -m metrics", description="Score fused pictures against their sources.",
                   epilog="Without --out the table is printed and nothing is written.")
    line.add_argument("--list", action="store_true", help="print the table of metrics and stop")
    line.add_argument("--a", type=Path, metavar="DIR", help="first sources (infrared, over-exposed, near)")
    line.add_argument("--b", type=Path, metavar="DIR", help="second sources, same file names")
    line.add_argument("--pairs", type=Path, metavar="DIR", help="instead: one folder a scene, flat files "
                      "<scene>_<word>, two folders of sides, or a run folder of test.py with its inputs")
    line.add_argument("--layout", choices=["IVF", "MEF", "MFF"], help="which two pictures of a scene, as "
                      "dataset.test.datashell says (docs/DATA.md); default: scenes of two, by name")
    line.add_argument("--truth", type=Path, metavar="DIR", help="ground truths under the pairs' names, for "
                      "PSNR_truth and SSIM_truth; default: those that lie in the scenes")
    ranges = ["full", "minmax", "percentile"]
    line.add_argument("--range", choices=ranges, default="full", help="how the sources' values were mapped for fusing "
                      "(dataset.test.range; needs --layout); default: full")
    line.add_argument("--ir-range", choices=ranges, help="the same for the first sources alone, which are infrared "
                      "(dataset.test.ir_range); default: as --range")
    line.add_argument("--range-joint", choices=["yes", "no"], help="one map for both sources (dataset.test."
                      "range_joint); default: for exposures and focus series")
    line.add_argument("--fused", nargs="+", metavar="[NAME=]DIR", help="one folder of results for each method")
    line.add_argument("--names", nargs="+", default=["common"], metavar="METRIC",
                      help="metrics, common (the ten that papers report most) or all; default: common")
    line.add_argument("--colour", choices=["grey", "channels"], default="grey",
                      help="grey: colour becomes grey first; channels: mean over R, G, B; default: grey")
    line.add_argument("--shared", action="store_true", help="score only the pairs that every method has")
    line.add_argument("--workers", type=int, default=1, metavar="N", help="processes; default: 1")
    line.add_argument("--out", type=Path, metavar="DIR", help="write comparison.csv, scores.json, scores_<method>.csv")
    line.add_argument("--html", action="store_true", help="also write report.html and report.md (needs --out)")
    line.add_argument("--title", help="the report's heading")
    line.add_argument("--show", nargs="+", metavar="STEM", help="pairs to show; default: where methods disagree most")
    line.add_argument("--pictures", type=int, default=4, metavar="N", help="how many pairs to show; default: 4")
    line.add_argument("--picture-mb", type=float, default=8.0, metavar="MB", help="size of all pictures; default: 8")
    line.add_argument("--picture-side", type=int, default=1024, metavar="PX", help="longest side; default: 1024")
    return line


def main(arguments: list[str]) -> int:
    """Run the command. Missing pictures are listed and do not change the exit code 0."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    options = parser().parse_args(arguments)
    if options.list:
        sys.stdout.write(metric_table() + "\n")
        return 0
    _check(options)
    layout = options.layout or ("IVF" if options.ir_range else None)
    sources = find_scenes(options.pairs, layout) if options.pairs else find_sources(options.a, options.b, layout)
    if options.truth:
        sources = with_truths(sources, options.truth)
    methods = name_methods(options.fused)
    names = expand(",".join(options.names))
    stems = [pair.stem for pair in sources.pairs]
    total = sum(len(find_results(method, stems).pictures) for method in methods)
    with tqdm(total=total, unit="picture", desc="scoring", disable=None, leave=False) as bar:
        comparison = score_folders(sources, methods, names, colour=options.colour, rule=_rule(options),
                                   workers=options.workers, shared_only=options.shared,
                                   progress=lambda: bar.update() and None)
    for line in [*sources.notes, *comparison.problems()]:
        sys.stderr.write(f"note: {line}\n")
    sys.stdout.write(score_table(comparison) + "\n")
    if options.out:
        for path in _write(comparison, options, names):
            sys.stdout.write(f"{path}\n")
    return 0


def metric_table() -> str:
    """All metrics as text: name, definition, inputs, range, direction, cost, and where they are documented."""
    rows = [["name", "definition", "needs", "better", "range", "cost", "min side", "documented", "says"]]
    for metric in METRICS.values():
        rows.append([metric.name, metric.key, "".join(metric.inputs).upper(), metric.better,
                     f"{metric.low:g} .. {metric.high:g}", metric.cost, str(metric.min_side), metric.definition,
                     metric.says])
    return columns(rows, left=(0, 1, 2, 3, 5, 7, 8))


def score_table(comparison: Comparison) -> str:
    """Means as text, best method first; ``*`` marks the best of a column, ``+`` the second."""
    ranks, mean_ranks = comparison.ranks(), comparison.mean_ranks()
    means = {method: comparison.scores[method].mean() for method in comparison.order()}
    several = len(comparison.ranked) > 1
    rows = [["method", "pairs", *(["rank"] if several else []),
             *(f"{name}{ARROWS[METRICS[name].better]} " for name in comparison.names)]]
    for method, mean in means.items():
        row = [method, str(len(comparison.scores[method].values))]
        row += [f"{mean_ranks[method]:.2f}" if method in mean_ranks else "-"] if several else []
        for name in comparison.names:
            digits = decimals([other[name] for other in means.values()])
            place = ranks.get(method, {}).get(name, math.inf) if several else math.inf
            row.append(f"{mean[name]:.{digits}f}" + ("*" if place < 2 else "+" if place < 3 else " "))
        rows.append(row)
    return columns(rows, left=(0,))


def _check(options: argparse.Namespace) -> None:
    if bool(options.pairs) == bool(options.a or options.b) or bool(options.a) != bool(options.b):
        raise UserError("no sources; command line; give --a DIR and --b DIR, or --pairs DIR")
    if not options.fused:
        raise UserError("no results to score; command line; give --fused DIR [DIR ...]")
    if options.range != "full" and not options.layout:
        raise UserError("--range maps exposures together and infrared apart; command line; say which by --layout")
    if options.ir_range and options.layout in ("MEF", "MFF"):
        raise UserError(f"--ir-range is for infrared; command line; use --range with --layout {options.layout}")
    if options.html and not options.out:
        raise UserError("--html has nowhere to write; command line; add --out DIR")
    if options.out:
        check_folder(options.out)
    if options.workers < 0 or options.pictures < 0:
        raise UserError("--workers and --pictures count things; command line; give 0 or more")
    if not expand(",".join(options.names)):
        raise UserError("no metric chosen; --names; give common, all or names from python -m metrics --list")


def _rule(options: argparse.Namespace) -> ReadingRule:
    joint = {None: None, "yes": True, "no": False}[options.range_joint]
    return ReadingRule(options.range, options.ir_range, joint)


def _write(comparison: Comparison, options: argparse.Namespace, names: Sequence[str]) -> list[Path]:
    """Write all files to ``--out``."""
    sources = str(options.pairs) if options.pairs else f"{options.a}, {options.b}"
    provenance = {"version": f"{VERSION} ({commit()})", "colour": options.colour, **told(_rule(options)),
                  "sources": sources, **({"layout": options.layout} if options.layout else {}),
                  **({"truth": str(options.truth)} if options.truth else {}),
                  **({"pairs": "those that every method has"} if options.shared else {}),
                  "results": {method.name: str(method.folder) for method in comparison.methods},
                  "definitions": definitions(names)}
    files = comparison.write(options.out, provenance)
    if options.html:
        limits = PictureLimits(options.picture_mb, options.picture_side)
        files += write_report(comparison, options.out, title=options.title or "Fused pictures, scored",
                              provenance={key: value for key, value in provenance.items() if key != "definitions"},
                              stems=options.show, count=options.pictures, limits=limits)
    return files


if __name__ == "__main__":
    cli.run(main)
