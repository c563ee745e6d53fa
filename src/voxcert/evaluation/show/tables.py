"""Tables in Markdown that also read well in a terminal, and how their cells are written."""

import math
from collections.abc import Sequence


def render_table(lines: Sequence[Sequence[str]]) -> str:
    """Renders a heading and rows of cells as a Markdown table with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines = [lines[0], ["-" * width for width in widths], *lines[1:]]
    rendered = (" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(f"| {line} |" for line in rendered)


def rounded_down(value: float, digits: int = 3) -> str:
    """A number of at least 0 with so many significant digits, never more than it is: what is proved of a radius."""
    if not 0 < value < math.inf:
        return f"{value:g}"
    text = f"{value:.{digits}g}"
    if float(text) <= value:
        return text
    step = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
    text = f"{(math.floor(value / step)) * step:.{digits}g}"
    return text if float(text) <= value else f"{(math.floor(value / step) - 1) * step:.{digits}g}"


def two_decimals(value: float | None) -> str:
    """A number for a table; "-" for None."""
    return "-" if value is None else f"{value:.2f}"


def percent(share: float | None) -> str:
    """A share as a number of percent with one digit; "-" for none."""
    return "-" if share is None else f"{100 * share:.1f}"


def percent_with_interval(share: float | None, low: float | None, high: float | None) -> str:
    """A share and its interval as `52.0 [38.5, 65.2]`; "-" for none."""
    return "-" if share is None else f"{percent(share)} [{percent(low)}, {percent(high)}]"
