"""Reads the keywords of classes and functions, and checks values from option files against them."""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from option.messages import finding_text
from utils.errors import UserError

# Annotations for which values of option files are checked before anything is built.
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]

_PLAIN = (int, float, bool, str, type(None))
# Their initialisers have **kwargs but accept no keywords.
_TAKES_NOTHING = {("builtins", "object"), ("torch.nn.modules.module", "Module")}


@dataclass(frozen=True)
class Signature:
    """Keywords of a class or function.

    Attributes:
        known: keyword -> annotation (Any if there is none).
        required: keywords without a default.
        takes_any: whether other keywords are accepted too.
    """

    known: dict[str, Any]
    required: list[str]
    takes_any: bool


def signature_of(entry: Callable[..., Any]) -> Signature:
    """Read the keywords of a function or of a class's initialiser.

    A class that passes ``**kwargs`` on accepts the keywords of its parents or, if they are annotated as
    ``Annotated[..., Part]``, those of ``Part``.
    """
    known: dict[str, Any] = {}
    required: list[str] = []
    takes_any = False
    functions = _initialisers(entry)
    for function in functions:
        parameters = list(inspect.signature(function).parameters.values())[inspect.isclass(entry):]
        hints = _hints(function)
        for parameter in parameters:
            named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            if named and parameter.name not in known:
                known[parameter.name] = hints.get(parameter.name, Any)
                if parameter.default is parameter.empty:
                    required.append(parameter.name)
        rest = [parameter for parameter in parameters if parameter.kind is parameter.VAR_KEYWORD]
        takes_any = bool(rest)
        if not takes_any:
            break
        functions += [inner for parameter in rest for inner in _initialisers_of_part(parameter.annotation)]
    else:
        takes_any = takes_any and not inspect.isclass(entry)
    return Signature(known, required, takes_any)


def check_value(value: Any, annotation: Any, where: str) -> Any:
    """Convert a value to the annotated type, for example a list to a tuple.

    Only types that an option file can express are checked; values for other annotations are returned unchanged.

    Raises:
        UserError: the value has the wrong type; the message starts with ``where``.
    """
    if not _is_plain(annotation):
        return value
    try:
        # Strict JSON matches the rules of option files: lists become tuples; 1 is a number, true and "1" are not.
        return TypeAdapter(annotation).validate_json(json.dumps(value), strict=True)
    except TypeError:  # a Python object that an option file cannot express
        return value
    except ValidationError as error:
        raise UserError(f"{where}: {finding_text(error.errors(include_url=False)[0])}") from None


def _initialisers(entry: Callable[..., Any]) -> list[Callable[..., Any]]:
    """The function itself, or the initialisers of a class and its parents, nearest first."""
    if not inspect.isclass(entry):
        return [entry]
    own = [vars(base)["__init__"] for base in inspect.getmro(entry)
           if "__init__" in vars(base) and (base.__module__, base.__name__) not in _TAKES_NOTHING]
    return own or [lambda self: None]


def _initialisers_of_part(annotation: Any) -> list[Callable[..., Any]]:
    """The initialisers of the class that ``**kwargs: Annotated[..., Part]`` names."""
    parts = getattr(annotation, "__metadata__", ())
    return [function for part in parts if inspect.isclass(part) for function in _initialisers(part)]


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError):  # names imported only for type checking
        return {}


def _is_plain(annotation: Any) -> bool:
    """Whether an annotation consists of numbers (bounded or not), text, switches, lists and tuples."""
    if annotation in _PLAIN:
        return True
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return True
    if origin is Annotated:
        return _is_plain(arguments[0])
    if origin in (typing.Union, types.UnionType, tuple, list, Sequence):
        return all(argument is Ellipsis or _is_plain(argument) for argument in arguments)
    return False
