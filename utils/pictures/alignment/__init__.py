"""Registration: estimates the alignment of a scene's pictures, and resamples them to one grid; docs/ALIGNMENT.md."""

from utils.pictures.alignment.apply import AS_THEY_LIE, Aligned, AlignRule, align_arrays
from utils.pictures.alignment.calibration import Calibration
from utils.pictures.alignment.edges import REACH, SHORT_SIDE, EdgeShift, edge_shift
from utils.pictures.alignment.estimate import Align, Alignment, find_alignment

__all__ = ["AS_THEY_LIE", "REACH", "SHORT_SIDE", "Align", "AlignRule", "Aligned", "Alignment", "Calibration",
           "EdgeShift", "align_arrays", "edge_shift", "find_alignment"]
