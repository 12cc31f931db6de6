"""Generates the reference page of all options from the schema.

    python -m option.document            # writes docs/OPTIONS.md
    python -m option.document OTHER.md
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from option.fields import PathText, Section
from option.messages import section_of
from option.schema import MetricNames, Options

_INTRODUCTION = """\
# Options

Every key of an option file. This page is generated: `python -m option.document` after a change of
`option/schema.py` or `option/sections_*.py`.

- `-opt FILE` (or `--opt FILE`) names the option file; `--set section.key=value` replaces one key and may be
  repeated. Text and paths are taken as they are (`--set "name=Run #2"`); other values are read as YAML
  (`--set train.lr_steps=[5,8]`). `--device` replaces `device`.
- A *path* may hold `~`, `$NAME` and `${NAME}` (`$$` is a dollar sign); a variable that is not set is an error.
  Relative paths start at the working directory.
- An empty value means "not given" where the default is *not given*, and is an error elsewhere.
- YAML is read by its version 1.2: `true` and `false` are the only switches, `off` and `no` are words, `1e-4` is a
  number. A key that is given twice is an error.
- "Without effect": a key of published option files that this program does not need; it is accepted and named once.
"""
_NAMES = {int: "whole number", float: "number", bool: "true or false", str: "text"}
_BOUNDS = (("gt", "> {}"), ("ge", ">= {}"), ("lt", "< {}"), ("le", "<= {}"), ("multiple_of", "multiple of {}"))


def options_page() -> str:
    """The complete page as Markdown."""
    parts = [_INTRODUCTION]
    for path, section in _sections(Options):
        parts.append(f"## {f'`{path}`' if path else 'Top level'}\n\n{_first_line(section)}\n\n"
                     "| key | type | default | meaning |\n|---|---|---|---|")
        parts += [_row(name, field) for name, field in section.model_fields.items()
                  if section_of(field.annotation) is None]
        parts.append("")
    return "\n".join(parts)


def _sections(section: type[Section], path: str = "") -> Iterator[tuple[str, type[Section]]]:
    # A section that only holds other sections has no table of its own.
    if any(section_of(field.annotation) is None for field in section.model_fields.values()):
        yield path, section
    for name, field in section.model_fields.items():
        inner = section_of(field.annotation) or _section_by_name(field.annotation)
        if inner:
            mark = ".*" if section_of(field.annotation) is None else ""
            yield from _sections(inner, (f"{path}.{name}" if path else name) + mark)


def _section_by_name(annotation: Any) -> type[Section] | None:
    """The section of each value of a dict, or None."""
    is_dict = typing.get_origin(annotation) is dict
    return section_of(typing.get_args(annotation)[1]) if is_dict else None


def _first_line(section: type[Section]) -> str:
    return (section.__doc__ or "").strip().splitlines()[0]


def _row(name: str, field: FieldInfo) -> str:
    choices = getattr(field.validation_alias, "choices", [name])
    keys = " or ".join(f"`{key}`" for key in choices)
    meaning = (field.description or "").replace("|", "\\|")
    return f"| {keys} | {_kind(field)} | {_default(field)} | {meaning} |"


def _kind(field: FieldInfo) -> str:
    inner = _without_none(field.annotation)
    if _is_path(field):
        kind = "path"
    elif inner == typing.get_args(MetricNames)[0]:
        kind = "word or list of names"
    else:
        kind = _type_name(inner)
    limits = [text.format(_number(getattr(rule, key))) for rule in field.metadata for key, text in _BOUNDS
              if getattr(rule, key, None) is not None]
    return ", ".join([kind, *limits])


def _is_path(field: FieldInfo) -> bool:
    serializer = typing.get_args(PathText)[-1]
    return serializer in field.metadata or any(
        serializer in typing.get_args(part) for part in typing.get_args(field.annotation))


def _without_none(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(annotation) if part is not type(None)]
        return parts[0] if len(parts) == 1 else annotation
    return annotation


def _type_name(annotation: Any) -> str:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type_name(args[0])
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in args)
    if origin is tuple:
        return f"list of {_type_name(args[0])}s"
    if origin is dict:
        if section_of(args[1]):
            return f"names, each with the keys {', '.join(f'`{key}`' for key in section_of(args[1]).model_fields)}"
        return "keys and values" if args[1] is Any else f"names, each with a {_type_name(args[1])}"
    return _NAMES[annotation]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    if field.default is None:
        return "*not given*"
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _number(value: float) -> str:
    return f"{value:g}" if abs(value) < 1e6 else f"{value:,}".replace(",", " ")


def main(arguments: list[str]) -> None:
    """Write the page to the given file; by default to ``docs/OPTIONS.md`` next to this package."""
    default = Path(__file__).resolve().parent.parent / "docs" / "OPTIONS.md"
    parser = argparse.ArgumentParser(description="Write the page of all options.")
    parser.add_argument("path", type=Path, nargs="?", default=default, help=f"default: {default}")
    path = parser.parse_args(arguments).path
    path.write_text(options_page(), encoding="utf-8")
    logging.getLogger(__name__).info("wrote %s", path)


if __name__ == "__main__":
    main(sys.argv[1:])
