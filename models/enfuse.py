"""Enfuse, the exposure and focus fusion of the Enblend project, as a model: ``--set model=Enfuse``."""

from collections.abc import Sequence

from models.external import Program
from models.protocol import Task
from models.registry import MODELS

# From the manual of Enfuse 4.2, section "Focus stacks"; exposures take its defaults.
_FOCUS = ("--exposure-weight=0", "--saturation-weight=0", "--contrast-weight=1", "--hard-mask")


@MODELS.register("Enfuse")
class Enfuse(Program):
    """Exposure fusion (Mertens et al. 2007) by the program ``enfuse``.

    Exposures, and pictures of unknown task, are fused with its default weights (exposure 1, saturation .2); focus
    series by local contrast with hard masks, as its manual recommends.
    """

    program = "enfuse"
    install = "apt-get install enfuse, or https://enblend.sourceforge.net"
    result = "fused.ppm"  # PNG and TIFF would get an alpha channel

    def command(self, sources: Sequence[str], task: Task) -> list[str]:
        return [*(_FOCUS if task == "MFF" else ()), f"--output={self.result}", *sources]
