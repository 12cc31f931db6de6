"""EXIF records, read and changed as bytes.

Records of results are changed in place. Rewriting them would lose the types of private tags and break maker notes,
which refer to positions in the record. Only a record that moves into or out of a TIFF is copied, without maker notes.
EXIF 2.32, section 4.6 describes the layout: it is that of TIFF.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

PREFIX = b"Exif\0\0"
ORIENTATION, EXIF_PART, GPS_PART, MAKER_NOTE = 0x0112, 0x8769, 0x8825, 0x927C
_INTEROPERABILITY = 0xA005
_PARTS = {EXIF_PART, GPS_PART, _INTEROPERABILITY}
_WIDTHS, _HEIGHTS = (0x0100, 0xA002), (0x0101, 0xA003)
_THUMBNAIL, _THUMBNAIL_LENGTH = 0x0201, 0x0202
_SHORT, _LONG = 3, 4
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # type -> size of a value
_SHARED = {  # tags of a TIFF that describe the photograph and not the file
    0x010E, 0x010F, 0x0110, ORIENTATION, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x013C, 0x4746, 0x8298,
    0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F, EXIF_PART, GPS_PART}
_DESCRIPTION = 0x010E
_OF_PROGRAMS = (b"ImageJ=", b'{"shape"', b"<?xml", b"<OME")  # descriptions of a file's layout


@dataclass(frozen=True)
class Entry:
    """One tag: its number, type and number of values, their bytes, and the position of the entry."""

    tag: int
    kind: int
    count: int
    raw: bytes
    position: int


def orientation(record: bytes) -> int:
    """The orientation in a record, 1 to 8; 1 if there is none or the record is damaged."""
    try:
        order, start = _header(record)
        found = {entry.tag: entry for entry in _entries(record, order, start)}.get(ORIENTATION)
        turn = _number(found, order) if found else 1
    except (struct.error, ValueError):
        return 1
    return turn if turn in range(1, 9) else 1


def for_result(record: bytes, size: tuple[int, int]) -> bytes | None:
    """The record of an upright result: orientation 1, its width and height, no thumbnail.

    Args:
        record: starts with its TIFF header.
        size: (width, height) of the result.

    Returns:
        None if the record is damaged.
    """
    changed = bytearray(record)
    values = {ORIENTATION: 1, **dict.fromkeys(_WIDTHS, size[0]), **dict.fromkeys(_HEIGHTS, size[1])}
    try:
        order, start = _header(record)
        main = list(_entries(record, order, start))
        parts = [_entries(record, order, _number(entry, order)) for entry in main if entry.tag == EXIF_PART]
        for entry in (*main, *(entry for part in parts for entry in part)):
            if entry.tag in values:
                _set(changed, order, entry, values[entry.tag])
        return bytes(_without_thumbnail(changed, order, start + 2 + 12 * len(main)))
    except (struct.error, ValueError):
        return None


def of_tiff(data: bytes) -> bytes | None:
    """The tags of a TIFF that describe the photograph, as a record; None if there are none or the file is damaged."""
    try:
        order, start = _header(data)
        kept = _copy(data, order, start, 8, _describes)
    except (struct.error, ValueError, RecursionError):
        return None
    return data[:4] + struct.pack(order + "I", 8) + kept if struct.unpack_from(order + "H", kept)[0] else None


def byte_order(record: bytes) -> str:
    """"<" or ">".

    Raises:
        ValueError: not a record.
    """
    return _header(record)[0]


def into_tiff(tiff: bytes, record: bytes) -> bytes:
    """A TIFF with the tags of a record, in a new directory at its end.

    Args:
        tiff: the file, in the byte order of the record.
        record: starts with its TIFF header.

    Raises:
        ValueError: the record is damaged.
    """
    try:
        order, start = _header(tiff)
        added = [entry for entry in _entries(record, order, _header(record)[1])
                 if _describes(entry) and entry.tag != ORIENTATION]
        packed = {entry.tag: tiff[entry.position:entry.position + 12] for entry in _entries(tiff, order, start)}
        at = len(tiff) + len(tiff) % 2
        count = len(packed.keys() | {entry.tag for entry in added})
        new, body = _placed(record, order, added, at + _length(count))
    except (struct.error, RecursionError) as error:
        raise ValueError(f"a damaged EXIF record ({error})") from error
    packed.update(new)
    head = tiff[:4] + struct.pack(order + "I", at) + tiff[8:].ljust(at - 8, b"\0")
    return head + struct.pack(order + "H", count) + b"".join(packed[tag] for tag in sorted(packed)) + bytes(4) + body


def _describes(entry: Entry) -> bool:
    return entry.tag in _SHARED and not (entry.tag == _DESCRIPTION and entry.raw.startswith(_OF_PROGRAMS))


def _header(record: bytes) -> tuple[str, int]:
    """Byte order and position of the first directory.

    Raises:
        ValueError: not the header of a TIFF.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(record[:4]))
    if order is None:
        raise ValueError("not an EXIF record (it starts with neither II nor MM)")
    return order, struct.unpack_from(order + "I", record, 4)[0]


