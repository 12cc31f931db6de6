"""Checks the data sets of an option file before training or fusing.

    python -m data.check -opt option/test/IVF_TransformerTest_Dataset.yaml

Decodes every picture. Reports counts, sizes, bit depths, unpaired and unreadable files, and pairs whose edges agree
better when one picture is shifted. The exit code is 1 if anything would be skipped.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data.irvis import pair_folders
from data.photos import photo_files
from data.shard_names import counted, shard_urls
from data.shards import read_shard
from option.load import options_from_command_line
from option.schema import Options, PairDataOptions, TestDataOptions, TrainDataOptions
from utils.cli import run
from utils.errors import UserError
from utils.pictures.alignment import AS_THEY_LIE, AlignRule, EdgeShift, edge_shift
from utils.pictures.pairs import PairList, PairPaths, Stack, find_pairs, match_stems
from utils.pictures.parts import FUSED
from utils.pictures.picture import Picture
from utils.pictures.reading import ReadingRule, read_scene

_SHOWN = 20
_LONGEST_NAME = 255  # bytes, of nearly all file systems


@dataclass
class Report:
    """The contents of one data set.

    Attributes:
        title: its key in the option file.
        unit: what is counted.
        usable: number of usable items.
        problems: one line for each item that would be skipped.
        notes: one line for each item that is left out on purpose.
        kinds: counts of (width, height, bits, channels).
        shifts: stem -> shift at which the edges of the pair agree best.
    """

    title: str
    unit: str
    usable: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    kinds: Counter[tuple[int, int, int, int]] = field(default_factory=Counter)
    shifts: dict[str, EdgeShift] = field(default_factory=dict)

    def saw(self, picture: Picture) -> None:
        """Count a picture."""
        self.kinds[(*picture.size, picture.bit_depth, picture.pixels.shape[2])] += 1


def check(options: Options, *, seed: int = 1) -> list[Report]:
    """One report for each data set that the options name."""
    reports = []
    train, data = options.dataset.train, options.dataset
    if train and train.photo_root and train.type != "irvis":
        checks = check_shards if train.type == "webdataset" else check_photographs
        reports.append(_guarded(Report("dataset.train: photographs", "photographs"), checks, train, seed))
    if train and (train.pair_folders[0] or train.type == "irvis"):
        reports.append(_guarded(Report("dataset.train: registered pairs", "pairs"), check_training_pairs, train))
    for name, part in (("val", data.val), ("test", data.test)):
        if part:
            reports.append(_guarded(Report(f"dataset.{name}", "pairs"), check_layout, part, options.name))
    return reports


def _guarded(report: Report, fill: Callable[..., None], *arguments: Any) -> Report:
    """A missing data set is reported; the others are still checked."""
    try:
        fill(report, *arguments)
    except UserError as error:
        report.problems.append(str(error))
    return report


def check_photographs(report: Report, options: TrainDataOptions, seed: int) -> None:
    """Decode the photographs that a run with this seed would draw."""
    root, files = photo_files(options, seed=seed, run_dir=None)
    rule, role = ReadingRule.of(options), "infrared" if options.type == "infrared" else "none"

    def read(path: Path) -> Picture:
        return read_scene([path], rule, [role])[0]

    for _, picture in _decoded([root / name for name in files], read, report):
        report.usable += 1
        report.saw(picture)


def check_shards(report: Report, options: TrainDataOptions, _: int) -> None:
    """Count the pictures of every shard without decoding them, and compare with the index."""
    urls = shard_urls(options.photo_root, allow_programs=options.allow_programs)
    limit = round(options.member_megabytes * 1e6)
    for url in tqdm(urls, report.title, leave=False, disable=None):
        try:
            large: dict[str, str] = {}
            report.usable += sum(1 for _ in read_shard(url, member_bytes=limit, problems=large))
            report.problems.extend(large.values())
        except Exception as error:  # tar, network and pipes raise different errors
            report.problems.append(f"{url}: the shard breaks off ({type(error).__name__}: {error})")
    total = counted(urls)
    if total not in (None, report.usable):
        report.problems.append(f"the shards hold {report.usable} pictures, their index says {total}; write them again")


def check_training_pairs(report: Report, options: TrainDataOptions) -> None:
    """Decode the registered pairs of stage 2."""
    pairs = match_stems(*pair_folders(options), report.problems, check=False)
    check_pairs(report, PairList(pairs, task="IVF"), ReadingRule.of(options))


def check_layout(report: Report, options: PairDataOptions, run_name: str) -> None:
    """Decodes the pairs of a test layout, and looks for names that results could not have."""
    found = find_pairs(options, run_name, stacks=options.whole_stacks)
    report.problems.extend(found.problems)
    report.notes.extend(found.notes)
    report.title += f" ({found.task})"
    usable = []
    for pair in found.pairs:
        excess = len(os.fsencode(f"{pair.stem}_{FUSED}.png")) - _LONGEST_NAME
        if excess > 0:
            report.problems.append(f"{pair.first}: the name is {_count(excess, 'bytes')} too long for a result; "
                                   "shorten it")
        else:
            usable.append(pair)
    align = AlignRule.of(options) if isinstance(options, TestDataOptions) else AS_THEY_LIE
    check_pairs(report, replace(found, pairs=usable), ReadingRule.of(options), align)


def check_pairs(report: Report, found: PairList, rule: ReadingRule, align: AlignRule = AS_THEY_LIE) -> None:
    """Decodes pairs, aligns them as the options say, and compares their edges."""
    by_stem = {pair.stem: pair for pair in found.pairs}
    for stem, (pair, shift) in _decoded(by_stem, lambda stem: _compared(found, by_stem[stem], rule, align), report):
        report.usable += 1
        for picture in pair.pictures:
            report.saw(picture)
        report.problems.extend(pair.doubts)
        if shift:
            report.shifts[stem] = shift


def _compared(found: PairList, paths: PairPaths, rule: ReadingRule,
              align: AlignRule) -> tuple[Stack, EdgeShift | None]:
    scene = found.load(paths, rule, align)
    return scene, edge_shift(*scene.pictures[:2])


def _decoded(items: Iterable[Any], read: Callable[[Any], Any], report: Report) -> Iterable[tuple[Any, Any]]:
    """Yield (item, decoded item) for readable items; the others are added to the problems."""
    items = list(items)

    def attempt(item: Any) -> Any:
        try:
            return read(item)
        except UserError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # In chunks, so that decoded pictures do not accumulate if the consumer is slow.
        for start in tqdm(range(0, len(items), 16), report.title, leave=False, disable=None):
            portion = items[start:start + 16]
            for item, result in zip(portion, pool.map(attempt, portion)):
                if isinstance(result, UserError):
                    report.problems.append(str(result))
                else:
                    yield item, result


def describe(report: Report) -> str:
    """Format a report as text."""
    lines = [report.title, f"  usable    {_count(report.usable, report.unit)}"]
    if report.kinds:
        lines += [f"  sizes     {_sizes(report.kinds)}", f"  pixels    {_pixels(report.kinds)}"]
    if report.shifts:
        here = np.mean([shift.here for shift in report.shifts.values()])
        odd = {stem: shift for stem, shift in report.shifts.items() if shift.misregistered}
        lines.append(f"  edges     agree by {here:.2f} on average; {_count(len(odd), 'pairs')} "
                     f"look{'s' * (len(odd) == 1)} misregistered")
        for stem, shift in sorted(odd.items(), key=lambda entry: entry[1].here - entry[1].best)[:_SHOWN]:
            lines.append(f"    {stem}: better ({shift.here:.2f} to {shift.best:.2f}) with the second picture "
                         f"{_moved(shift)}")
    lines += [f"  left out  {note}" for note in report.notes]
    lines.append(f"  skipped   {_count(len(report.problems), 'problems') if report.problems else 'nothing'}")
    lines += [f"    {problem}" for problem in report.problems[:_SHOWN]]
    if len(report.problems) > _SHOWN:
        lines.append(f"    and {len(report.problems) - _SHOWN} more")
    return "\n".join(lines)


def _count(number: int, plural: str) -> str:
    return f"{number} {plural[:-1] if number == 1 else plural}"


def _sizes(kinds: Counter[tuple[int, int, int, int]]) -> str:
    sizes: Counter[tuple[int, int]] = Counter()
    for (width, height, *_), count in kinds.items():
        sizes[width, height] += count
    (width, height), count = sizes.most_common(1)[0]
    text = f"{width} x {height} ({count} of {sizes.total()})"
    if len(sizes) > 1:
        least, most = (choose(sizes, key=lambda size: size[0] * size[1]) for choose in (min, max))
        text += f", {len(sizes)} sizes from {least[0]} x {least[1]} to {most[0]} x {most[1]}"
    return text


def _pixels(kinds: Counter[tuple[int, int, int, int]]) -> str:
    pixels: Counter[str] = Counter()
    for (_, _, bits, channels), count in kinds.items():
        pixels[f"{bits} bit {'grey' if channels == 1 else 'RGB'}"] += count
    return ", ".join(f"{text} ({count})" for text, count in pixels.most_common())


def _moved(shift: EdgeShift) -> str:
    parts = [f"{abs(amount):.0f} px {positive if amount > 0 else negative}"
             for amount, positive, negative in ((-shift.dx, "right", "left"), (-shift.dy, "down", "up"))
             if round(abs(amount))]
    return " and ".join(parts)


def main(arguments: list[str]) -> int:
    """Print the reports; returns 1 if anything would be skipped."""
    options = options_from_command_line(arguments, __doc__)
    reports = check(options, seed=options.train.manual_seed)
    if not reports:
        raise UserError("this option file names no data set; set dataset.train, dataset.val or dataset.test")
    sys.stdout.write("\n\n".join(describe(report) for report in reports) + "\n")
    return int(any(report.problems for report in reports))


if __name__ == "__main__":
    run(main)
