"""One file with a decorator is found by its name; an unknown name is answered with the nearest known ones."""

import sys
import textwrap
from collections.abc import Sequence
from typing import Annotated, Literal

import pytest

from utils.errors import UserError
from utils.registry import Registry
from utils.signatures import Count, Share, check_value, signature_of


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An importable package with a registry; the function adds modules to it."""
    folder = tmp_path / "plugin_room"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = Registry("model", "plugin_room")
    monkeypatch.setattr(Registry, "under_test", registry, raising=False)

    def add(name, body):
        head = "from utils.registry import Registry\nMODELS = Registry.under_test\n"
        (folder / f"{name}.py").write_text(head + textwrap.dedent(body))
        return registry

    yield add
    for module in [module for module in sys.modules if module.split(".")[0] == "plugin_room"]:
        del sys.modules[module]


ONE = """
@MODELS.register("DeFusionPP", aliases=("UCMConv",))
class Net:
    def __init__(self, *, embed_dim: int = 192, depth: int = 12):
        self.embed_dim, self.depth = embed_dim, depth
"""


def test_every_module_of_the_package_is_found(package):
    package("one", ONE)
    registry = package("two", "@MODELS.register('Average')\ndef average(): return 'average'\n")
    package("_private", "raise RuntimeError('not imported')\n")
    assert registry.names() == ["Average", "DeFusionPP"]
    assert registry.get("UCMConv") is registry.get("DeFusionPP")
    assert registry.create("Average") == "average"
    assert registry.create("UCMConv", depth=3).depth == 3


def test_a_look_up_imports_only_the_module_that_holds_the_name(package):
    package("one", ONE)
    registry = package("heavy", "import not_installed\n@MODELS.register('Heavy')\nclass Heavy: pass\n")
    assert registry.get("UCMConv") is registry.get("DeFusionPP")
    for look_up in (lambda: registry.get("Heavy"), lambda: registry.get("unknown"), registry.names):
        with pytest.raises(ModuleNotFoundError, match="not_installed"):
            look_up()


def test_a_module_added_later_is_found_too(package):
    registry = package("one", ONE)
    assert registry.names() == ["DeFusionPP"]
    package("late", "@MODELS.register('Late')\nclass Late: pass\n")
    import importlib
    importlib.invalidate_caches()
    assert registry.names() == ["DeFusionPP", "Late"]


def test_import_errors_stay_visible(package):
    registry = package("broken", "import no_such_module_anywhere\n")
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
            registry.names()


def test_an_unknown_name_lists_the_known_nearest_first(package):
    package("one", ONE)
    registry = package("two", """
        @MODELS.register("Average")
        class Average: pass
        @MODELS.register("Maximum")
        class Maximum: pass
    """)
    with pytest.raises(UserError) as error:
        registry.get("DeFusoinPP", where="option/test/IVF.yaml: model")
    assert str(error.value) == ("option/test/IVF.yaml: model: unknown model DeFusoinPP (did you mean DeFusionPP?); "
                                "known: DeFusionPP, UCMConv, Average, Maximum")
    with pytest.raises(UserError) as error:
        registry.create("zzz")
    assert str(error.value) == "unknown model zzz; known: Average, DeFusionPP, Maximum, UCMConv"


def test_a_name_has_one_owner():
    registry = Registry("loss", "utils")
    registry.register("L1")(signature_of)
    registry.register("L1")(signature_of)
    with pytest.raises(ValueError, match=r"loss L1 is registered twice: \S+ signature_of and \S+ check_value"):
        registry.register("Other", aliases=("L1",))(check_value)


@pytest.fixture
def registry():
    registry = Registry("model", "utils")

    @registry.register("Net")
    class Net:
        def __init__(self, *, depth: Count, rate: Share = 0.1, mode: Literal["a", "b"] = "a",
                     widths: tuple[int, ...] = (), deep: bool = False, name: str | None = None, other: object = None,
                     heads: Sequence[Count] = ()):
            if depth > 12:
                raise ValueError(f"depth {depth} is more than 12")
            self.arguments = (depth, rate, mode, widths, deep, name, other)

    return registry


@pytest.mark.parametrize("arguments, message", [
    ({"depht": 3}, "o.yaml: network_G.depht: unknown key (did you mean depth?)"),
    ({"zz": 3}, "o.yaml: network_G.zz: unknown key (known here: deep, depth, heads, mode, name, other, rate, widths)"),
    ({}, "o.yaml: network_G.depth: missing; model Net needs it"),
    ({"depth": "deep"}, "o.yaml: network_G.depth: should be a whole number, got 'deep'"),
    ({"depth": 1.5}, "o.yaml: network_G.depth: should be a whole number, got 1.5"),
    ({"depth": True}, "o.yaml: network_G.depth: should be a whole number, got true"),
    ({"depth": 0}, "o.yaml: network_G.depth: should be 1 or more, got 0"),
    ({"depth": 1, "rate": 1}, "o.yaml: network_G.rate: should be less than 1, got 1"),
    ({"depth": 1, "heads": [2, -1]}, "o.yaml: network_G.heads: should be 1 or more, got -1"),
    ({"depth": 1, "mode": "c"}, "o.yaml: network_G.mode: should be 'a' or 'b', got 'c'"),
    ({"depth": 1, "widths": [1, "x"]}, "o.yaml: network_G.widths: should be a whole number, got 'x'"),
    ({"depth": 1, "name": 3}, "o.yaml: network_G.name: should be text, got 3"),
    ({"depth": 13}, "o.yaml: network_G: Net cannot be built with depth=13: depth 13 is more than 12"),
])
def test_keywords_are_checked_against_the_signature(registry, arguments, message):
    with pytest.raises(UserError) as error:
        registry.build("Net", arguments, at=lambda key: f"o.yaml: {key}", name_key="model", arguments_key="network_G")
    assert str(error.value) == message


def test_checked_keywords_arrive_as_annotated(registry):
    thing = object()
    net = registry.create("Net", depth=2, rate=0, widths=[1, 2], deep=True, name="n", other=thing)
    assert net.arguments == (2, 0.0, "a", (1, 2), True, "n", thing)
    with pytest.raises(UserError) as error:
        registry.create("Net", dept=2)
    assert str(error.value) == "model Net: dept: unknown key (did you mean depth?)"


def test_a_class_that_hands_keywords_on_takes_its_parents_ones():
    class Parent:
        def __init__(self, *, width: int, depth: int = 2):
            self.width, self.depth = width, depth

    class Child(Parent):
        def __init__(self, *, extra: str = "", **kwargs):
            super().__init__(**kwargs)

    def anything(first, **kwargs):
        """Takes any keyword."""

    child = signature_of(Child)
    assert set(child.known) == {"extra", "width", "depth"}
    assert (child.required, child.takes_any) == (["width"], False)
    assert signature_of(anything).takes_any


def test_a_class_that_hands_keywords_to_a_part_takes_its_ones():
    class Part:
        def __init__(self, *, width: int = 1) -> None:
            self.width = width

    class Whole:
        def __init__(self, *, depth: int = 1, **part: Annotated[int, Part]) -> None:
            self.depth, self.part = depth, Part(**part)

    registry = Registry("thing", "models")
    registry.register("Whole")(Whole)
    made = registry.create("Whole", depth=2, width=3)
    assert (made.depth, made.part.width) == (2, 3)
    for wrong in ({"widht": 3}, {"width": "three"}):
        with pytest.raises(UserError, match=r"did you mean width|should be a whole number"):
            registry.create("Whole", **wrong)


def test_torch_modules_without_an_initialiser_take_nothing():
    from torch import nn

    class Empty(nn.Module):
        pass

    signature = signature_of(Empty)
    assert (signature.known, signature.required, signature.takes_any) == ({}, [], False)
