"""Tables as text."""

from collections.abc import Sequence


def columns(rows: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    """Rows as aligned text columns, separated by two blanks.

    Args:
        rows: cells, equally many in each row.
        left: indices of the columns that are aligned to the left.
    """
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join("  ".join(text.ljust(width) if place in left else text.rjust(width)
                               for place, (text, width) in enumerate(zip(row, widths))).rstrip() for row in rows)
