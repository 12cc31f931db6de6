"""Formats the numbers of a run as a table, compares two runs, and stores them as JSON."""

import json
from pathlib import Path
from typing import Any

from utils.errors import MissingFileError, UserError
from utils.files import atomic_write

HEADER = ("", "a second", "seconds", "TFLOP", "GFLOP/s", "of ceiling", "of shapes", "peak GB", "free", "split")
CROWDED = 0.9


def render(result: dict[str, Any]) -> str:
    """The table of a run, as Markdown.

    Args:
        result: "machine", "ceiling" and "rows", see ``benchmarks/bench.py``.
    """
    ceiling = result["ceiling"]
    lines = [f"{ceiling['name']}, {ceiling['threads']} threads; {result['machine']}", ""]
    for dtype, square in ceiling["square"].items():
        lines.append(f"matrix products in {dtype}: {square:.0f} GFLOP/s square, {ceiling['shapes'][dtype]:.0f} on this "
                     "network's shapes")
    lines += [f"memory: {ceiling['bandwidth']:.0f} GB/s", ""]
    rows = [HEADER, ("---",) + ("---:",) * 8 + ("---",), *(_cells(row, ceiling) for row in result["rows"])]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    lines += ["", *_ratios(result["rows"])]
    if any(row["free"] is not None and row["free"] < CROWDED for row in result["rows"]):
        lines.append("rows with `free` below 0.9 shared the processor with others: measure again on a quiet machine")
    return "\n".join(lines).rstrip()


def _cells(row: dict[str, Any], ceiling: dict[str, Any]) -> tuple[str, ...]:
    total = sum(row["split"].values()) or 1.0
    split = ", ".join(f"{phase} {100 * value / total:.0f} %" for phase, value in row["split"].items())
    free = "" if row["free"] is None else f"{row['free']:.2f}"
    return (row["name"], f"{row['rate']:.3g} {row['unit']}", f"{row['seconds']:.3g}", f"{row['gflop'] / 1000:.3g}",
            f"{row['gflops']:.0f}", f"{100 * row['gflops'] / ceiling['square'][row['dtype']]:.0f} %",
            f"{100 * row['gflops'] / ceiling['shapes'][row['dtype']]:.0f} %", f"{row['memory'] / 1e9:.2f}", free,
            "; ".join(part for part in (split, row["note"]) if part))


def _ratios(rows: list[dict[str, Any]]) -> list[str]:
    """Speed of each row relative to the literal version of the same size."""
    lines = []
    for literal in (row for row in rows if ", literal, " in row["name"]):
        kind, _, _, size = literal["name"].split(", ")
        for row in rows:
            if row is not literal and row["name"].startswith(kind + ", ") and row["name"].endswith(", " + size):
                lines.append(f"{row['name']}: {row['rate'] / literal['rate']:.2f} times the literal version")
    return lines


def compare(new: dict[str, Any], old: dict[str, Any]) -> str:
    """Ratios of two runs, above 1 if the new one is better; lists rows that only one of them has."""
    before = {row["name"]: row for row in old["rows"]}
    lines = [f"against {old['machine']}" + ("" if new["ceiling"]["name"] == old["ceiling"]["name"]
                                            else f" on ANOTHER DEVICE: {old['ceiling']['name']}"),
             "| | before | now | speed | memory |", "|---|---:|---:|---:|---:|"]
    for row in new["rows"]:
        past = before.pop(row["name"], None)
        if past is None:
            lines.append(f"| {row['name']} | | {row['rate']:.3g} | new | |")
        else:
            speed, memory = row["rate"] / past["rate"], past["memory"] / row["memory"]
            lines.append(f"| {row['name']} | {past['rate']:.3g} | {row['rate']:.3g} | x {speed:.2f} | x {memory:.2f} |")
    lines += [f"| {name} | {past['rate']:.3g} | | not measured | |" for name, past in before.items()]
    return "\n".join(lines)


def save(result: dict[str, Any], path: Path) -> None:
    """Write a run as JSON atomically."""
    with atomic_write(path) as beside:
        beside.write_text(json.dumps(result, indent=1) + "\n")


def load(path: Path) -> dict[str, Any]:
    """Read a file written by :func:`save`.

    Raises:
        UserError: it is missing or is not such a file.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; give the JSON that an earlier run wrote")
    try:
        result = json.loads(path.read_text())
        if not {"machine", "ceiling", "rows"} <= set(result):
            raise ValueError("its parts machine, ceiling and rows are not all there")
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: not the JSON of a benchmark ({error}); give one that --json wrote") from error
    return result
