"""Expands a ``dataroot`` to shards, and counts their photographs."""

from __future__ import annotations

import json
import os
import re
from itertools import islice
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

from webdataset.shardlists import expand_urls

from utils.errors import MissingFileError, UserError

INDEX_NAME = "shards.json"
MOST_SHARDS = 1_000_000
_SHOWN = 200  # characters of a faulty dataroot shown in messages
_STEPS = re.compile(r"\{(-?\d+)\.\.(-?\d+)(?:\.\.-?(\d+))?\}")


def shard_urls(dataroot: str, *, allow_programs: bool = False) -> list[str]:
    """The shards in a ``dataroot``: a folder, or names with ``{000..127}``.

    Args:
        dataroot: a folder, or one or more URLs with braces, joined by ``::``.
        allow_programs: accept URLs that webdataset reads through a program: ``pipe:`` runs any command; ``http:``,
            ``s3:`` and similar run curl, gsutil or ais.

    Raises:
        MissingFileError: a local shard does not exist.
        UserError: no shards, too many shards, or a URL that would start a program.
    """
    if os.path.isdir(dataroot):  # False for what is no name at all, where Path.is_dir raises
        urls = [str(path) for path in sorted(Path(dataroot).glob("*.tar"))]
    else:
        urls = _expanded(dataroot)
    remote = [url for url in urls if not _is_local(url)]
    if remote and not allow_programs:
        raise UserError(f"dataset.train.dataroot: {remote[0][:_SHOWN]} is read by starting a program; copy the shards "
                        "to a disk, or, if you trust it, allow that on the command line: "
                        "--set dataset.train.allow_programs=true")
    local = [url for url in urls if _is_local(url)]
    missing = [url for url in local if not os.path.isfile(_path(url))]
    if missing:
        raise MissingFileError(f"{len(missing)} of {len(urls)} shards are not there, the first is "
                               f"{missing[0][:_SHOWN]}; correct dataset.train.dataroot")
    if not urls:
        raise UserError(f"no .tar shard in {dataroot}; write some with `python -m data.shards FOLDER {dataroot}`")
    return urls


def _expanded(dataroot: str) -> list[str]:
    if _at_most(dataroot) > MOST_SHARDS:
        raise UserError(f"dataset.train.dataroot: {dataroot[:_SHOWN]} may stand for more than {MOST_SHARDS:,} shards; "
                        "correct the braces")
    try:
        return list(islice(expand_urls(dataroot), MOST_SHARDS))
    except (ValueError, AssertionError, RecursionError) as error:  # unbalanced braces; a ${NAME} that is not set
        raise UserError(f"dataset.train.dataroot: {dataroot[:_SHOWN]}: {str(error)[:_SHOWN]}; correct it") from None


def _at_most(pattern: str) -> int:
    """Upper bound of the number of names in a brace pattern, as a product of choices, without expanding it."""
    bound = 1
    for first, last, step in _STEPS.findall(pattern):
        bound *= abs(int(last) - int(first)) // max(int(step or 1), 1) + 1
    choices: list[int] = []  # of the braces that are open
    for letter in pattern:
        if letter == "{":
            choices.append(1)
        elif letter == "," and choices:
            choices[-1] += 1
        elif letter == "}" and choices:
            bound *= choices.pop()
    return bound


def _is_local(url: str) -> bool:
    try:
        return urlparse(url).scheme in ("", "file")  # as webdataset decides
    except ValueError:
        return False


def _path(url: str) -> Path:
    parts = urlparse(url)
    return Path(url2pathname(parts.path) if parts.scheme == "file" else url)


def counted(urls: list[str]) -> int | None:
    """Number of photographs according to ``shards.json`` next to the shards; None if a shard is not listed.

    Raises:
        UserError: a ``shards.json`` does not contain counts.
    """
    total = 0
    for folder in {_path(url).parent for url in urls}:
        counts = _counts(folder / INDEX_NAME)
        names = [_path(url).name for url in urls if _path(url).parent == folder]
        if not all(name in counts for name in names):
            return None
        total += sum(counts[name] for name in names)
    return total


def _counts(index: Path) -> dict[str, int]:
    if not index.is_file():
        return {}
    try:
        counts = json.loads(index.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise UserError(f"{index} cannot be read: {error}; remove it or write the shards again") from None
    if not isinstance(counts, dict):
        raise UserError(f"{index} should give each shard its count of pictures; remove it or write the shards again")
    for name, count in counts.items():
        if type(count) is not int or count < 0:
            raise UserError(f"{index}: {name} should have a count of 0 or more, got {json.dumps(count)[:50]}; "
                            "remove it or write the shards again")
    return counts
