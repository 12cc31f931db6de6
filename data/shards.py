"""Photographs in WebDataset tar shards, for sets that outgrow a disk or that many machines read at once.

    python -m data.shards FOLDER OUT        writes OUT/shard-000000.tar, ... and OUT/shards.json

    dataset.train: {type: webdataset, dataroot: "OUT/shard-{000000..000049}.tar"}   (or just OUT)

Shards of other origin work as well, from wherever the webdataset package reads (``pipe:curl ...``, ``http://...``).
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import torch
import webdataset as wds
from tqdm import tqdm
from webdataset.shardlists import expand_urls

from utils.cli import run
from utils.engine.randomness import derive_seed
from utils.errors import MissingFileError, UserError
from utils.files import atomic_write
from utils.pictures.codecs import SUFFIXES, list_pictures, read_bytes
from utils.pictures.structure import fault

log = logging.getLogger(__name__)

INDEX_NAME = "shards.json"
_EXTENSIONS = {suffix[1:] for suffix in SUFFIXES}


def read_shard(url: str) -> Iterator[tuple[str, bytes]]:
    """The pictures of a shard in their order: (shard/key.extension, bytes). Other members are left out."""
    for sample in wds.tarfile_to_samples()([{"url": url}]):
        for extension in sorted(_EXTENSIONS & sample.keys()):
            yield f"{url}/{sample['__key__']}.{extension}", sample[extension]


def shard_urls(dataroot: str) -> list[str]:
    """The shards that ``dataroot`` stands for: a folder, or names with ``{000..127}``.

    Raises:
        MissingFileError: a local shard is not there.
        UserError: there is none.
    """
    folder = Path(dataroot)
    urls = [str(path) for path in sorted(folder.glob("*.tar"))] if folder.is_dir() else expand_urls(dataroot)
    local = [url for url in urls if ":" not in url]
    missing = [url for url in local if not Path(url).is_file()]
    if missing:
        raise MissingFileError(f"{len(missing)} of {len(urls)} shards are not there, the first is {missing[0]}; "
                               "correct dataset.train.dataroot")
    if not urls:
        raise UserError(f"no .tar shard in {dataroot}; write some with `python -m data.shards FOLDER {dataroot}`")
    return urls


def counted(urls: list[str]) -> int | None:
    """Photographs in the shards by the ``shards.json`` beside them; None where one is not counted."""
    total = 0
    for folder in {Path(url).parent for url in urls}:
        index = folder / INDEX_NAME
        counts = json.loads(index.read_text(encoding="utf-8")) if index.is_file() else {}
        names = [Path(url).name for url in urls if Path(url).parent == folder]
        if not all(name in counts for name in names):
            return None
        total += sum(counts[name] for name in names)
    return total


def write_shards(folder: Path, out: Path, *, size: int = 1000, seed: int = 1) -> dict[str, int]:
    """Packs the pictures of a folder, shuffled once, as they are; broken ones are left out with a warning.

    Args:
        folder: searched recursively.
        out: gets the shards and their counts (``shards.json``); must hold no shard.
        size: pictures in a shard.
        seed: decides the order.

    Returns:
        Pictures in each shard, by its name.

    Raises:
        UserError: nothing to pack, or ``out`` holds shards already.
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
        with atomic_write(out / name) as temporary, temporary.open("wb") as stream:
            writer = wds.TarWriter(stream, encoder=False, mtime=0.0)
            entry: tuple[str, bytes] | None = first
            counts[name] = 0
            while entry is not None:
                writer.write({"__key__": f"{number:08}", entry[0]: entry[1]})
                number, counts[name] = number + 1, counts[name] + 1
                entry = next(whole, None) if counts[name] < size else None
            writer.close()
    if not counts:
        raise UserError(f"no readable picture in {folder}; nothing to pack")
    with atomic_write(out / INDEX_NAME) as temporary:
        temporary.write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    return counts


def _whole_pictures(files: Iterator[Path]) -> Iterator[tuple[str, bytes]]:
    for file in files:
        try:
            data = read_bytes(file)
            reason = fault(data)
        except UserError as error:
            log.warning("left out: %s", error)
            continue
        if reason:
            log.warning("left out: %s: %s", file, reason)
        else:
            yield file.suffix[1:].lower(), data


def main(arguments: list[str]) -> None:
    """Packs a folder."""
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
