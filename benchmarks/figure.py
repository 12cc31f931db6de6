"""The picture of the README: simulated demo pairs, fused by the shipped weights and by the salience pyramid.

    python -m benchmarks.figure docs/assets/fused.jpg [--weights FILE]
"""

import argparse
import tempfile
from pathlib import Path

from data.demo import write_demo
from models.fuser import Fuser
from models.registry import MODELS
from option.schema import TestDataOptions
from utils.cli import run
from utils.pictures.pairs import find_pairs, load_pair
from utils.pictures.writing import write_picture
from utils.plots import ContactSheet

CHOSEN = {"IVF": ("astronaut", "coffee"), "MEF": ("cat", "rocket"), "MFF": ("coffee",)}


def main(arguments: list[str]) -> None:
    """Generate the demo pairs, fuse them and write one sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", type=Path, help="default: the shipped weights that Fuser takes")
    given = parser.parse_args(arguments)
    fusers = {"fused": Fuser.from_pretrained(given.weights),
              "salience pyramid": Fuser(MODELS.create("SaliencePyramid"))}
    sheet = ContactSheet(("first", "second", *fusers))
    with tempfile.TemporaryDirectory() as folder:
        write_demo(Path(folder))
        for task, stems in CHOSEN.items():
            layout = {"infrare_name": "ir", "visible_name": "vi"} if task == "IVF" else {"part_name": "input"}
            data = TestDataOptions(dataroot=f"{folder}/{task.lower()}", datashell=task, **layout)
            pairs = {paths.stem: paths for paths in find_pairs(data, "figure").pairs}
            for stem in stems:
                pair = load_pair(pairs[stem], task=task)
                fused = [fuse(pair.first, pair.second, task=task).fused for fuse in fusers.values()]
                sheet.add(f"{task}, simulated from one photograph", [pair.first.pixels, pair.second.pixels, *fused])
    write_picture(given.out, sheet.render())


if __name__ == "__main__":
    run(main)
