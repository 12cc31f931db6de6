"""The command ``defusionpp``; from the checkout ``python -m app``.

Each sub-command is imported when it is called, so that ``--help`` does not load PyTorch.
"""

import importlib
import sys

from option.errors import did_you_mean
from utils import cli
from utils.errors import UserError
from utils.version import VERSION

COMMANDS = {
    "fuse": ("app.fuse", "fuse pictures: infrared and visible, exposures, focus series"),
    "app": ("app.web.serve", "fuse pictures in a browser, on this computer"),
    "video": ("app.video", "fuse an infrared and a visible video"),
    "metrics": ("metrics.__main__", "score fused pictures against their sources"),
    "leaderboard": ("metrics.leaderboard", "rank methods by their results files"),
    "train": ("selftrain", "train a model from an option file (stage 2: --stage2)"),
    "downstream": ("downstream.__main__", "train and score segmentation or detection on fused pictures"),
    "check": ("data.check", "look through the data sets that an option file names"),
    "export": ("models.export", "turn a checkpoint into a weight file, or weights into ONNX"),
}
STAGE2 = "selftrain_multimodal"


def usage() -> str:
    """The text of ``defusionpp --help``."""
    lines = [f"  {name:<11} {says}" for name, (_, says) in COMMANDS.items()]
    return "\n".join(["usage: defusionpp COMMAND ...", "", *lines, "",
                      "`defusionpp COMMAND --help` says more, `defusionpp --version` the version."])


def dispatch(arguments: list[str]) -> int | None:
    """Run a sub-command and return its exit code.

    Raises:
        UserError: no such command.
    """
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        sys.stdout.write(usage() + "\n")
        return 0
    if name == "--version":
        sys.stdout.write(f"defusionpp {VERSION}\n")
        return 0
    if name not in COMMANDS:
        raise UserError(f"unknown command {name} {did_you_mean(name, COMMANDS)}; see defusionpp --help")
    home = COMMANDS[name][0]
    if name == "train" and "--stage2" in rest:
        rest.remove("--stage2")
        home = STAGE2
    sys.argv[0] = f"defusionpp {name}"  # program name for argparse
    return importlib.import_module(_beside(home)).main(rest)


def main() -> None:
    """Entry point of the console script."""
    cli.run(dispatch)


def _beside(module: str) -> str:
    """Full name of a module: below ``defusionpp`` in the installed package, unchanged in the checkout."""
    above = __name__.removesuffix("app.command")
    return above + module
