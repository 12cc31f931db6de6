"""Structure of files in the ISO base media format (ISO/IEC 14496-12): HEIC, AVIF and Canon's CR3."""

import re
import struct
from collections.abc import Iterator

_HEIC = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
_AVIF = {b"avif", b"avis"}
_EXTENT = re.compile(rb"ispe\0{4}(.{8})", re.DOTALL)
_CODEC = re.compile(rb"av1C..(.)", re.DOTALL)


def brands(data: bytes) -> set[bytes]:
    """The four-letter names of the standards that a file claims to follow; empty for other formats."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(struct.unpack(">I", data[:4])[0], len(data))
    return {data[start:start + 4] for start in (8, *range(16, end - 3, 4))}


def is_avif(data: bytes) -> bool:
    """Whether the data are an AVIF."""
    return bool(brands(data) & _AVIF)


def is_heic(data: bytes) -> bool:
    """Whether the data are a HEIC (HEIF with another codec than AV1)."""
    found = brands(data)
    return bool(found & _HEIC) and not found & _AVIF


def is_cr3(data: bytes) -> bool:
    """Whether the data are a Canon CR3."""
    return data[4:12] == b"ftypcrx "


def boxes_fault(data: bytes) -> str | None:
    """The reason why a file is incomplete; None if all its boxes are there."""
    kinds = set()
    for kind, _, end in _boxes(data):
        if end > len(data):
            return f"truncated ({len(data)} of {end} bytes or more)"
        kinds.add(kind)
    return None if kinds & {b"meta", b"moov"} else "truncated or damaged (it describes no picture)"


def boxes_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) of the largest picture in a HEIC or AVIF, as coded: a few rows and columns may be cut off."""
    sizes = [struct.unpack(">II", match[1]) for match in _EXTENT.finditer(_description(data))]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def avif_bits(data: bytes) -> int:
    """Bits of an AVIF: 8, 10 or 12."""
    match = _CODEC.search(_description(data))
    flags = match[1][0] if match else 0
    return 12 if flags & 0x20 else 10 if flags & 0x40 else 8


def _description(data: bytes) -> bytes:
    return b"".join(data[start:end] for kind, start, end in _boxes(data) if kind == b"meta")


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of each box at the top level; the last one may end after the data."""
    position = 0
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        head = 8
        if length == 1 and position + 16 <= len(data):
            length, head = struct.unpack_from(">Q", data, position + 8)[0], 16
        end = len(data) if length == 0 else position + max(length, head)
        yield kind, position + head, end
        position = end
