"""Names of result files, in the published terms, and their order on contact sheets."""

FUSED, COMMON, UNIQUE1, UNIQUE2, INPUT1, INPUT2 = "recover", "common", "upper", "lower", "over", "under"
SHOWN_INPUTS = 9
"""Pictures of a stack that a contact sheet shows."""

_TITLES = {INPUT1: "input 1", INPUT2: "input 2", COMMON: "common", UNIQUE1: "unique 1", UNIQUE2: "unique 2",
           FUSED: "fused"}
_INPUT = "input"


def input_parts(count: int) -> list[str]:
    """Names of a scene's sources: ``over``, ``under``, then ``input3``, ``input4``, ..."""
    return [INPUT1, INPUT2, *(f"{_INPUT}{number}" for number in range(3, count + 1))]


def is_input(part: str) -> bool:
    """Whether a part is a source."""
    return part in (INPUT1, INPUT2) or part.startswith(_INPUT)


def columns(parts: set[str], titles: tuple[str, str]) -> dict[str, str]:
    """Part -> heading for the given parts, in the order of a contact sheet: sources, components, fused.

    Args:
        parts: names of the existing parts.
        titles: headings of the first two sources.
    """
    named = {**_TITLES, INPUT1: titles[0], INPUT2: titles[1]}
    more = {part: f"{_INPUT} {part.removeprefix(_INPUT)}" for part in input_parts(SHOWN_INPUTS)[2:]}
    ordered = [INPUT1, INPUT2, *more, *(part for part in named if not is_input(part))]
    return {part: {**named, **more}[part] for part in ordered if part in parts}
