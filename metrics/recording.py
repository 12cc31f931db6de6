"""What a fusing run records of its scores: tables for each pair, their mean, and the report if wanted."""

import logging
from collections.abc import Sequence
from pathlib import Path

from metrics.evaluate import comparison_of
from metrics.report import definitions, write_report
from metrics.scores import Provenance, Scores, merge
from utils.distributed import gather_to_main
from utils.pictures.pairs import PairList, PairPaths

log = logging.getLogger(__name__)


def record_scores(scores: Scores, pairs: Sequence[PairPaths], folder: Path, provenance: Provenance, *,
                  report: bool = False) -> str:
    """Write ``metrics.csv`` and ``metrics.json``, and ``report.html`` and ``report.md`` if wanted.

    With several processes, each calls it with its share and the main one writes.

    Args:
        scores: of this process's pairs.
        pairs: of the whole data set.
        folder: the result folder, named after the run, with the pictures in ``test_images``.
        provenance: how the numbers were made; the definitions of the metrics and the colour handling are added.
        report: write the reports.

    Returns:
        Mean ± standard deviation of every metric, one a line; empty if there are no metrics or in other processes.
    """
    parts = gather_to_main(scores)
    if not parts or not scores.names:
        return ""
    scores = merge(parts)
    for line in scores.problems:
        log.warning("%s", line)
    provenance = {**provenance, "colour": scores.colour, "ir_range": scores.ir_range,
                  "definitions": definitions(scores.names)}
    scores.write_csv(folder / "metrics.csv", provenance)
    scores.write_json(folder / "metrics.json", provenance)
    if report:
        comparison = comparison_of({folder.name: scores}, PairList(list(pairs)), {folder.name: folder / "test_images"})
        write_report(comparison, folder, title=folder.name, provenance=provenance)
    means, spreads = scores.mean(), scores.std()
    lines = [f"{name:>10} {means[name]:10.4f} ± {spreads[name]:.4f}" for name in scores.names]
    return "\n".join([f"mean ± standard deviation over {len(scores.values)} pairs", *lines, ""])
