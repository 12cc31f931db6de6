"""Remarks that apply to many pictures and are logged once."""

import logging

log = logging.getLogger(__name__)

_noted: set[str] = set()


def note_once(text: str, key: str) -> None:
    """Log a remark; later remarks with the same key are dropped until the process ends."""
    if key not in _noted:
        _noted.add(key)
        log.warning(text)
