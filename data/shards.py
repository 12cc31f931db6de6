"""Packs photographs into WebDataset tar shards, for sets that exceed a disk or are read by many machines.

    python -m data.shards FOLDER OUT        writes OUT/shard-000000.tar, ... and OUT/shards.json

    dataset.train: {type: webdataset, dataroot: "OUT/shard-{000000..000049}.tar"}   (or just OUT)

Other WebDataset shards work as well. Those read through a program (``http://...``, ``pipe:curl ...``) need
``--set dataset.train.allow_programs=true`` on the command line.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import tarfile
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import torch
from tqdm import tqdm
from webdataset.gopen import gopen

from data.shard_names import INDEX_NAME
from utils.cli import run
from utils.engine.randomness import derive_seed
from utils.errors import UserError
from utils.files import atomic_write
from utils.pictures.codecs import SUFFIXES, list_pictures, read_bytes
from utils.pictures.structure import fault

log = logging.getLogger(__name__)

MEMBER_BYTES = 512_000_000


def read_shard(url: str, *, member_bytes: int = MEMBER_BYTES,
               problems: dict[str, str] | None = None) -> Iterator[tuple[str, bytes]]:
    """The pictures of a shard in order: (shard/key.extension, bytes). Other members are skipped.

    Args:
        url: a file, or a URL accepted by webdataset's ``gopen`` (see :func:`data.shard_names.shard_urls`).
        member_bytes: larger pictures are skipped without being read; webdataset's own reader would load them.
        problems: receives name -> reason for skipped pictures.
    """
    with gopen(url) as stream, tarfile.open(fileobj=stream, mode="r|*") as archive:
        for member in archive:
            archive.members = []  # otherwise the archive keeps all members in memory
            if not member.isreg() or Path(member.name).suffix.lower() not in SUFFIXES:
                continue
            name = f"{url}/{member.name}"
            if member.size > member_bytes:
                if problems is not None:
                    problems[name] = (f"{name}: {member.size / 1e6:,.0f} MB are more than "
                                      f"dataset.train.member_megabytes allows ({member_bytes / 1e6:g})")
                continue
            yield name, archive.extractfile(member).read()


def write_shards(folder: Path, out: Path, *, size: int = 1000, seed: int = 1) -> dict[str, int]:
    """Pack the picture files of a folder, shuffled and unchanged; broken ones are skipped with a warning.

    Args:
        folder: searched recursively.
        out: folder for the shards and their counts (``shards.json``); must not contain shards.
        size: pictures per shard.
        seed: determines the order.

    Returns:
        Number of pictures by shard name.

    Raises:
        UserError: nothing to pack, ``out`` already contains shards, or the disk is full.
    """
    if any(out.glob("*.tar")):
        raise UserError(f"{out} holds shards already; give an empty folder")
    files = list_pictures(folder, recursive=True)
    generator = torch.Generator().manual_seed(derive_seed("shards", seed))
    files = [files[index] for index in torch.randperm(len(files), generator=generator).tolist()]
    whole = _whole_pictures(tqdm(files, "pack", disable=None))
    counts: dict[str, int] = {}
    number = 0
    for first in whole:
        name = f"shard-{len(counts):06}.tar"
        with atomic_write(out / name) as file, tarfile.open(file, "w", format=tarfile.USTAR_FORMAT) as archive:
            counts[name] = 0
            for suffix, data in chain([first], islice(whole, size - 1)):
                member = tarfile.TarInfo(f"{number:08}{suffix}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
                number, counts[name] = number + 1, counts[name] + 1
    if not counts:
        raise UserError(f"no readable picture in {folder}; nothing to pack")
    with atomic_write(out / INDEX_NAME) as temporary:
        temporary.write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    return counts


def _whole_pictures(files: Iterator[Path]) -> Iterator[tuple[str, bytes]]:
    for file in files:
        try:
            data = read_bytes(file)
            reason = fault(data, file.suffix)
        except UserError as error:
            log.warning("left out: %s", error)
            continue
        if reason:
            log.warning("left out: %s: %s", file, reason)
        else:
            yield file.suffix.lower(), data


def main(arguments: list[str]) -> None:
    """Pack a folder from the command line."""
    parser = argparse.ArgumentParser(prog="python -m data.shards", description="Pack a folder of pictures in shards.")
    parser.add_argument("folder", type=Path, help="pictures, searched recursively")
    parser.add_argument("out", type=Path, help="folder for the shards")
    parser.add_argument("--size", type=int, default=1000, help="pictures in a shard (default 1000)")
    parser.add_argument("--seed", type=int, default=1, help="decides the order (default 1)")
    given = parser.parse_args(arguments)
    if given.size < 1:
        raise UserError(f"--size {given.size}: give 1 or more")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    counts = write_shards(given.folder, given.out, size=given.size, seed=given.seed)
    last = f"{len(counts) - 1:06}"
    log.info("%d pictures in %d shards; dataroot: \"%s\"", sum(counts.values()), len(counts),
             given.out / f"shard-{{000000..{last}}}.tar")


if __name__ == "__main__":
    run(main)
