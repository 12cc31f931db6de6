"""Ranks methods by their results files, without any picture.

    python -m metrics.leaderboard results/mine/metrics.json docs/report/ivf [--out leaderboard.md]

A results file holds the scores of one method: ``metrics.json`` of a run of ``test.py``, or a ``results_<method>.json``
that ``python -m metrics --out`` writes. Methods are compared on the pairs that have the same checksums in all of their
files. Files of other pairs get a table of their own.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import rankdata

from metrics.ranking import Ranking
from metrics.report import ARROWS, WORDS, render, table_lines
from metrics.results import Key, Result, read_result, results_in
from metrics.scores import Scores
from metrics.table import METRICS
from metrics.text import columns
from utils import cli
from utils.errors import UserError
from utils.files import check_folder
from utils.version import VERSION, commit

SUFFIXES = {".md": "leaderboard.md.j2", ".html": "leaderboard.html.j2"}
MARKS = {"best": "*", "second": "+", "": " "}


@dataclass(frozen=True)
class Leaderboard(Ranking):
    """The ranking of methods with common pairs.

    Attributes:
        stems, names, scores: see `Ranking`; the pairs are named as in the first file.
        versions: method -> version of the program that scored it.
        notes: what was left out, one line each.
    """

    stems: tuple[str, ...]
    names: tuple[str, ...]
    scores: dict[str, Scores]
    versions: dict[str, str]
    notes: tuple[str, ...]

    def places(self) -> dict[str, str]:
        """Ranked method -> its place by mean rank; methods that share one have ``=``, as ``2=``."""
        means = self.mean_ranks()
        if len(means) < 2:
            return {}
        places = [int(place) for place in rankdata([round(mean, 9) for mean in means.values()], method="min")]
        count = Counter(places)
        return {name: f"{place}{'=' * (count[place] > 1)}" for name, place in zip(means, places)}


class Group:
    """Results that can be compared: they share pairs, metrics and definitions.

    Args:
        first: the result to which the others must fit.
    """

    def __init__(self, first: Result) -> None:
        self.results = [first]
        self.keys: list[Key] = list(first.values)
        self.names = list(first.definitions)

    def add(self, result: Result) -> None:
        """Add a result that shares pairs with all others.

        Raises:
            UserError: it was scored in another way, or has the name of another.
        """
        names = [name for name in self.names if name in result.definitions]
        keys = [key for key in self.keys if key in result.values]
        self._check(result, names, keys)
        self.results.append(result)
        self.names, self.keys = names, keys

    def _check(self, result: Result, names: list[str], keys: list[Key]) -> None:
        first = self.results[0]
        if any(result.method == other.method for other in self.results):
            raise UserError(f"{result.path}: another result is called {result.method}; name it: OTHER={result.path}")
        if result.colour != first.colour:
            raise UserError(f"{result.path}: colour is scored as {result.colour}, in {first.path} as {first.colour}; "
                            "score both alike")
        for name in names:
            here, there = result.definitions[name], first.definitions[name]
            if here != there:
                raise UserError(f"{result.path}: {name} is {here}, in {first.path} it is {there}; score both by one "
                                "definition")
        if not names:
            raise UserError(f"{result.path}: has no metric of {first.path}; score both by the same ones")
        if any("t" in METRICS[name].inputs for name in names):
            for key in keys:
                if result.truths.get(key) != first.truths.get(key):
                    raise UserError(f"{result.path}: {result.stems[key]} has another ground truth than in "
                                    f"{first.path}; score both against one")

    def ranking(self) -> Leaderboard:
        """The leaderboard of all results."""
        stems = [self.results[0].stems[key] for key in self.keys]
        scores = {result.method: Scores(tuple(self.names), {
            stem: {name: result.values[key][name] for name in self.names} for stem, key in zip(stems, self.keys)})
            for result in self.results}
        notes = [f"{result.method}: {len(self.keys)} of its {len(result.values)} pairs are in all files"
                 for result in self.results if len(result.values) > len(self.keys)]
        lost = dict.fromkeys(name for result in self.results for name in result.definitions if name not in self.names)
        notes += [f"left out, as not all files have them: {', '.join(lost)}"] if lost else []
        versions = {result.method: result.version for result in self.results}
        return Leaderboard(tuple(stems), tuple(self.names), scores, versions, tuple(notes))


def make_leaderboards(results: Sequence[Result]) -> tuple[list[Leaderboard], list[str]]:
    """Compare results, in a table for each set of pairs.

    A result joins the first table with whose pairs it shares any; the table is then of the pairs that all have.

    Returns:
        The leaderboards, and one line for each result that was refused.
    """
    groups: list[Group] = []
    refused = []
    for result in results:
        home = next((group for group in groups if any(key in result.values for key in group.keys)), None)
        if home is None:
            groups.append(Group(result))
            continue
        try:
            home.add(result)
        except UserError as error:
            refused.append(str(error))
    return [group.ranking() for group in groups], refused


def text_table(board: Leaderboard) -> str:
    """A leaderboard as text; ``*`` marks the best of a column, ``+`` the second."""
    places = board.places()
    rows = [["", "method", "mean rank", *(f"{name}{ARROWS[METRICS[name].better]} " for name in board.names), "version"]]
    for line in table_lines(board):
        cells = [f"{cell.mean}{MARKS[cell.place]}" for cell in line.cells]
        place = places.get(line.method, "")
        rows.append([place if place.endswith("=") else f"{place} ", line.method, line.mean_rank, *cells,
                     board.versions[line.method]])
    return f"{heading(board)}\n{columns(rows, left=(1, len(rows[0]) - 1))}"


def heading(board: Leaderboard, shown: int = 6) -> str:
    """How many methods and pairs, and the names of the pairs."""
    stems = ", ".join(board.stems[:shown]) + (", ..." if len(board.stems) > shown else "")
    methods, pairs = len(board.scores), len(board.stems)
    return f"{methods} method{'s' * (methods != 1)} on {pairs} pair{'s' * (pairs != 1)}: {stems}"


def write_page(path: Path, boards: Sequence[Leaderboard], refused: Sequence[str]) -> None:
    """Write leaderboards as Markdown or as one self-contained HTML file, by the suffix of ``path``."""
    tables = [{"heading": heading(board), "metrics": [METRICS[name] for name in board.names], "places": board.places(),
               "lines": table_lines(board), "versions": board.versions,
               "notes": [*board.notes, *board.rank_notes()]} for board in boards]
    render(path, SUFFIXES[path.suffix], {"tables": tables, "arrows": ARROWS, "words": WORDS, "refused": refused,
                                         "version": f"{VERSION} ({commit()})"})


def parser() -> argparse.ArgumentParser:
    """The command line."""
    line = cli.Parser("python -m metrics.leaderboard", description="Rank methods by their results files.",
                      epilog="Results files: metrics.json of a run, results_<method>.json of python -m metrics --out.")
    line.add_argument("files", nargs="+", metavar="[NAME=]FILE",
                      help="results files, or folders that contain them; NAME= renames the method")
    line.add_argument("--out", type=Path, action="append", default=[], metavar="FILE",
                      help="also write the tables to this .md or .html file; may be given several times")
    return line


def main(arguments: list[str]) -> int:
    """Run the command. Exit code 2 if a file was refused; the others are compared nevertheless."""
    options = parser().parse_args(arguments)
    for path in options.out:
        if path.suffix not in SUFFIXES:
            raise UserError(f"{path}: leaderboards are written as .md or .html; --out; give such a name")
        check_folder(path.parent)
    results, refused = [], []
    for name, path in results_in(options.files):
        try:
            results.append(read_result(path, name))
        except UserError as error:
            refused.append(str(error))
    boards, unfit = make_leaderboards(results)
    refused += unfit
    sys.stdout.write("\n\n".join(text_table(board) for board in boards) + "\n" * bool(boards))
    for note in (note for board in boards for note in (*board.notes, *board.rank_notes())):
        sys.stderr.write(f"note: {note}\n")
    for path in options.out if boards else ():
        write_page(path, boards, refused)
        sys.stdout.write(f"{path}\n")
    sys.stderr.write("".join(f"error: {line}\n" for line in refused))
    return cli.USER_MISTAKE if refused else 0


if __name__ == "__main__":
    cli.run(main)
