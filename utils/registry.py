"""Names for models, data sets, losses and damages, so that an option file can choose them.

A file that is dropped into the package is found by itself:

    @MODELS.register("MyModel")
    class MyModel(nn.Module): ...
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from option.errors import did_you_mean, nearest
from utils.errors import UserError

Entry = TypeVar("Entry", bound=Callable[..., Any])


class Registry:
    """The entries of one kind.

    Args:
        kind: what an entry is, for messages: ``model``, ``data set``.
        package: package whose modules register entries; all of them are imported at the first lookup.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._entries: dict[str, Callable[..., Any]] = {}
        self._aliases: dict[str, str] = {}
        self._imported: set[str] = set()

    def register(self, name: str, *, aliases: Iterable[str] = ()) -> Callable[[Entry], Entry]:
        """Decorator that gives a class or function a name, and further names if wanted.

        Raises:
            ValueError: the name belongs to something else.
        """
        def add(entry: Entry) -> Entry:
            for new in (name, *aliases):
                taken = self._entries.get(self._aliases.get(new, new))
                if taken is not None and _place(taken) != _place(entry):
                    raise ValueError(f"{self.kind} {new} is registered twice: {_place(taken)} and {_place(entry)}")
            self._entries[name] = entry
            self._aliases.update(dict.fromkeys(aliases, name))
            return entry

        return add

    def names(self) -> list[str]:
        """Every registered name in order, without the aliases."""
        self._discover()
        return sorted(self._entries)

    def get(self, name: str, *, where: str = "") -> Callable[..., Any]:
        """The entry of that name or alias.

        Args:
            name: as in the option file.
            where: place of the name for the message, such as ``option/test/IVF.yaml: model``.

        Raises:
            UserError: unknown name; lists the known ones, nearest first.
        """
        self._discover()
        entry = self._entries.get(self._aliases.get(name, name))
        if entry is None:
            raise UserError(_at(where, self._unknown(name)))
        return entry

    def create(self, name: str, /, **arguments: Any) -> Any:
        """Build the entry of that name with keywords; see :meth:`build`."""
        return self.build(name, arguments)

    def build(self, name: str, arguments: Mapping[str, Any], *, where: str = "", arguments_where: str = "") -> Any:
        """Build the entry of that name, its keywords checked against its signature first.

        Args:
            name: as in the option file.
            arguments: keywords for the class or function.
            where: place of the name, for the message.
            arguments_where: place of the keywords, such as ``option/test/IVF.yaml: network_G``.

        Raises:
            UserError: unknown name, unknown keyword (with the nearest known), or a keyword is missing.
        """
        entry = self.get(name, where=where)
        known, required, takes_any = _keywords(entry)
        for keyword in arguments:
            if keyword not in known and not takes_any:
                text = f"{name} takes no such key {did_you_mean(keyword, known)}"
                if arguments_where:
                    raise UserError(f"{arguments_where}.{keyword}: unknown key: {text}")
                raise UserError(f"{keyword}: unknown keyword: {text}")
        missing = [keyword for keyword in required if keyword not in arguments]
        if missing:
            raise UserError(_at(arguments_where, f"{self.kind} {name} also needs {', '.join(missing)}"))
        return entry(**arguments)

    def _unknown(self, name: str) -> str:
        known = sorted([*self._entries, *self._aliases], key=lambda other: (-_likeness(name, other), other))
        near = nearest(name, known)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        return f"unknown {self.kind} {name}{hint}; known: {', '.join(known) or 'none'}"

    def _discover(self) -> None:
        """Import each module of the package once. An import error is the file's bug and stays visible."""
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            if module.name not in self._imported and not module.name.startswith("_"):
                importlib.import_module(f"{self.package}.{module.name}")
                self._imported.add(module.name)


def _keywords(entry: Callable[..., Any]) -> tuple[set[str], list[str], bool]:
    """Known keywords, required ones, and whether any other is taken too.

    A class that hands ``**kwargs`` on takes what its parents take.
    """
    known: dict[str, inspect.Parameter] = {}
    initialisers = [vars(base)["__init__"] for base in inspect.getmro(entry) if "__init__" in vars(base)] \
        if inspect.isclass(entry) else [entry]
    takes_any = True
    for initialiser in initialisers:
        if initialiser is object.__init__:
            takes_any = False
            break
        parameters = list(inspect.signature(initialiser).parameters.values())
        for parameter in parameters[1:] if inspect.isclass(entry) else parameters:
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                known.setdefault(parameter.name, parameter)
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        if not takes_any:
            break
    required = [name for name, parameter in known.items() if parameter.default is parameter.empty]
    return set(known), required, takes_any


def _likeness(name: str, other: str) -> float:
    return difflib.SequenceMatcher(None, name.lower(), other.lower()).ratio()


def _place(entry: Callable[..., Any]) -> str:
    return f"{entry.__module__}.{entry.__qualname__}"


def _at(where: str, text: str) -> str:
    return f"{where}: {text}" if where else text
