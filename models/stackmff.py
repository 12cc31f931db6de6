"""StackMFF V3 (Xie et al.), a small network for focus series, as a model: ``--set model=StackMFFV3``."""

from collections.abc import Sequence

from models.external import Program
from models.protocol import Task
from models.registry import MODELS


@MODELS.register("StackMFFV3")
class StackMFFV3(Program):
    """The network of the program ``openfocus``, alone: without its registration and its matching of exposures.

    Its wheel holds top-level packages named ``core``, ``utils`` and ``weights``. Install it into an environment of its
    own, and add that environment's ``bin`` to the end of the PATH.
    """

    program = "openfocus"
    install = "python -m venv openfocus && openfocus/bin/pip install openfocus, then PATH=$PATH:$PWD/openfocus/bin"
    result = "fused.png"

    def command(self, sources: Sequence[str], task: Task) -> list[str]:
        return ["--method", "stackmffv3", "--align", "none", "--no-exposure-match", "--output", self.result,
                "--input", *sources]
