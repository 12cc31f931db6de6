"""Turns pydantic's errors into messages for the user."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import ValidationError

from option.errors import did_you_mean
from option.fields import Section

_KINDS = {
    "int": "should be a whole number",
    "float": "should be a number",
    "bool": "should be true or false",
    "string": "should be text",
    "tuple": "should be a list",
    "list": "should be a list",
    "dict": "should be a section of keys",
    "model": "should be a section of keys",
    "finite": "should be a finite number",
}
_BOUNDS = {
    "greater_than": ("gt", "should be greater than {}"),
    "greater_than_equal": ("ge", "should be {} or more"),
    "less_than": ("lt", "should be less than {}"),
    "less_than_equal": ("le", "should be {} or less"),
    "multiple_of": ("multiple_of", "should be a multiple of {}"),
}


def problems(error: ValidationError, root: type[Section], source_of: Callable[[str], str]) -> list[str]:
    """One line per error: ``file: key.path: what is wrong, got value``.

    Args:
        error: pydantic's errors for an option tree.
        root: class of the whole tree, which defines the known names of each section.
        source_of: maps a key path to the file (or flag) that set it.
    """
    lines = []
    for finding in error.errors(include_url=False):
        path = _dotted(finding["loc"])
        text = _text(finding, root)
        lines.append(": ".join(part for part in (source_of(path), path, text) if part))
    return list(dict.fromkeys(lines))


def _dotted(loc: tuple[Any, ...]) -> str:
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def _text(finding: Any, root: type[Section]) -> str:
    return _unknown_key(finding["loc"], root) if finding["type"] == "extra_forbidden" else finding_text(finding)


def finding_text(finding: Any) -> str:
    """Describe one error in the terms of an option file.

    Args:
        finding: an entry of ``ValidationError.errors()``.
    """
    kind, value, ctx = finding["type"], finding["input"], finding.get("ctx", {})
    if kind == "missing":
        return "missing; give it a value"
    if kind == "value_error":
        return str(ctx["error"])
    if kind == "literal_error":
        return f"should be {ctx['expected']}, got {shown(value)}"
    if kind in _BOUNDS:
        key, text = _BOUNDS[kind]
        return f"{text.format(format(ctx[key], 'g'))}, got {shown(value)}"
    stem = kind.split("_")[0]
    if stem in _KINDS:
        return f"{_KINDS[stem]}, got {shown(value)}"
    return f"{finding['msg'][:1].lower()}{finding['msg'][1:]}, got {shown(value)}"


def shown(value: Any) -> str:
    """A value as written in an option file, truncated if long."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _unknown_key(loc: tuple[Any, ...], root: type[Section]) -> str:
    """Suggest the intended key: a similar one in this section, or the same one in another section."""
    *parents, name = loc
    section: type[Section] | None = root
    for parent in parents:
        section = section and section_of(section.model_fields[parent].annotation)
    beside = known_keys(section) if section else []
    if name in beside:
        return "second name of a key that is given already; keep one of the two"
    hint = did_you_mean(str(name), beside)
    if "did you mean" not in hint:
        elsewhere = [path for path in all_keys(root) if path.rsplit(".", 1)[-1] == name]
        if elsewhere:
            hint = f"(did you mean {' or '.join(elsewhere)}?)"
    return f"unknown key {hint}"


def section_of(annotation: Any) -> type[Section] | None:
    """The section class inside an annotation such as ``TrainDataOptions | None``."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next(filter(None, map(section_of, typing.get_args(annotation))), None)
    return None


def known_keys(section: type[Section]) -> list[str]:
    """All names, aliases included, of the section's keys."""
    names = []
    for name, field in section.model_fields.items():
        choices = getattr(field.validation_alias, "choices", None)
        names += list(choices) if choices else [name]
    return names


def all_keys(section: type[Section], prefix: str = "") -> Iterator[str]:
    """Dotted paths of all keys in a section and its subsections."""
    for name, field in section.model_fields.items():
        inner = section_of(field.annotation)
        if inner:
            yield from all_keys(inner, f"{prefix}{name}.")
        else:
            yield prefix + name
