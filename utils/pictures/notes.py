"""Remarks that are true of many pictures and told once."""

import logging

log = logging.getLogger(__name__)

_noted: set[str] = set()


def note_once(text: str, key: str) -> None:
    """Logs a remark; later ones of the same key are left out, as long as the process lives."""
    if key not in _noted:
        _noted.add(key)
        log.warning(text)
