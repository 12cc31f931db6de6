"""Makes the comparison in docs/report: all methods on the simulated demo pairs of the three tasks.

Beside each task's page lie the results files of the methods, for `defusionpp leaderboard`.

    python -m benchmarks.comparison docs/report [--weights [FILE ...]]

Uses the weights in pretrained/, or the given files; ``--weights`` without a file compares only methods without weights.
The pairs are generated temporarily; only the installed packages are needed. Enfuse and StackMFF V3 take part where
their programs are installed.
"""

import argparse
import logging
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data.demo import PHOTOGRAPHS, write_demo
from metrics import COMMON
from metrics.evaluate import score_folders
from metrics.folders import Method, find_scenes, find_sources, with_truths
from metrics.index import Chapter, write_index
from metrics.pictures import PictureLimits
from metrics.ranking import Comparison, file_name
from metrics.report import definitions, write_report
from metrics.scores import one_line
from models.external import Program
from models.fuser import Fuser
from models.registry import MODELS
from models.weight_files import DEFAULT_WEIGHTS, find_weights, pretrained_names
from utils.cli import run
from utils.errors import UserError
from utils.pictures.pairs import PairList
from utils.pictures.reading import read_grey_or_rgb
from utils.pictures.writing import write_picture
from utils.plots import ContactSheet
from utils.version import VERSION, commit

log = logging.getLogger("comparison")

COMMAND = "python -m benchmarks.comparison docs/report"
TITLE = "Fusion methods side by side, on simulated pairs"
NOTE = ("The pairs are simulated from photographs that scikit-image carries (public domain or CC0): no thermal camera, "
        "no bracketing and no second focus made them. They are few and easy: a look at what each method does, no "
        "benchmark. What the learned methods were trained on stands beside their weights in pretrained/. To make this "
        f"again: make report, which is {COMMAND}.")
LIMITS = PictureLimits(megabytes=0.3, side=420)
SHOWN = 2  # pairs with a magnifier; the sheet shows all
CELL = 144
TRUTH = ("PSNR_truth", "SSIM_truth")
EVERYWHERE = {name: (name, {}) for name in ("Average", "Maximum", "LaplacianPyramid", "SaliencePyramid")}


@dataclass(frozen=True)
class Task:
    """A page of the report.

    Attributes:
        title: heading.
        sides: labels of the two sources, in the order of the fuser.
        note: explanation of the numbers.
        names: metrics in addition to the common ten.
        truth: whether the photograph is a ground truth for the fused picture.
        methods: methods without weights for this task only: name -> (registered model, keywords).
    """

    title: str
    sides: tuple[str, str]
    note: str
    names: tuple[str, ...] = ()
    truth: bool = False
    methods: dict[str, tuple[str, dict]] = field(default_factory=dict)


TASKS = {
    "IVF": Task("Infrared and visible", ("infrared (ir)", "visible (vi)"),
                "People, a cup and a rocket, by night or in fog, and what is warm of them. There is no truth to "
                "compare with: the photograph does not show what is warm."),
    "MEF": Task("Two exposures", ("over", "under"),
                "Scenes under uneven light, exposed for either end of it. PSNR_truth and SSIM_truth compare with the "
                "photograph before its light was made uneven: one good answer among several.",
                ("MEF_SSIM",), True,
                {"SaliencePyramid, exposure base": ("SaliencePyramid", {"base": "exposure"}),
                 "Mertens": ("Mertens", {}), "Mertens, with exposure": ("Mertens", {"exposure": 1.0}),
                 "enfuse": ("Enfuse", {})}),
    "MFF": Task("Two focus settings", ("near in focus (a)", "far in focus (b)"),
                "One side of an outline blurred, then the other. PSNR_truth and SSIM_truth compare with the "
                "photograph, which is in focus everywhere.",
                ("Q_CB",), True, {"FocusSelection": ("FocusSelection", {}), "enfuse": ("Enfuse", {}),
                           "StackMFF V3": ("StackMFFV3", {})}),
}


