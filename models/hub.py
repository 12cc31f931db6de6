"""Weights of Hugging Face repositories: safetensors alone, compared with the checksums of the shipped files.

Needs huggingface_hub (extra ``hub``). Files are cached by it, and used from there without a network.
"""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path

from utils.errors import MissingFileError, UserError
from utils.version import VERSION

log = logging.getLogger(__name__)

CHECKSUMS = Path(__file__).resolve().parent.parent / "pretrained" / "SHA256SUMS"
FILES = ("{name}.safetensors", "model.safetensors")
_REPOSITORY = re.compile(r"([\w][\w.-]*/([\w][\w.-]*))(?:@([\w./-]+))?")
_WEIGHT_FILES = {".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".onnx"}


def is_repository(source: str | Path) -> bool:
    """Whether a text that names no file can be a repository: ``owner/name`` or ``owner/name@revision``.

    What lies in a folder that exists, or ends like a weight file, is a mistyped path.
    """
    match = _REPOSITORY.fullmatch(str(source))
    return bool(match) and Path(match[1]).suffix not in _WEIGHT_FILES and not Path(match[1]).parent.exists()


def listed_checksums() -> dict[str, str]:
    """File name -> SHA-256 of the files that this version ships (``sha256sum`` in ``pretrained/``)."""
    lines = CHECKSUMS.read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def fetch_weights(source: str | Path) -> Path:
    """Download ``<name>.safetensors``, or else ``model.safetensors``, of a repository, or find it in the cache.

    A repository with the name of shipped weights must hold the same file. The checksum of any other is logged.

    Args:
        source: ``owner/name`` or ``owner/name@revision``.

    Raises:
        MissingFileError: no such repository, revision or file, or no network and nothing cached.
        UserError: the file is not the listed one.
    """
    repository, name, revision = _REPOSITORY.fullmatch(str(source)).groups()
    path = None
    for file in (pattern.format(name=name) for pattern in FILES):
        if path := _download(str(source), repository, file, revision):
            break
    if path is None:
        raise MissingFileError(f"{source}: this Hugging Face repository has neither {FILES[0].format(name=name)} nor "
                               f"{FILES[1]}; other formats are not loaded")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    expected = listed_checksums().get(FILES[0].format(name=name))
    if expected is None:
        log.warning("%s: weights of others, not on the list of this version (SHA-256 %s)", source, digest)
    elif digest != expected:
        raise UserError(f"{source}: its {name} is not the one of version {VERSION} (SHA-256 {digest[:16]}..., expected "
                        f"{expected[:16]}...); give its release, {repository}@v{VERSION}, or leave the owner out")
    return path


def _download(source: str, repository: str, file: str, revision: str | None) -> Path | None:
    """One file of a repository; None if the repository lacks it."""
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ModuleNotFoundError:
        raise MissingFileError(f"{source}: no such weight file; if it is a Hugging Face repository: "
                               "pip install 'defusionpp[hub]'") from None
    try:
        return Path(huggingface_hub.hf_hub_download(repository, file, revision=revision, library_name="defusionpp",
                                                    library_version=VERSION))
    except errors.LocalEntryNotFoundError:
        reason = "cannot be reached and is not in the cache; check the network"
    except errors.EntryNotFoundError:
        return None
    except errors.RevisionNotFoundError:
        reason = f"has no revision {revision}; leave it out for the newest"
    except errors.RepositoryNotFoundError:
        reason = "does not exist, or is private; check the name, or log in by `hf auth login`"
    except Exception as error:  # other HTTP errors, broken connections, a full disk: the library's own classes
        told = next(iter(str(error).splitlines()), "")
        reason = f"cannot be fetched ({type(error).__name__}: {told[:120]}); try again"
    raise MissingFileError(f"{source}: no such file, and the Hugging Face repository {repository} {reason}")
