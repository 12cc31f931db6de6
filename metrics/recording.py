"""Records the scores of a fusing run: tables for each pair, means, and an optional report."""

import logging
from dataclasses import replace
from pathlib import Path

from metrics.evaluate import comparison_of
from metrics.report import definitions, write_report
from metrics.scores import Provenance, Scores, merge, told
from utils.distributed import gather_to_main
from utils.pictures.pairs import PairList

log = logging.getLogger(__name__)


def record_scores(scores: Scores, sources: PairList, folder: Path, provenance: Provenance, *,
                  report: bool = False) -> str:
    """Write ``metrics.csv`` and ``metrics.json``, and ``report.html`` and ``report.md`` if wanted.

    With several processes, each passes its share and the main process writes.

    Args:
        scores: of this process's pairs.
        sources: the pairs of the whole data set.
        folder: the result folder, named after the run, with the pictures in ``test_images``.
        provenance: how the numbers were made; the method's name, the definitions of the metrics, the colour
            handling, the layout and the reading rule are added.
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
    stacks = [pair for pair in sources.pairs if len(sources.sources(pair)) > 2]
    unscored = f"{len(stacks)} of {len(sources.pairs)} scenes, which have more than two pictures; metrics are of pairs"
    provenance = {**provenance, "method": folder.name, "layout": sources.task, "colour": scores.colour,
                  **told(scores.rule), "definitions": definitions(scores.names),
                  **({"not scored": unscored} if stacks else {})}
    scores.write_csv(folder / "metrics.csv", provenance)
    scores.write_json(folder / "metrics.json", provenance)
    if stacks:
        log.warning("not scored: %s", unscored)
    if len(stacks) == len(sources.pairs):
        return ""
    if report:
        sources = replace(sources, pairs=[pair for pair in sources.pairs if pair not in stacks])
        comparison = comparison_of({folder.name: scores}, sources, {folder.name: folder / "test_images"})
        write_report(comparison, folder, title=folder.name, provenance=provenance)
    means, spreads = scores.mean(), scores.std()
    lines = [f"{name:>10} {means[name]:10.4f} ± {spreads[name]:.4f}" for name in scores.names]
    return "\n".join([f"mean ± standard deviation over {len(scores.values)} pairs", *lines, ""])
