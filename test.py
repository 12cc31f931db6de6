"""Fuse the pairs of a data set, score them and write pictures, tables and a contact sheet.

    python test.py -opt option/test/IVF_TransformerTest_Dataset.yaml --set dataset.test.dataroot=FOLDER
    python test.py -opt ... --set model=SaliencePyramid --set metrics=none
    torchrun --nproc_per_node=2 test.py -opt ...
"""

if __name__ == "__main__":
    from utils.cli import leave_at_once_when_stopped
    leave_at_once_when_stopped()  # while the libraries below load

from metrics.evaluate import Scorer
from metrics.recording import record_scores
from models.fuser import Fuser
from option.load import options_from_command_line
from utils.cli import finishing, run
from utils.distributed import joined
from utils.fusing import fuse_all, open_results
from utils.logging import log_notes, set_up_logging
from utils.pictures.alignment import AlignRule
from utils.pictures.pairs import find_pairs
from utils.pictures.reading import ReadingRule
from utils.version import provenance_of


def main(arguments: list[str]) -> None:
    """Read the options, fuse and score."""
    options = options_from_command_line(arguments, __doc__)
    data = options.require("dataset.test")
    rule, align = ReadingRule.of(data), AlignRule.of(data)
    fuser = Fuser.from_options(options)
    with joined(fuser.device) as world:
        set_up_logging(world=world)
        log_notes(options)
        found = find_pairs(data, options.name, stacks=data.whole_stacks)
        with Scorer(options.metrics, workers=int(options.metrics != "none"), rule=rule) as scorer, \
                open_results(options, found, world) as results:
            def keep(pair, fusion) -> None:
                results.add(pair.stem, fusion, *pair.pictures, note="; ".join(pair.doubts))
                if len(pair.pictures) == 2:  # all metrics are defined for pairs
                    scorer.submit(pair.stem, *(x.pixels for x in pair.pictures), fusion.fused, fusion.seconds)

            outcome = fuse_all(
                found.pairs[world.rank :: world.size], keep=keep, readers=data.workers, silent=not world.main,
                load=lambda paths: found.load(paths, rule, align), doubts=lambda pair: pair.doubts,
                fuse=lambda pair: fuser(*pair.pictures, task=found.task, components=options.save.components))
            with finishing():
                results.close()
                scores = scorer.collect(without=results.failed)
                provenance = provenance_of(options, model=fuser.name, weights=fuser.checksum, device=str(fuser.device))
                print(record_scores(scores, found, results.folder, provenance | outcome.remarks(),
                                    report=options.save.report), end="")
        outcome.conclude(results.failed, results.folder, total=len(found.pairs))


if __name__ == "__main__":
    run(main)
