"""Uploads the shipped weights with their cards to Hugging Face; without --upload it only says what it would do.

    python -m app.packaging.upload OWNER [NAME ...] [--source URL] [--upload]

Each weight file becomes the repository OWNER/NAME with README.md (the card), the weights and LICENSE, in one commit
tagged v<version>. `hf auth login` stores the credentials. Not part of the wheel.
"""

import hashlib
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from models.hub import listed_checksums
from models.weight_files import PRETRAINED, shipped_names
from option.errors import did_you_mean
from utils import cli
from utils.errors import UserError
from utils.version import VERSION

METADATA = {"license", "library_name", "pipeline_tag", "tags"}
_HEADER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_LINK = re.compile(r"\[([^]]+)\]\((?!https?://)([^)]+)\)")


def card_metadata(card: Path) -> dict[str, Any]:
    """The metadata header of a model card.

    Raises:
        UserError: it lacks the header or one of `METADATA`.
    """
    header = _HEADER.match(card.read_text(encoding="utf-8"))
    about = yaml.safe_load(header[1]) if header else {}
    if missing := METADATA - about.keys():
        raise UserError(f"{card}: its metadata header lacks {', '.join(sorted(missing))}; add them, between two lines "
                        "of ---")
    return about


def readme(card: Path, source: str | None) -> str:
    """A card as the README of its repository, where relative links lead nowhere.

    Args:
        card: the card.
        source: address of the code's repository, to which they are made to lead; None makes them plain text.
    """
    def linked(match: re.Match[str]) -> str:
        target = (card.parent / match[2].partition("#")[0]).resolve().relative_to(PRETRAINED.parent)
        return f"[{match[1]}]({source.rstrip('/')}/blob/v{VERSION}/{target.as_posix()})" if source else match[1]

    return _LINK.sub(linked, card.read_text(encoding="utf-8"))


def content_of(name: str, source: str | None) -> dict[str, bytes]:
    """The files of a repository by name.

    Raises:
        UserError: the card lacks metadata, or the weights are not those of the list.
    """
    weights, card = PRETRAINED / f"{name}.safetensors", PRETRAINED / f"{name}.md"
    card_metadata(card)
    content = {"README.md": readme(card, source).encode(), weights.name: weights.read_bytes(),
               "LICENSE": (PRETRAINED.parent / "LICENSE").read_bytes()}
    if hashlib.sha256(content[weights.name]).hexdigest() != listed_checksums().get(weights.name):
        raise UserError(f"{weights}: not the file of pretrained/SHA256SUMS; if it is meant: "
                        "(cd pretrained && sha256sum *.safetensors > SHA256SUMS)")
    return content


def upload(repository: str, content: dict[str, bytes]) -> None:
    """Make one commit of the files, and tag it with the version."""
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(library_name="defusionpp", library_version=VERSION)
    api.create_repo(repository, exist_ok=True)
    api.create_commit(repository, [CommitOperationAdd(path, data) for path, data in content.items()],
                      commit_message=f"DeFusion++ {VERSION}")
    api.create_tag(repository, tag=f"v{VERSION}", exist_ok=True)


def main(arguments: list[str]) -> None:
    """Check everything first, then upload what was asked for."""
    line = cli.Parser("python -m app.packaging.upload", description=__doc__.splitlines()[0])
    line.add_argument("owner", help="user or organisation on Hugging Face")
    line.add_argument("names", nargs="*", metavar="NAME", help="shipped weights; default: all")
    line.add_argument("--source", metavar="URL", help="address of the code, for the links of the cards")
    line.add_argument("--upload", action="store_true", help="do it")
    options = line.parse_args(arguments)
    for name in options.names:
        if name not in shipped_names():
            raise UserError(f"{name}: no such weights {did_you_mean(name, shipped_names())}; see pretrained/")
    contents = {name: content_of(name, options.source) for name in options.names or shipped_names()}
    for name, content in contents.items():
        repository = f"{options.owner}/{name}"
        sys.stdout.write(f"{repository}@v{VERSION}\n")
        for path, data in content.items():
            sys.stdout.write(f"  {path}  {len(data)} bytes  SHA-256 {hashlib.sha256(data).hexdigest()}\n")
        if options.upload:
            upload(repository, content)
    if not options.upload:
        sys.stdout.write("nothing was uploaded; add --upload\n")


if __name__ == "__main__":
    cli.run(main)