def _entries(record: bytes, order: str, start: int) -> Iterator[Entry]:
    """The entries of a directory.

    Raises:
        ValueError: an entry refers to a place outside the record.
    """
    for position in range(start + 2, start + 2 + 12 * struct.unpack_from(order + "H", record, start)[0], 12):
        tag, kind, count = struct.unpack_from(order + "HHI", record, position)
        length = _BYTES.get(kind, 1) * count
        place = position + 8 if length <= 4 else struct.unpack_from(order + "I", record, position + 8)[0]
        if max(place + length, position + 12) > len(record):
            raise ValueError(f"tag {tag} is outside the record")
        yield Entry(tag, kind, count, bytes(record[place:place + length]), position)


def _number(entry: Entry, order: str) -> int:
    return struct.unpack_from(order + ("H" if entry.kind == _SHORT else "I"), entry.raw)[0]


def _set(record: bytearray, order: str, entry: Entry, value: int) -> None:
    if entry.count == 1 and entry.kind in (_SHORT, _LONG):
        letter = "H" if entry.kind == _SHORT else "I"
        struct.pack_into(order + letter, record, entry.position + 8, min(value, 65535) if letter == "H" else value)


def _without_thumbnail(record: bytearray, order: str, pointer: int) -> bytearray:
    """Remove the second directory, which describes the thumbnail, and blank or cut off the thumbnail itself."""
    if pointer + 4 > len(record):
        return record
    second = struct.unpack_from(order + "I", record, pointer)[0]
    struct.pack_into(order + "I", record, pointer, 0)
    try:
        found = {entry.tag: _number(entry, order) for entry in _entries(bytes(record), order, second)
                 if entry.tag in (_THUMBNAIL, _THUMBNAIL_LENGTH)} if second else {}
    except (struct.error, ValueError):
        return record
    start, length = found.get(_THUMBNAIL, 0), found.get(_THUMBNAIL_LENGTH, 0)
    if not (second < start and start + length <= len(record)):
        return record
    record[start:start + length] = bytes(length)
    return record[:start] if not any(record[start:]) else record


def _copy(source: bytes, order: str, start: int, at: int, keep: Callable[[Entry], bool] = lambda _: True) -> bytes:
    """A directory and the parts that it refers to, as they stand from position ``at`` on."""
    entries = [entry for entry in _entries(source, order, start) if keep(entry) and entry.tag != MAKER_NOTE]
    packed, body = _placed(source, order, entries, at + _length(len(entries)))
    return struct.pack(order + "H", len(entries)) + b"".join(packed.values()) + bytes(4) + body


def _length(entries: int) -> int:
    """Bytes of a directory: number, entries and pointer to the next."""
    return 2 + 12 * entries + 4


def _placed(source: bytes, order: str, entries: Iterable[Entry], at: int) -> tuple[dict[int, bytes], bytes]:
    """Entries by tag as they stand in a directory whose values stand from position ``at`` on, and these values."""
    packed, body = {}, bytearray()
    for entry in entries:
        place, value = at + len(body), entry.raw.ljust(4, b"\0")
        if entry.tag in _PARTS:
            body += _copy(source, order, _number(entry, order), place)
        elif len(entry.raw) > 4:
            body += entry.raw
        if at + len(body) > place:
            value = struct.pack(order + "I", place)
        body += bytes(len(body) % 2)
        packed[entry.tag] = struct.pack(order + "HHI", entry.tag, entry.kind, entry.count) + value
    return packed, bytes(body)
