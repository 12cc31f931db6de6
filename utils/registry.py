"""Names for models, data sets, losses and damages, so that option files can select them.

Files added to the package are discovered automatically:

    @MODELS.register("MyModel")
    class MyModel(nn.Module): ...
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from option.errors import did_you_mean, likeness, nearest
from utils.errors import UserError
from utils.signatures import check_value, signature_of

Entry = TypeVar("Entry", bound=Callable[..., Any])


class Registry:
    """The entries of one kind.

    Args:
        kind: kind of the entries, for messages: ``model``, ``data set``.
        package: package whose modules register entries. A look-up imports the module that contains the name; a
            listing or an unknown name imports all modules.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._entries: dict[str, Callable[..., Any]] = {}
        self._aliases: dict[str, str] = {}
        self._imported: set[str] = set()

    def register(self, name: str, *, aliases: Iterable[str] = ()) -> Callable[[Entry], Entry]:
        """Decorator that registers a class or function under a name and optional aliases.

        Raises:
            ValueError: the name is already taken.
        """
        def add(entry: Entry) -> Entry:
            for new in (name, *aliases):
                taken = self._entries.get(self._aliases.get(new, new))
                if taken is not None and _place(taken) != _place(entry):
                    raise ValueError(f"{self.kind} {new} is registered twice: {' '.join(_place(taken))} and "
                                     f"{' '.join(_place(entry))}")
            self._entries[name] = entry
            self._aliases.update(dict.fromkeys(aliases, name))
            return entry

        return add

    def names(self) -> list[str]:
        """All registered names in order, without aliases."""
        self._discover()
        return sorted(self._entries)

    def get(self, name: str, *, where: str = "") -> Callable[..., Any]:
        """The entry with a name or alias.

        Args:
            name: as in the option file.
            where: place of the name for messages, such as ``option/test/IVF.yaml: model``.

        Raises:
            UserError: unknown name; lists the known ones, closest first.
        """
        entry = self._entries.get(self._aliases.get(name, name))
        for narrow in (name, None):
            if entry is None:
                self._discover(narrow)
                entry = self._entries.get(self._aliases.get(name, name))
        if entry is None:
            raise UserError(f"{where}: {self._unknown(name)}" if where else self._unknown(name))
        return entry

    def create(self, name: str, /, **arguments: Any) -> Any:
        """Build the entry with a name from keywords; see :meth:`build`."""
        return self.build(name, arguments)

    def build(self, name: str, arguments: Mapping[str, Any], *, at: Callable[[str], str] = str,
              name_key: str = "", arguments_key: str = "") -> Any:
        """Build the entry with a name, after checking its keywords against its signature.

        Args:
            name: as in the option file.
            arguments: keywords for the class or function.
            at: maps a key to its place for messages, like ``Options.at``.
            name_key: key of the name, such as ``model``.
            arguments_key: key of the keywords, such as ``network_G``.

        Raises:
            UserError: unknown name; or a keyword is unknown, missing, of the wrong type or rejected by the entry.
        """
        entry = self.get(name, where=at(name_key) if name_key else "")

        def place(keyword: str) -> str:
            return at(f"{arguments_key}.{keyword}") if arguments_key else f"{self.kind} {name}: {keyword}"

        signature = signature_of(entry)
        for keyword in arguments:
            if keyword not in signature.known and not signature.takes_any:
                raise UserError(f"{place(keyword)}: unknown key {did_you_mean(keyword, signature.known)}")
        for keyword in signature.required:
            if keyword not in arguments:
                raise UserError(f"{place(keyword)}: missing; {self.kind} {name} needs it")
        checked = {keyword: check_value(value, signature.known.get(keyword, Any), place(keyword))
                   for keyword, value in arguments.items()}
        try:
            return entry(**checked)
        except (ValueError, AssertionError) as error:
            if not checked or isinstance(error, FileNotFoundError):
                raise
            given = ", ".join(f"{keyword}={value!r}" for keyword, value in checked.items())
            where = at(arguments_key) if arguments_key else self.kind
            raise UserError(f"{where}: {name} cannot be built with {given}: {error}") from error

    def _unknown(self, name: str) -> str:
        known = sorted([*self._entries, *self._aliases], key=lambda other: (-likeness(name, other), other))
        near = nearest(name, known)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        return f"unknown {self.kind} {name}{hint}; known: {', '.join(known) or 'none'}"

    def _discover(self, name: str | None = None) -> None:
        """Import each module of the package once. Import errors are raised unchanged.

        Args:
            name: import only modules whose text registers something and contains this name in quotes, so that one
                model does not need the libraries of the others.
        """
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            if module.name in self._imported or module.name.startswith("_"):
                continue
            if name is None or _mentions(f"{module.module_finder.path}/{module.name}.py", name):
                importlib.import_module(f"{self.package}.{module.name}")
                self._imported.add(module.name)


def _mentions(file: str, name: str) -> bool:
    """Whether a module's text registers something and contains a name in quotes."""
    if not os.path.isfile(file):
        return False
    with open(file, encoding="utf-8") as stream:
        text = stream.read()
    return ".register(" in text and (f'"{name}"' in text or f"'{name}'" in text)


def _place(entry: Callable[..., Any]) -> tuple[str, str]:
    """File and name of an entry: the same for a module that is imported, run as a script or reloaded."""
    file = getattr(sys.modules.get(entry.__module__), "__file__", None)
    return file or inspect.getsourcefile(entry) or entry.__module__, entry.__qualname__
