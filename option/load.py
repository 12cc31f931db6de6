"""Loads option files as typed options; each mistake is reported on one line with its place.

    options = load_options("option/test/IVF_TransformerTest_Dataset.yaml", ["save.components=false"])
    options = options_from_command_line(sys.argv[1:], "Fuse the pairs of a data set.")
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from option.errors import OptionError
from option.messages import problems, shown
from option.read import parse_yaml, read_yaml
from option.schema import Options
from option.words import keep_words, word_of

__all__ = ["OptionError", "argument_parser", "changed_options", "dump_options", "load_options",
           "options_from_arguments", "options_from_command_line", "options_hash"]

SHIPPED = Path(__file__).resolve().parent.parent  # holds option/
_COMMAND_LINE_ONLY = "dataset.train.allow_programs"


def load_options(path: str | Path, overrides: Sequence[str] = (), device: str | None = None) -> Options:
    """Read an option file and check every key.

    Args:
        path: YAML file. A relative path that does not exist is also searched among the shipped files, so that
            ``option/train/HighRes.yaml`` works in every folder.
        overrides: entries ``a.b=value``; later ones win. Text is taken literally, other values are parsed as YAML.
        device: replaces the file's ``device``.

    Raises:
        OptionError: lists all mistakes, one per line.
    """
    shipped = SHIPPED / path
    path = shipped if not Path(path).exists() and shipped.is_file() else Path(path)
    tree, words = read_yaml(path)
    flags: dict[str, str] = {}
    for override in overrides:
        key, value, word = _parse_override(override)
        flags |= dict.fromkeys([*_put(tree, key, value), key], "--set")
        _put(words, key, word)
    keep_words(tree, words, Options)
    if device is not None:
        tree["device"] = device
        flags["device"] = "--device"
    return _validate(tree, str(path), flags)


def _parse_override(override: str) -> tuple[str, Any, Any]:
    """Split into the key, the parsed value and the value as written."""
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key or not all(key.split(".")):
        raise OptionError(f"--set {override}: should look like key=value or section.key=value")
    word = word_of(key, text, Options)
    if word is not None:
        return key, word, word
    source = f"--set {override}"
    return key, parse_yaml(text, source), parse_yaml(text, source, words=True)


def _put(tree: dict[str, Any], key: str, value: Any) -> list[str]:
    """Set ``a.b.c`` in a nested tree; return the sections that had to be created."""
    *sections, last = key.split(".")
    made = []
    for depth, name in enumerate(sections):
        inner = tree.get(name)
        if inner is None:
            inner = tree[name] = {}
            made.append(".".join(sections[:depth + 1]))
        if not isinstance(inner, dict):
            raise OptionError(f"--set {key}: {'.'.join(sections[:depth + 1])} is not a section, it is "
                              f"{shown(inner)}")
        tree = inner
    tree[last] = value
    return made


def _validate(tree: dict[str, Any], source: str, flags: dict[str, str]) -> Options:
    def source_of(path: str) -> str:
        for key, flag in flags.items():
            if path == key or path.startswith((key + ".", key + "[")):
                return flag
        return source

    try:
        options = Options.model_validate(tree)
    except ValidationError as error:
        raise OptionError(problems(error, Options, source_of)) from None
    if options.dataset.train and options.dataset.train.allow_programs and source_of(_COMMAND_LINE_ONLY) == source:
        raise OptionError(f"{source}: {_COMMAND_LINE_ONLY}: may be set on the command line alone, as an option file "
                          f"may be someone else's; if you trust the shards, --set {_COMMAND_LINE_ONLY}=true")
    options._source = source
    options._overridden = flags
    return options


def changed_options(options: Options, changes: Mapping[str, Any], source: str) -> Options:
    """The same options with other values.

    Args:
        options: the options; unchanged.
        changes: values by key, such as ``{"train.lr": 1e-3}``.
        source: place of the changes, for messages.

    Raises:
        OptionError: lists all mistakes, one per line.
    """
    tree = options.model_dump(mode="json")
    flags: dict[str, str] = {}
    for key, value in changes.items():
        flags |= dict.fromkeys([*_put(tree, key, value), key], source)
    made = _validate(tree, options._source, flags)
    made._overridden = options._overridden | flags
    return made


def argument_parser(description: str) -> argparse.ArgumentParser:
    """Parser for the flags shared by all scripts: ``-opt FILE``, ``--set a.b=c`` (repeatable), ``--device``."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("-opt", "--opt", required=True, metavar="FILE", help="option file (YAML)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
                        help="replace one option, such as train.lr=1e-4; may be repeated")
    parser.add_argument("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:1, mps or xpu")
    return parser


def options_from_arguments(arguments: argparse.Namespace) -> Options:
    """Load the options selected by arguments from :func:`argument_parser`."""
    return load_options(arguments.opt, arguments.overrides, arguments.device)


def options_from_command_line(argv: Sequence[str], description: str) -> Options:
    """Parse the flags of a script and load its options.

    Args:
        argv: the command line without the program's name.
        description: one sentence for ``--help``.

    Raises:
        OptionError: a mistake in the option file or in ``--set``.
        SystemExit: unknown flag (2) or ``--help`` (0).
    """
    return options_from_arguments(argument_parser(description).parse_args(argv))


def options_hash(options: Options) -> str:
    """Hash of all settings except ``device`` and ``path.resume_state``, as twelve hex digits."""
    tree = options.model_dump(mode="json", exclude={"device": True, "path": {"resume_state"}})
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:12]


def dump_options(options: Options, path: str | Path) -> None:
    """Write all options, defaults included, as a loadable file. The write is atomic."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(options.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(beside, 0o644)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        raise
