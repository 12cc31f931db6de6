"""Whether PyTorch is tracing a model for a file, where sizes are symbols instead of numbers."""

import torch

# PyTorch 2.6 cannot tell export from compilation.
is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
