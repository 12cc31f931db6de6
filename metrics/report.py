"""Writes the report of a comparison as one self-contained HTML file and as Markdown."""

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from metrics.pictures import PictureLimits, ShownPair, choose_stems, crop_at, encode_all, load_pairs
from metrics.plots import MAX_DOTS, make_plot
from metrics.ranking import Comparison, Ranking, direction, file_name
from metrics.scores import Provenance, one_line
from metrics.table import METRICS
from utils.files import atomic_write
from utils.pictures.writing import write_picture

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
ARROWS = {"higher": "↑", "lower": "↓", "nearest0": "→0"}
WORDS = {"higher": "higher is better", "lower": "lower is better", "nearest0": "nearer to 0 is better"}
MARKDOWN_COLUMNS = 4
DETAIL_SIDE = 240
_WRITTEN = ".written"  # list of the report's files in a folder


@dataclass(frozen=True)
class Cell:
    """A number of the table as text; ``place`` is ``best``, ``second`` or empty."""

    mean: str
    std: str
    rank: str
    place: str
    value: float | None


@dataclass(frozen=True)
class Line:
    """The row of one method in the table."""

    method: str
    pairs: int
    ranked: bool
    mean_rank: str
    rank_share: float | None
    place: str
    cells: tuple[Cell, ...]
    seconds: str


def definitions(names: Sequence[str]) -> dict[str, str]:
    """Metric -> the definition that was used, e.g. ``{"SSIM": "SSIM@VIFB"}``."""
    return {name: METRICS[name].key for name in names}


def write_report(comparison: Comparison, folder: str | Path, *, title: str, provenance: Provenance, note: str = "",
                 links: Mapping[str, str] | None = None, stems: Sequence[str] | None = None, count: int = 4,
                 limits: PictureLimits | None = None, html: bool = True, markdown: bool = True) -> list[Path]:
    """Write ``report.html``, and ``report.md`` with its pictures in ``report_files/``; an earlier report is replaced.

    Other files in these folders are kept.

    Args:
        comparison: the comparison to report.
        folder: output folder.
        title: heading.
        provenance: origin of the numbers; shown unchanged.
        note: introduction below the title.
        links: text -> address of related pages, for the HTML file.
        stems: the pairs to show; None: those on which the methods disagree most.
        count: number of those pairs.
        limits: size limits for the pictures of the HTML file.
        html, markdown: which formats to write.

    Returns:
        The report files.

    Raises:
        UserError: ``stems`` names a pair that does not exist.
    """
    folder = Path(folder)
    limits = limits or PictureLimits()
    chosen = choose_stems(comparison, count) if stems is None else list(stems)
    pairs = load_pairs(comparison, chosen, limits.side)
    content = describe(comparison, title, provenance, note)
    content |= {"chosen": stems is None, "pairs": pairs, "links": links or {}}
    written = []
    if html:
        uris, coding = encode_all(pairs, limits)
        written.append(render(folder / "report.html", "report.html.j2", {**content, "uris": uris, "coding": coding}))
    if markdown:
        files = _write_files(folder / "report_files", content["plots"], pairs)
        written.append(render(folder / "report.md", "report.md.j2", {**content, **files}))
    return written


def decimals(values: Sequence[float]) -> int:
    """Digits after the decimal point that distinguish the values: four significant digits, at most three decimals,
    more only if the values are closer together."""
    good = [abs(value) for value in values if math.isfinite(value)]
    largest = max(good, default=0.0)
    if largest == 0:
        return 3
    digits = min(3, max(0, 3 - math.floor(math.log10(largest))))
    spread = max(good) - min(good)
    if 0 < spread < 3 * 10.0**-digits:
        digits = max(digits, 1 - math.floor(math.log10(spread)))
    return min(digits, 6)


def describe(comparison: Comparison, title: str, provenance: Provenance, note: str = "") -> dict[str, Any]:
    """The content of a comparison for the HTML and Markdown templates."""
    lines = table_lines(comparison)
    return {
        "title": title,
        "note": note,
        "metrics": [METRICS[name] for name in comparison.names],
        "arrows": {name: ARROWS[direction(name)] for name in comparison.names},
        "words": {name: WORDS[direction(name)] for name in comparison.names},
        "lines": lines,
        "counts": {"methods": len(lines), "pairs": len(comparison.stems), "metrics": len(comparison.names)},
        "stems": comparison.stems,
        "headline": _headline(comparison),
        "any_rank": len(comparison.ranked) > 1,
        "any_seconds": any(line.seconds for line in lines),
        "plots": [make_plot(comparison, name) for name in comparison.names],
        "dots": len(comparison.stems) <= MAX_DOTS,
        "provenance": {key: one_line(value) for key, value in provenance.items()},
        "problems": comparison.problems(),
    }


