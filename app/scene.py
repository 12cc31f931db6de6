"""Processes one scene of ``defusionpp fuse``: reads, fuses and writes it, and reports the outcome."""

import contextlib
import json
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from app.align import Aligner
from app.depth import depth_map
from app.files import Files
from app.jobs import Job
from app.overlap import Side, winning_maps
from app.task import Guess, decide_task, short_names
from app.thermal import Thermal, as_guess
from utils.errors import UserError
from utils.pictures.metadata import result_metadata
from utils.pictures.picture import Picture, metadata_of
from utils.pictures.profiles import in_one_space
from utils.pictures.reading import hint_range
from utils.pictures.thermal import write_temperatures
from utils.pictures.writing import write_picture

if TYPE_CHECKING:
    from models.fuser import Fuser


@dataclass
class Outcome:
    """The outcome for one scene; the fields of a ``--json`` line.

    Attributes:
        out: the fused picture.
        pictures: its sources.
        status: kept, would be fused, fused or failed.
        task: IVF, MEF or MFF.
        reason: reason for the task, or for the failure.
        seconds: time for reading, fusing and writing.
        depth: the depth map.
        temperatures: the file of temperatures.
        celsius: degrees Celsius at the ends of the range; None without temperatures.
        alignment: position of each picture in the reference, in the order of the task; None for the reference, and as
            a whole if nothing was aligned.
        notes: remarks, such as ignored bands.
    """

    out: str
    pictures: list[str]
    status: str
    task: str | None = None
    reason: str | None = None
    seconds: float | None = None
    depth: str | None = None
    temperatures: str | None = None
    celsius: list[float] | None = None
    alignment: list[dict[str, Any] | None] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def amiss(self) -> bool:
        """Nothing was fused, or pictures that do not line up."""
        return self.status == "failed" or any(one and not one["credible"] for one in self.alignment or [])

    def text(self) -> str:
        """The outcome as one line of text."""
        if self.status == "kept":
            return f"{self.out}: kept, newer than its sources"
        if self.status == "failed":
            return f"{self.out}: left out: {self.reason}"
        seconds = "" if self.seconds is None else f", {self.seconds:.2f} s"
        moves = [f", shift {one['shift'][0]:+.1f} {one['shift'][1]:+.1f} px" for one in self.alignment or []
                 if one and one["credible"]]
        return f"{self.out}: {self.status} as {self.task} ({self.reason}){seconds}{''.join(moves)}"

    def say(self, *, as_json: bool) -> None:
        """Print the outcome; without JSON, failures and notes go to stderr."""
        with tqdm.external_write_mode():
            stream = sys.stderr if self.status == "failed" and not as_json else sys.stdout
            stream.write((json.dumps(vars(self)) if as_json else self.text()) + "\n")
            stream.flush()
            if not as_json:
                sys.stderr.write("".join(f"note: {line}\n" for line in self.notes))


def fuse_scene(job: Job, fuser: "Fuser | None", align: Aligner, thermal: Thermal, files: Files,
               prefer: Side | None = None, *, kept: bool = False) -> Outcome:
    """Align, fuse and write one scene; without a fuser, only determine its task and alignment.

    Args:
        job: files and result.
        fuser: the fuser, or None.
        align: aligns the pictures.
        thermal: what to do with temperatures.
        files: how files are read and written.
        prefer: side of a focus series that wins where front and back overlap.
        kept: keep the existing result.
    """
    outcome = Outcome(str(job.out), [str(path) for path in job.pictures], "kept")
    if kept:
        return outcome
    start = time.perf_counter()
    try:
        with _noting(outcome.notes):
            _fuse(job, fuser, align, thermal, files, prefer, outcome)
    except UserError as error:
        outcome.status, outcome.reason = "failed", str(error)
    except OSError as error:  # those of reading are `UserError`
        reason = f"it cannot be written ({error.strerror or error}); give another folder"
        outcome.status, outcome.reason = "failed", reason
    if outcome.status == "fused":
        outcome.seconds = round(time.perf_counter() - start, 3)
    return outcome


def _fuse(job: Job, fuser: "Fuser | None", align: Aligner, thermal: Thermal, files: Files, prefer: Side | None,
          outcome: Outcome) -> None:
    """Fuse the scene and fill in the outcome.

    Raises:
        UserError: the scene cannot be read, aligned, fused or written.
    """
    pictures, heat = thermal.read(job, align.margin, files)
    guess = as_guess(heat) if heat else decide_task(job.task, pictures, short_names(job.pictures))
    outcome.task, order = guess.task, guess.order
    outcome.reason = guess.reason + ", --ir and --vi say otherwise" * guess.by_order
    if (job.depth or prefer) and outcome.task != "MFF":
        raise UserError(f"{outcome.task} ({outcome.reason}) has no depth; {'--depth' if job.depth else '--prefer'}; "
                        "give --task MFF if this is a focus series")
    outcome.status, outcome.celsius = "would be fused", heat and [round(end, 2) for end in heat.limits]
    pictures = in_one_space(with_roles(pictures, guess))
    if guess.task == "IVF" and files.rule.value_range == "full":
        hint_range([pictures[order[0]]])
    ordered, aligned = align([pictures[place] for place in order])
    outcome.notes += aligned.doubts
    if any(aligned.alignments):
        outcome.alignment = [one and one.record() for one in aligned.alignments]
    if fuser is None:
        return
    maps = winning_maps(ordered, prefer) if prefer else None
    fused = fuser(*ordered, task=outcome.task, components=False, bits=files.bits_of(job.out), prefer=maps).fused
    celsius = aligned.carried(heat.temperatures, 0) if heat else None
    if heat:
        fused = thermal.shown(fused, celsius, heat.limits)
    write_picture(job.out, fused, result_metadata(metadata_of(pictures), fused), quality=files.quality)
    if job.depth:
        as_given = [picture for _, picture in sorted(zip(order, ordered), key=lambda one: one[0])]
        outcome.depth = str(write_picture(job.depth, depth_map(as_given)))
    if job.temperatures:
        outcome.temperatures = str(write_temperatures(job.temperatures, celsius))
    outcome.status = "fused"


def with_roles(pictures: Sequence[Picture], guess: Guess) -> list[Picture]:
    """The pictures in the order given; the first for IVF is infrared."""
    infrared = guess.order[0] if guess.task == "IVF" else None
    return [replace(one, role="infrared" if place == infrared else "none") for place, one in enumerate(pictures)]


class _Collector(logging.Handler):
    """Collects the messages of warnings."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextlib.contextmanager
def _noting(lines: list[str]) -> Iterator[None]:
    """Collect logged warnings in ``lines``."""
    collector = _Collector(lines)
    logging.getLogger().addHandler(collector)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(collector)
