"""Reads YAML with the scalars of YAML 1.2. Duplicate keys are errors, and every error names its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from option.errors import OptionError

_CORE = {  # YAML 1.2 core schema: `off` and `no` are text, 1e-4 is a number
    "tag:yaml.org,2002:null": (r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    "tag:yaml.org,2002:bool": (r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    "tag:yaml.org,2002:int": (r"^[-+]?(?:0|[1-9][0-9_]*)$", list("-+0123456789")),
    "tag:yaml.org,2002:float": (r"^(?:[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9_]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
                                r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", list("-+.0123456789")),
    "tag:yaml.org,2002:merge": (r"^(?:<<)$", ["<"]),
}


class _Loader(yaml.SafeLoader):
    """`yaml.SafeLoader` with the scalars of YAML 1.2; duplicate keys are errors."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[Any]]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        first_line: dict[str, int] = {}
        for key, _ in node.value:
            name, line = key.value, key.start_mark.line + 1
            if not isinstance(name, str):
                raise yaml.constructor.ConstructorError(None, None, "a key should be a word", key.start_mark)
            if name in first_line and name != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {name} is given twice (first on line {first_line[name]})",
                    key.start_mark)
            first_line[name] = line
        return {str(key): value for key, value in super().construct_mapping(node, deep=True).items()}


class _WordLoader(_Loader):
    """Keeps every scalar except null as text."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[Any]]] = {}


for _tag, (_pattern, _first) in _CORE.items():
    for _loader in (_Loader, _WordLoader) if _tag.endswith(("null", "merge")) else (_Loader,):
        _loader.add_implicit_resolver(_tag, re.compile(_pattern), _first)


def parse_yaml(text: str, source: str, *, words: bool = False) -> Any:
    """Parse one YAML document.

    Args:
        text: the document.
        source: name of the document in messages.
        words: keep numbers and switches as text.

    Raises:
        OptionError: invalid YAML or a duplicate key; names ``source`` and the line.
    """
    try:
        return yaml.load(text, Loader=_WordLoader if words else _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise OptionError(f"{source}: {line}{error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise OptionError(f"{source}: not YAML: {' '.join(str(error).split())}") from None


def read_yaml(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read an option file.

    Returns:
        The content, and the same content with numbers and switches kept as text.

    Raises:
        OptionError: the file is missing, unreadable or not YAML, or its top level is not a mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise OptionError(f"{path}: no such option file; give one with -opt FILE") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise OptionError(f"{path}: cannot be read as an option file: {reason}") from None
    tree = parse_yaml(text, str(path))
    if tree is None:
        return {}, {}
    if not isinstance(tree, dict):
        raise OptionError(f"{path}: should hold `key: value` lines, got {type(tree).__name__}")
    return tree, parse_yaml(text, str(path), words=True)