def table_lines(comparison: Ranking) -> tuple[Line, ...]:
    """The rows of the table: ranked methods by mean rank, then methods with only some pairs."""
    order, ranks, mean_ranks = comparison.order(), comparison.ranks(), comparison.mean_ranks()
    means = {method: comparison.scores[method].mean() for method in order}
    stds = {method: comparison.scores[method].std() for method in order}
    digits = {name: decimals([means[method][name] for method in order]) for name in comparison.names}
    places = {name: _places({method: row[name] for method, row in ranks.items() if name in row})
              for name in comparison.names}
    overall, many = _places(mean_ranks), len(comparison.ranked)
    lines = []
    for method in order:
        row = ranks.get(method, {})
        cells = tuple(
            Cell(_number(means[method][name], digits[name]), _number(stds[method][name], digits[name]),
                 _place_text(row.get(name)) if many > 1 else "", places[name].get(method, ""),
                 means[method][name] if math.isfinite(means[method][name]) else None)
            for name in comparison.names)
        mean_rank = mean_ranks.get(method) if many > 1 else None
        share = None if mean_rank is None else (mean_rank - 1) / (many - 1)
        seconds = comparison.scores[method].mean_seconds()
        lines.append(Line(method, len(comparison.scores[method].values), method in comparison.ranked,
                          "" if mean_rank is None else f"{mean_rank:.2f}", share, overall.get(method, ""), cells,
                          "" if math.isnan(seconds) else f"{seconds:.3g}"))
    return tuple(lines)


def _places(costs: dict[str, float]) -> dict[str, str]:
    """The best and the second best method, by distinct values; empty for fewer than two methods or if all tie."""
    levels = sorted(set(costs.values()))
    if len(levels) < 2:
        return {}
    marks = {levels[0]: "best", levels[1]: "second"}
    if len(levels) == 2 and len(costs) == 2:
        marks.pop(levels[1])
    return {method: marks[cost] for method, cost in costs.items() if cost in marks}


def _headline(comparison: Comparison) -> str:
    """A sentence about the mean ranks."""
    means = comparison.mean_ranks()
    if len(means) < 2:
        return ""
    order = [method for method in comparison.order() if method in means]
    best = means[order[0]]
    winners = [method for method in order if math.isclose(means[method], best)]
    told = f"{_listed(winners)} {'has' if len(winners) == 1 else 'share'} the best mean rank, {best:.2f}"
    levels: dict[str, list[str]] = {}
    for method in order[len(winners):]:
        levels.setdefault(f"{means[method]:.2f}", []).append(method)
    followers = [f"{_listed(methods)} ({level})" for level, methods in list(levels.items())[:2]]
    return told + (f"; next: {'; '.join(followers)}." if followers else ".")


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}".replace("-", "−").replace("inf", "∞")


def _place_text(rank: float | None) -> str:
    return "" if rank is None else f"{rank:g}"


def _environment(html: bool, *folders: Path) -> "Environment":
    """The template environment, with templates of this package and of ``folders``; HTML and SVG escape all values,
    Markdown only what would break its tables."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # imported here: scoring does not need this extra
    from markupsafe import Markup

    environment = Environment(loader=FileSystemLoader([TEMPLATES, *folders]), undefined=StrictUndefined,
                              autoescape=html, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    environment.filters["json"] = lambda value: Markup(
        json.dumps(value, ensure_ascii=True).replace("<", "\\u003c").replace("&", "\\u0026"))
    return environment


def render(path: Path, template: str, content: dict[str, Any], *folders: Path) -> Path:
    """Render a template of this package or of ``folders`` to a file; ``.html.j2`` escapes all values."""
    text = _environment(template.endswith(".html.j2"), *folders).get_template(template).render(content)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _write_files(folder: Path, plots: Sequence, pairs: Sequence[ShownPair]) -> dict[str, Any]:
    """Write the pictures of the Markdown report: a plot per metric, and each shown picture with a magnified region.

    Returns:
        ``plot_files`` and ``picture_rows``: for each pair, rows of (label, picture, detail), relative paths.
    """
    _remove_written(folder)  # pictures of an earlier report would stay beside the new ones
    template = _environment(html=True).get_template("plot_file.svg.j2")
    plot_files = []
    for plot in plots:
        plot_files.append(f"{folder.name}/{file_name(plot.name)}.svg")
        with atomic_write(folder.parent / plot_files[-1]) as temporary:
            temporary.write_text(template.render(plot=plot), encoding="utf-8")
    picture_rows, written = [], list(plot_files)
    for pair in pairs:
        entries = []
        for number, one in enumerate(pair.pictures):
            stem = f"{folder.name}/{file_name(pair.stem)}/{number:02d}_{file_name(one.label)}"
            detail = crop_at(one.pixels, pair.focus)
            scale = max(1, DETAIL_SIDE // max(detail.shape[:2]))
            detail = cv2.resize(detail, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
            for name, pixels in ((f"{stem}.png", one.pixels), (f"{stem}_detail.png", detail)):
                write_picture(folder.parent / name, pixels)
            entries.append((one.label, f"{stem}.png", f"{stem}_detail.png"))
            written += [f"{stem}.png", f"{stem}_detail.png"]
        picture_rows.append([entries[at:at + MARKDOWN_COLUMNS] for at in range(0, len(entries), MARKDOWN_COLUMNS)])
    with atomic_write(folder / _WRITTEN) as temporary:
        temporary.write_text("".join(f"{name.partition('/')[2]}\n" for name in written), encoding="utf-8")
    return {"plot_files": plot_files, "picture_rows": picture_rows, "columns": MARKDOWN_COLUMNS}


def _remove_written(folder: Path) -> None:
    """Remove the files that an earlier report wrote to its folder, and nothing else."""
    listing = folder / _WRITTEN
    if not listing.is_file():
        return
    paths = [folder / name for name in listing.read_text(encoding="utf-8").splitlines() if ".." not in name]
    for path in paths:
        if folder in path.parents:
            path.unlink(missing_ok=True)
    for parent in {path.parent for path in paths} - {folder}:
        with contextlib.suppress(OSError):  # something else lies there
            parent.rmdir()
