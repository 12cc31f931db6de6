"""Joins fused pictures with the sound of a source, by copying both as they are encoded."""

import heapq
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av

from utils.files import atomic_write

FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Suffixes of videos that can be written -> FFmpeg's names."""
_OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder"}


def join(pictures: Path, source: Path, out: Path, rate: Fraction, ends: Fraction | None = None) -> list[str]:
    """Write a video of the pictures with the sound and the title of a source; ``out`` appears when it is complete.

    Args:
        pictures: an MP4 with one picture track.
        source: the video whose sound tracks and metadata are taken; their times are kept.
        out: the file to write; its suffix is one of ``FORMATS``.
        rate: mean frames per second, as players show it.
        ends: sound from this time on is left out, in seconds; None: all is kept.

    Returns:
        One line for each sound track that this kind of file cannot hold.

    Raises:
        UserError: the disk is full.
    """
    form, notes = FORMATS[out.suffix.lower()], []
    options = {"movflags": "faststart"} if form != "matroska" else {}
    with atomic_write(out, durable=False) as temporary, av.open(str(pictures)) as seen, av.open(str(source)) as heard, \
            av.open(str(temporary), "w", format=form, options=options) as joined:
        joined.metadata.update({key: value for key, value in heard.metadata.items() if key not in _OF_THE_FILE})
        shown = seen.streams.video[0]
        copies = {shown: joined.add_stream_from_template(shown)}
        copies[shown].time_base = shown.time_base
        copies[shown].codec_context.framerate = rate  # by itself, Matroska would give its unit of time as the rate
        for sound in heard.streams.audio:
            if sound.codec_context.name in joined.supported_codecs:
                copies[sound] = joined.add_stream_from_template(sound)
            else:
                notes.append(f"{source}: {out.suffix} holds no sound of type {sound.codec_context.name}; left out"
                             f"{'' if form == 'matroska' else '; give -o a name that ends in .mkv'}")
        sounds = [stream for stream in copies if stream is not shown]
        # Matroska would move everything by what a decoder of sound needs before the beginning.
        begins = Fraction(0) if form == "matroska" else None
        packets = [_packets(seen, [shown]), *([_packets(heard, sounds, begins, ends)] if sounds else [])]
        for _, packet in heapq.merge(*packets, key=lambda one: one[0]):
            packet.stream = copies[packet.stream]
            joined.mux(packet)
    return notes


def _packets(container: av.container.InputContainer, streams: list, begins: Fraction | None = None,
             ends: Fraction | None = None) -> Iterator[tuple[Fraction, av.Packet]]:
    """Packets with their decoding times in seconds, of a stretch of time."""
    for packet in container.demux(streams):
        if packet.dts is None:  # the empty packet at the end of a track
            continue
        time = packet.dts * packet.time_base
        if (begins is None or time >= begins) and (ends is None or time < ends):
            yield time, packet
