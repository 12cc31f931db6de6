"""The ten common metrics and MEF_SSIM in PyTorch: batched, on any device, and as losses.

    from metrics.tensors import FusionLoss, compute
    compute("common", infrared, visible, fused)            # (B, 1, H, W) in [0, 1] -> {"EN": (B,), ...}
    FusionLoss({"SSIM": 1.0, "Qabf": 0.5})(infrared, visible, fused).backward()

For 8-bit pictures the values are those of `metrics.compute`. `metrics.tensors.wrappers` has them as
``torchmetrics.Metric``. Only this package of the metrics needs PyTorch.
"""

from .losses import FusionLoss
from .table import DIFFERENTIABLE, NAMES, compute

__all__ = ["DIFFERENTIABLE", "NAMES", "FusionLoss", "compute"]
