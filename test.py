"""Fuse the pairs of a data set, score them and write pictures, tables and a contact sheet.

    python test.py -opt option/test/IVF_TransformerTest_Dataset.yaml --set dataset.test.dataroot=FOLDER
    python test.py -opt ... --set model=SaliencePyramid --set metrics=none
    torchrun --nproc_per_node=2 test.py -opt ...
"""

import logging

from data.pairs import find_pairs, load_pair
from data.results import ResultFolder
from metrics.evaluate import Scorer
from metrics.recording import record_scores
from models.fuser import Fuser
from option.load import options_from_command_line, options_hash
from utils.cli import run
from utils.distributed import joined
from utils.fusing import fuse_all
from utils.logging import set_up_logging
from utils.version import VERSION, commit

TITLES = {"IVF": ("infrared", "visible"), "MEF": ("over", "under"), "MFF": ("near", "far")}


def main(arguments: list[str]) -> None:
    """Reads the options, fuses, scores."""
    options = options_from_command_line(arguments, __doc__)
    data, save = options.require("dataset.test"), options.save
    fuser = Fuser.from_options(options)
    with joined(fuser.device) as world:
        set_up_logging(world=world)
        found = find_pairs(data, options.name)
        for line in [*options.notes(), *found.problems]:
            logging.getLogger("test").warning("%s", line)
        results = ResultFolder(options.path.results_root, options.name, components=save.components,
                               inputs=save.inputs, contact_sheet=save.contact_sheet, titles=TITLES[found.task],
                               world=world)
        with Scorer(options.metrics, workers=int(options.metrics != "none")) as scorer, results:
            def keep(pair, fusion) -> None:
                first, second = pair.first.pixels, pair.second.pixels
                results.add(pair.stem, fusion, first, second)
                scorer.submit(pair.stem, first, second, fusion.fused, fusion.seconds)

            fuse_all(found.pairs[world.rank :: world.size],
                     load=lambda paths: load_pair(paths, data.ir_range, found.task),
                     fuse=lambda pair: fuser(pair.first, pair.second, task=found.task, components=save.components),
                     keep=keep, readers=data.workers, silent=not world.main)
            scores = scorer.collect()
        provenance = {"version": VERSION, "commit": commit(), "model": options.model, "weights": fuser.checksum,
                      "options": options_hash(options), "color": options.color or "by task",
                      "device": str(fuser.device)}
        print(record_scores(scores, found.pairs, results.folder, provenance, report=save.report), end="")


if __name__ == "__main__":
    run(main)
