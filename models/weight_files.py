"""Finds weight files and reads their tensors and metadata. Nothing in a file is executed."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.hub import fetch_weights, is_repository
from utils.errors import MissingFileError, UserError

if TYPE_CHECKING:  # finding ONNX files needs neither of them
    from safetensors import safe_open
    from torch import Tensor

PRETRAINED = Path(__file__).resolve().parent.parent / "pretrained"
DEFAULT_WEIGHTS = "defusionpp_hr"
TEACHER = "mae_"  # names of shipped teachers start with this


@dataclass(frozen=True)
class WeightsAbout:
    """The model of a weight file according to its metadata.

    Attributes:
        model: registered name; None if not given.
        network: keywords of the model.
    """

    model: str | None = None
    network: dict[str, Any] = field(default_factory=dict)


def pretrained_names() -> list[str]:
    """Names of the shipped weights that fuse."""
    return [name for name in shipped_names() if not name.startswith(TEACHER)]


def teacher_names() -> list[str]:
    """Names of the shipped teachers of stage 2, which fuse nothing."""
    return [name for name in shipped_names() if name.startswith(TEACHER)]


def shipped_names() -> list[str]:
    """Names of all shipped weights."""
    return sorted(path.stem for path in PRETRAINED.glob("*.safetensors"))


def find_weights(source: str | Path | None = None) -> Path:
    """Find a weight file.

    Args:
        source: a path, one of ``shipped_names()``, or a Hugging Face repository (`models.hub`); None: the best
            shipped weights that fuse.

    Raises:
        MissingFileError: no such file, name or repository.
    """
    path = Path(DEFAULT_WEIGHTS if source is None else source)
    named = PRETRAINED / f"{path}.safetensors"
    if path.is_file():
        return path
    if path.parent == Path() and named.is_file():
        return named
    if is_repository(path):
        return fetch_weights(path)
    raise MissingFileError(f"{path}: no such weight file; give the path of a .safetensors, .pth, .pt or .onnx file, "
                           f"or a name: {', '.join(pretrained_names()) or 'none is installed'}")


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a weight file by their names in the file.

    ``.safetensors`` files are read directly, others by ``torch.load(weights_only=True)``, unwrapping ``state_dict`` or
    ``model``. Nothing in a file is executed.

    Raises:
        MissingFileError: no such file.
        UserError: the file cannot be read or contains no weights.
    """
    import torch
    from torch import Tensor

    path = find_weights(path)
    if path.suffix == ".safetensors":
        with _open(path) as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # MAE checkpoints hold their arguments
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError) as error:
        raise _unreadable(path, error) from None
    except Exception as error:  # UnpicklingError, and anything that malformed pickles raise
        raise UserError(f"{path}: refused, it holds more than tensors ({_line(error)}); "
                        "save it again as a plain state dict") from None
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise UserError(f"{path}: holds no weights; expected a state dict, or one under 'state_dict' or 'model'")
    return {name.removeprefix("module."): value for name, value in tensors.items()}


def read_metadata(path: str | Path) -> dict[str, str]:
    """The metadata of a safetensors file; empty for other files.

    Raises:
        UserError: the file cannot be read.
    """
    if Path(path).suffix != ".safetensors":
        return {}
    with _open(Path(path)) as file:
        return dict(file.metadata() or {})


def read_about(path: str | Path) -> WeightsAbout:
    """The model that a weight file belongs to, according to its metadata.

    Raises:
        UserError: the file cannot be read, or its metadata are not a name and keywords.
    """
    about = read_metadata(path)
    try:
        network = json.loads(about.get("network", "{}"))
    except ValueError:
        network = None
    if not isinstance(network, dict):
        raise UserError(f"{path}: its metadata 'network' is not a JSON object of keywords; export the weights again")
    return WeightsAbout(about.get("model"), network)


def weight_checksum(path: str | Path) -> str:
    """First 16 hexadecimal digits of the file's SHA-256, which identify the weights in results."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _open(path: Path) -> Iterator[safe_open]:
    """Open a safetensors file.

    Raises:
        UserError: it is truncated or not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: not a readable weight file, perhaps cut short ({_line(error)}); fetch it again")


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
