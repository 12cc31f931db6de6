"""Where a step's time goes, measured without making the GPU wait."""

import time

import torch

PHASES = ("data", "forward", "backward", "optimiser")


class Stopwatch:
    """Seconds by phase: ``data`` (waiting for the loader), ``forward`` (synthesis, model, losses), ``backward``
    and ``optimiser`` (clipping, update, moving average).

    On a GPU the phases after ``data`` are measured by events on the stream, read when :meth:`seconds` is called.

    Args:
        device: where the work runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self.restart()

    def restart(self) -> None:
        """The next lap starts now."""
        self._moment = time.perf_counter()
        self._event = self._record()

    def lap(self, phase: str) -> None:
        """What ran since the last lap was ``phase``."""
        now, event = time.perf_counter(), self._record()
        if event is None or self._event is None or phase == "data":
            self._seconds[phase] += now - self._moment
        else:
            self._events.append((phase, self._event, event))
        self._moment, self._event = now, event

    def seconds(self) -> dict[str, float]:
        """Seconds of each phase so far. Waits for the GPU."""
        if self._events:
            self._events[-1][2].synchronize()
            for phase, start, end in self._events:
                self._seconds[phase] += start.elapsed_time(end) / 1000
            self._events.clear()
        return dict(self._seconds)

    def _record(self) -> torch.cuda.Event | None:
        if not self._cuda:
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def describe_split(seconds: dict[str, float]) -> str:
    """``data 3 %, forward 41 %, ...`` of the phases' sum."""
    total = sum(seconds.values()) or 1.0
    return ", ".join(f"{phase} {100 * value / total:.1f} %" for phase, value in seconds.items())
