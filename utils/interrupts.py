"""SIGTERM, SIGHUP and Ctrl-C during training: save, log where, and exit without waiting for the end of the step."""

import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

log = logging.getLogger(__name__)

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]
_END = b"\0"
_active: "Interrupts | None" = None


class Interrupts:
    """Calls ``save`` in a separate thread when a signal asks the process to stop, then exits.

    Python runs signal handlers in the main thread, between two bytecode instructions: a backward pass of many
    seconds, or a collective call whose peer is gone, would delay them. The C part of the handler, however, writes
    the signal's number to a socket immediately; the thread reads the other end.

    Args:
        save: stores what must not be lost. Runs concurrently with the main thread, which may be in the middle of a
            step.

    The process ends with 128 + the signal's number: 143 for SIGTERM, 130 for Ctrl-C, 129 for SIGHUP. What nohup or a
    shell's ``&`` told the process to ignore stays ignored. Outside the main thread the block does nothing.
    """

    def __init__(self, save: Callable[[], None]) -> None:
        self._save = save

    def __enter__(self) -> "Interrupts":
        global _active
        self._installed = threading.current_thread() is threading.main_thread()
        if not self._installed:
            return self
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._handlers = {number: signal.signal(number, _do_nothing) for number in _SIGNALS
                          if signal.getsignal(number) != signal.SIG_IGN}
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="interrupts", daemon=True)
        self._thread.start()
        _active = self
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        global _active
        if not self._installed:
            return
        if self._leaving.is_set():
            self._thread.join()  # the thread ends the process; exiting first would cut off its save
        _active = None
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._writer.send(_END)
        self._thread.join()  # a thread that still runs when Python ends would abort the process
        self._reader.close()
        self._writer.close()
        self._installed = False

    def forget(self) -> None:
        """Restore the default signals in a forked child (a loader's worker); the parent handles Ctrl-C."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._reader.close()
        self._writer.close()

    def _watch(self) -> None:
        while (received := self._reader.recv(1)) != _END:
            if received[0] in self._handlers:
                self._leave(signal.Signals(received[0]))

    def _leave(self, received: signal.Signals) -> None:
        self._leaving.set()
        log.warning("%s received: saving, then leaving", received.name)
        try:
            self._save()
        except Exception:
            log.exception("could not save after %s", received.name)
        finally:
            for child in multiprocessing.active_children():
                child.kill()
            logging.shutdown()
            os._exit(128 + received)


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Placeholder: the C handler writes to the socket only if a Python handler is set."""


def _forget_in_child() -> None:
    global _active
    if _active is not None:
        _active.forget()
        _active = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
