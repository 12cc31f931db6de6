"""Takes the values of text keys literally, so that a folder may be called ``20240101`` or ``My Data #2``."""

from __future__ import annotations

import types
import typing
from typing import Any

from option.fields import Section
from option.messages import section_of

_NOTHING = ("", "null", "~")


def keep_words(tree: dict[str, Any], words: dict[str, Any], section: type[Section]) -> None:
    """Restore the written text where YAML parsed the value of a text key as a number.

    Args:
        tree: a section as parsed by YAML; changed in place.
        words: the same section with every value as written.
        section: class that defines which keys are text.
    """
    for key, annotation in _annotations(section).items():
        value, inner = tree.get(key), section_of(annotation)
        if inner and isinstance(value, dict):
            keep_words(value, words.get(key, {}), inner)
        elif type(value) in (int, float) and _is_text(annotation):
            tree[key] = words.get(key, value)


def word_of(key: str, text: str, section: type[Section]) -> str | None:
    """The literal value of ``--set key=text`` for a text key.

    Args:
        key: dotted path.
        text: what follows the equals sign.
        section: class of the whole tree.

    Returns:
        None where YAML must parse the value: the key is not text, the value is empty, or it is quoted.
    """
    *sections, last = key.split(".")
    for name in sections:
        inner = section_of(_annotations(section).get(name))
        if inner is None:
            return None
        section = inner
    annotation = _annotations(section).get(last)
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    absent = text == "" or (text in _NOTHING and _takes_nothing(annotation))
    return None if quoted or absent or not _is_text(annotation) else text


def _annotations(section: type[Section]) -> dict[str, Any]:
    """Map every name of a key, aliases included, to its annotation."""
    return {name: field.annotation for key, field in section.model_fields.items()
            for name in getattr(field.validation_alias, "choices", [key])}


def _is_text(annotation: Any) -> bool:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _is_text(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return all(_is_text(part) for part in arguments if part is not type(None))
    return annotation is str or (origin is typing.Literal and all(isinstance(word, str) for word in arguments))


def _takes_nothing(annotation: Any) -> bool:
    return type(None) in typing.get_args(annotation)