def main(arguments: list[str]) -> None:
    """Make the pairs, fuse and score them, and write the pages."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.comparison", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of the report; files of an earlier one are replaced")
    parser.add_argument("--weights", type=Path, nargs="*", metavar="FILE",
                        help="default: the shipped ones; none: only methods without weights")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    shipped = [find_weights(name) for name in sorted(pretrained_names(), key=lambda name: name != DEFAULT_WEIGHTS)]
    learned = load_learned(shipped if given.weights is None else given.weights)
    provenance = {
        "version": f"{VERSION} ({commit()})", "made by": COMMAND, "colour": "grey",
        "weights": {name: f"{path.name} (SHA-256 {fuser.checksum}…)" for name, (path, fuser) in learned.items()},
        "photographs": {name: photograph.licence for name, photograph in PHOTOGRAPHS.items()},
    }
    with tempfile.TemporaryDirectory() as folder:
        write_demo(Path(folder))
        chapters = [write_page(Path(folder), given.out, name, {name: fuser for name, (_, fuser) in learned.items()},
                               provenance) for name in TASKS]
    told = {key: one_line(value) for key, value in provenance.items() if value}
    for path in write_index(given.out, chapters, title=TITLE, note=NOTE, provenance=told):
        log.info("%s", path)


def load_learned(files: Sequence[Path]) -> dict[str, tuple[Path, Fuser]]:
    """Name -> (weights, fuser). The name is that of the model, with that of the file if several have the same model."""
    fusers = [Fuser.from_pretrained(path) for path in files]
    models = [type(fuser.model).__name__ for fuser in fusers]
    count = Counter(models)
    return {model if count[model] == 1 else f"{model}, {path.stem}": (path, fuser)
            for model, path, fuser in zip(models, files, fusers)}


def load_weightless(methods: dict[str, tuple[str, dict]]) -> dict[str, Fuser]:
    """Fusers of models without weights by name; programs that are not installed are left out with a line."""
    fusers = {}
    for method, (model, keywords) in methods.items():
        try:
            fusers[method] = Fuser(MODELS.create(model, **keywords))
        except UserError as error:
            if not issubclass(MODELS.get(model), Program):
                raise
            log.info("left out: %s", error)
    return fusers


def write_page(demo: Path, out: Path, name: str, learned: dict[str, Fuser], provenance: dict) -> Chapter:
    """Fuse and score one task, and write its page and results files to ``out/<task>/``."""
    task, place = TASKS[name], name.lower()
    sources = (find_sources(demo / "ivf" / "ir", demo / "ivf" / "vi") if name == "IVF"
               else find_scenes(demo / place / "input"))
    if task.truth:
        sources = with_truths(sources, demo / "photos")
    weightless = load_weightless(EVERYWHERE | task.methods)
    methods = [fuse_pairs(method, fuser, sources, demo / "fused" / place, name)
               for method, fuser in (weightless | learned).items()]
    names = [*COMMON, *task.names, *(TRUTH if task.truth else ())]
    comparison = score_folders(sources, methods, names, workers=0)
    write_report(comparison, out / place, title=f"{task.title}: simulated pairs", note=f"{NOTE} {task.note}",
                 provenance=provenance, count=SHOWN,
                 links={"All tasks": "../index.html"}, limits=LIMITS, markdown=False)
    comparison.write_results(out / place, {**provenance, "sources": f"python -m data.demo, {place}",
                                           "definitions": definitions(names)})
    return Chapter(place, task.title, task.note, comparison, draw_sheet(comparison, task.sides))


def fuse_pairs(method: str, fuser: Fuser, sources: PairList, folder: Path, task: str) -> Method:
    """Fuse all pairs, writing the pictures to a separate folder."""
    log.info("%s: %s", task, method)
    folder = folder / file_name(method)
    for pair in sources.pairs:
        fused = fuser(pair.first, pair.second, task=task, components=False).fused
        write_picture(folder / f"{pair.stem}.png", fused)
    return Method(method, folder)


def draw_sheet(comparison: Comparison, sides: tuple[str, str]) -> np.ndarray:
    """All pictures: a row for each source and each method, best first, a column for each pair."""
    pairs, methods = comparison.sources.pairs, {method.name: method for method in comparison.methods}
    sheet = ContactSheet(comparison.stems, cell=CELL)
    for side, files in zip(sides, ([pair.first for pair in pairs], [pair.second for pair in pairs])):
        sheet.add(side, [read_grey_or_rgb(file) for file in files])
    for method in comparison.order():
        sheet.add(method, [read_grey_or_rgb(methods[method].pictures[stem]) for stem in comparison.stems])
    return sheet.render()


if __name__ == "__main__":
    run(main)
