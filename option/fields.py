"""Types of option values, and the base class of all sections."""

from __future__ import annotations

import os
import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

_VARIABLE = re.compile(r"\$(?:(\$)|(\w+)|\{([^{}]*)\})")


def expand_path(text: Any) -> Any:
    """Expand ``~``, ``$NAME`` and ``${NAME}`` in a path; ``$$`` becomes one dollar sign.

    Relative paths stay relative to the working directory.

    Raises:
        ValueError: an environment variable is not set.
    """
    if not isinstance(text, str):
        return text

    def value_of(match: re.Match[str]) -> str:
        if match[1]:
            return "$"
        name = match[2] or match[3] or ""
        if name not in os.environ:
            raise ValueError(f"the environment variable {name} is not set, got {text!r}; "
                             f"set it or write the path out ($$ stands for a dollar sign)")
        return os.environ[name]

    return _VARIABLE.sub(value_of, os.path.expanduser(text))


def _no_switch(kind: str) -> BeforeValidator:
    """Reject true and false, which Python treats as 1 and 0."""
    def check(value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError(f"should be a {kind}, got {str(value).lower()}")
        return value

    return BeforeValidator(check)


Whole = Annotated[int, _no_switch("whole number")]
Number = Annotated[float, _no_switch("number")]
PathText = Annotated[str, BeforeValidator(expand_path),
                     PlainSerializer(lambda path: path.replace("$", "$$"), when_used="json")]


def published(default: Any = None, remark: str = "") -> Any:
    """A key of published option files that this code does not use; `Options.without_effect` lists it if given."""
    return Field(default, description=f"published key without effect{remark and f': {remark}'}",
                 json_schema_extra={"no_effect": True})


class Section(BaseModel):
    """One section of an option file: typed and frozen; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=False,
                              protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, value: Any) -> Any:
        """A section heading with nothing below it selects all defaults."""
        return {} if value is None else value
