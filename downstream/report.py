"""Writes the report of a comparison: tables with intervals, and what each row finds in the same pictures."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from downstream.drawing import ShownScene, legend_of, shown_scenes
from downstream.records import Record, read_record
from downstream.rows import Run, record_path, results_of, runs_of
from downstream.sets import scored_set
from downstream.statistics import Figure, figures_of, parts_of, worst_pictures
from downstream.tallies import Tally, labels_of, tally_of
from metrics.pictures import PictureLimits, encode_all
from metrics.report import render
from option.schema import Options
from utils.errors import UserError
from utils.files import atomic_write

TEMPLATES = Path(__file__).parent / "templates"
NAMES = {"segmentation": ("mIoU", "mIoU without background"), "detection": ("mAP50", "mAP")}
_LIMITS = PictureLimits(megabytes=6, side=400)


@dataclass(frozen=True)
class Results:
    """The finished runs of a comparison.

    Attributes:
        records: by row and seed; rows without a run are left out.
        tallies: the same runs, ready to be scored.
        runs: their options, by row and seed.
        stems: the test pictures.
        figures: scores by part, row and name.
        parts: the pictures of each part, (n,) bool.
        baseline: row that the others are compared with.
    """

    records: dict[str, dict[int, Record]]
    tallies: dict[str, dict[int, Tally]]
    runs: dict[str, dict[int, Run]]
    stems: list[str]
    figures: dict[str, dict[str, dict[str, Figure]]]
    parts: dict[str, np.ndarray]
    baseline: str


def read_results(options: Options) -> Results:
    """Read and score the finished runs.

    Raises:
        UserError: no run is finished, or the test set cannot be read.
    """
    settings, compare = options.downstream, options.downstream.compare
    records: dict[str, dict[int, Record]] = {}
    runs: dict[str, dict[int, Run]] = {}
    for one in runs_of(options):
        record = read_record(record_path(options, one), one.digest)
        if record:
            records.setdefault(one.row, {})[one.seed] = record
            runs.setdefault(one.row, {})[one.seed] = one
    if not records:
        raise UserError(f"{results_of(options)}: no finished run of these options; run the command without --report")
    records = {row: records[row] for row in compare.rows if row in records}
    first = next(iter(next(iter(runs.values())).values()))
    scenes = scored_set(first.options, "test", check=False)
    wanted = labels_of(scenes) if settings.task == "detection" else None
    tallies = {row: {seed: tally_of(record, scenes, settings.classes, wanted) for seed, record in own.items()}
               for row, own in records.items()}
    stems = [scene.stem for scene in scenes.scenes]
    parts, baseline = parts_of(stems, compare.parts), compare.baseline or next(iter(compare.rows))
    figures = {part: figures_of(tallies, baseline, chosen, compare.resamples) for part, chosen in parts.items()}
    return Results(records, tallies, runs, stems, figures, parts, baseline)


def write_comparison(options: Options) -> Path:
    """Write ``report.html``, ``scores.md`` and ``scores.json`` of the finished runs, and return the first.

    Raises:
        UserError: as ``read_results``.
    """
    results, folder = read_results(options), results_of(options)
    with atomic_write(folder / "scores.json") as temporary:
        temporary.write_text(json.dumps(_plain(results), indent=1) + "\n", encoding="utf-8")
    with atomic_write(folder / "scores.md") as temporary:
        temporary.write_text(markdown(results, _names(options, results)), encoding="utf-8")
    shown = worst_pictures(results.tallies, options.downstream.compare.shown)
    pairs = shown_scenes(options, results.records, results.runs, shown)
    uris, coding = encode_all(pairs, _LIMITS)
    content = describe(options, results, pairs) | {"uris": uris, "coding": coding}
    return render(folder / "report.html", "compare.html.j2", content, TEMPLATES)


def describe(options: Options, results: Results, pairs: Sequence[ShownScene]) -> dict[str, Any]:
    """The content of the page."""
    compare, names = options.downstream.compare, _names(options, results)
    seeds = {len(own) for own in results.records.values()}
    return {
        "title": f"{options.name}: {options.downstream.task} by row", "note": compare.note or "", "names": names,
        "sentences": [sentence(results, part, names[0]) for part in results.parts],
        "facts": {"rows": len(results.records), "test pictures": len(results.stems),
                  "seeds a row": " to ".join(str(count) for count in sorted({min(seeds), max(seeds)})),
                  "bootstrap samples": compare.resamples},
        "baseline": results.baseline,
        "parts": [{"name": part, "title": "All pictures" if part == "all" else part.capitalize(),
                   "pictures": int(chosen.sum()), "lines": _lines(results.figures[part], names)}
                  for part, chosen in results.parts.items()],
        "pairs": pairs, "worst": [pair.stem for pair in pairs],
        "seed": next(iter(next(iter(results.records.values())))),
        "legend": legend_of(options.downstream.classes, boxes=options.downstream.task == "detection"),
        "runs": [_run_line(row, own) for row, own in results.records.items()],
    }


def sentence(results: Results, part: str, name: str) -> str:
    """The result of a part in one sentence: the best row, and the rows whose interval excludes 0."""
    figures = {row: own[name] for row, own in results.figures[part].items()}
    best = max(figures, key=lambda row: figures[row].mean)
    above = [row for row, one in figures.items() if one.clear > 0]
    below = [row for row, one in figures.items() if one.clear < 0]
    told = f"{part.capitalize()}, {name}: {best} is highest, {_score(figures[best])}."
    told += f" Above {results.baseline}, with an interval that excludes 0: {'; '.join(above) or 'none'}."
    return told + f" Below: {'; '.join(below) or 'none'}."


def markdown(results: Results, names: Sequence[str]) -> str:
    """The tables of all parts."""
    blocks = []
    for part, chosen in results.parts.items():
        lines = [f"**{part}** ({int(chosen.sum())} pictures)", "", "| row | seeds | " + " | ".join(
            f"{name} | difference" for name in names) + " |", "|---|---|" + "---|---|" * len(names)]
        for row, own in results.figures[part].items():
            cells = [f"{_score(own[name])} | {_difference(own[name])} {_interval(own[name])}".strip()
                     for name in names]
            lines.append(f"| {row} | {own[names[0]].seeds} | " + " | ".join(cells) + " |")
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _names(options: Options, results: Results) -> list[str]:
    """The scores of the tables: those of the task, then those of the classes that have labels."""
    first = next(iter(results.figures["all"].values()))
    general = NAMES[options.downstream.task]
    return [*general, *(name for name in first if name not in general and not math.isnan(first[name].mean))]


def _lines(figures: Mapping[str, Mapping[str, Figure]], names: Sequence[str]) -> list[dict[str, Any]]:
    best = {name: max((own[name].mean for own in figures.values() if not math.isnan(own[name].mean)), default=None)
            for name in names}
    return [{"row": row, "seeds": own[names[0]].seeds, "cells": [
        {"score": _score(own[name]), "difference": _difference(own[name]), "interval": _interval(own[name]),
         "sign": {1: "above", -1: "below", 0: ""}[own[name].clear], "best": own[name].mean == best[name]}
        for name in names]} for row, own in figures.items()]


def _score(one: Figure) -> str:
    if math.isnan(one.mean):
        return "–"
    return f"{100 * one.mean:.1f}" + ("" if math.isnan(one.std) else f" ± {100 * one.std:.1f}")


def _difference(one: Figure) -> str:
    return "" if math.isnan(one.difference) else f"{100 * one.difference:+.1f}".replace("-", "−")


def _interval(one: Figure) -> str:
    if math.isnan(one.low):
        return ""
    return f"[{100 * one.low:+.1f}, {100 * one.high:+.1f}]".replace("-", "−")


def _run_line(row: str, own: Mapping[int, Record]) -> dict[str, str]:
    abouts = [record.about for record in own.values()]
    origin = {key: value for key, value in abouts[0].items() if key.startswith(("fuse", "features", "pictures"))}
    return {"row": row, "seeds": ", ".join(map(str, own)),
            "steps": ", ".join(sorted({str(about["steps"]) for about in abouts})),
            "minutes": f"{np.mean([about['seconds'] for about in abouts]) / 60:.1f}",
            "commit": ", ".join(sorted({str(about["commit"]) for about in abouts})),
            "origin": "; ".join(f"{key} {value}" for key, value in origin.items()) or "–"}


def _plain(results: Results) -> dict[str, Any]:
    """The figures of all parts, rows and scores, and where they come from; NaN becomes None."""
    def number(value: Any) -> Any:
        return None if isinstance(value, float) and math.isnan(value) else value

    return {"baseline": results.baseline,
            "pictures": {part: int(chosen.sum()) for part, chosen in results.parts.items()},
            "runs": [record.about for own in results.records.values() for record in own.values()],
            "scores": {part: {row: {name: {key: number(value) for key, value in asdict(one).items()}
                                    for name, one in own.items()} for row, own in rows.items()}
                       for part, rows in results.figures.items()}}
