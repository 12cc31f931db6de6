"""Another task on pictures or fused features: ``defusionpp downstream`` train, evaluate, compare or mirror."""

from __future__ import annotations

import importlib
import sys

from option.errors import did_you_mean
from utils.cli import run
from utils.errors import UserError

COMMANDS = {"train": "train a segmenter or a detector", "evaluate": "score it on labelled pictures",
            "compare": "train and score a table of methods with several seeds",
            "mirror": "fuse a labelled set into a folder, with its labels linked"}


def main(arguments: list[str]) -> int | None:
    """Run a command with the remaining arguments.

    Raises:
        UserError: no such command.
    """
    name, *rest = arguments or ["--help"]
    program = sys.argv[0] if sys.argv[0].startswith("defusionpp") else "python -m downstream"
    if name in ("-h", "--help"):
        lines = [f"  {command:<9} {says}" for command, says in COMMANDS.items()]
        sys.stdout.write("\n".join([f"usage: {program} COMMAND -opt FILE ...", "", *lines, ""]))
        return 0
    if name not in COMMANDS:
        raise UserError(f"unknown command {name} {did_you_mean(name, COMMANDS)}; see {program} --help")
    sys.argv[0] = f"{program} {name}"  # argparse names the program by it
    return importlib.import_module(f"{__package__}.{name}").main(rest)


if __name__ == "__main__":
    run(main)
