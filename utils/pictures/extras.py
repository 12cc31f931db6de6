"""Libraries of optional formats, imported when a file needs them."""

import importlib
from types import ModuleType

from utils.pictures.content import Refusal

_EXTRAS = {"pillow_heif": "heic", "rawpy": "raw", "OpenEXR": "exr"}


def load(library: str, kind: str) -> ModuleType:
    """Import an optional library.

    Args:
        library: name of the module.
        kind: what needs it, for the message.

    Raises:
        Refusal: it is not installed; gives the command that installs it.
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise Refusal(f"{kind} needs {library}, which cannot be imported; "
                      f"pip install 'defusionpp[{_EXTRAS[library]}]'") from error


def check(library: str, kind: str) -> str | None:
    """The message of `load` if the library is missing; None if it is there."""
    try:
        load(library, kind)
    except Refusal as refusal:
        return str(refusal)
    return None
