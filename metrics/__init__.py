"""Image-fusion metrics with documented definitions, usable with any method's results.

Example:
    >>> from metrics import compute
    >>> compute("common", infrared, visible, fused)  # uint8 arrays  # doctest: +SKIP
    {'EN': 6.91, 'SD': 38.2, ...}
"""

import sys

if sys.argv[:1] == ["-m"]:  # python -m metrics: this file is read before metrics/__main__.py
    from utils.cli import leave_at_once_when_stopped
    leave_at_once_when_stopped()

from .scoring import compute, expand
from .table import COMMON, METRICS, Metric

__all__ = ["COMMON", "METRICS", "Metric", "compute", "expand"]
