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


def shown_radius(radius: float) -> str:
    """A radius that was asked for, three significant digits, never more than it is but for numerical dust."""
    return rounded_down(float(f"{radius:.12g}"))


def floored(value: float, decimals: int) -> str:
    """A number with so many decimals, never more than it is but for numerical dust."""
    return f"{math.floor(round(value * 10**decimals, 9)) / 10**decimals:.{decimals}f}"


def ceiled(value: float, decimals: int) -> str:
    """A number with so many decimals, never less than it is but for numerical dust."""
    return f"{math.ceil(round(value * 10**decimals, 9)) / 10**decimals:.{decimals}f}"


def certified_share(share: float, low: float | None, high: float | None) -> str:
    """A share of what is certified as `0.52 [0.38, 0.66]`: rounded down, its interval (None for none) outward."""
    return floored(share, 2) + ("" if low is None else f" [{floored(low, 2)}, {ceiled(high, 2)}]")


def certified_percent(rate: float | None) -> str:
    """A certified error rate as a number of percent with one digit, rounded up; "-" for none."""
    return "-" if rate is None else ceiled(100 * rate, 1)


def certified_percent_with_interval(rate: float, low: float | None, high: float | None) -> str:
    """A certified error rate and its interval as `52.0 [38.5, 65.2]`: rounded up, the interval outward."""
    least = "-" if low is None else floored(100 * low, 1)
    return f"{certified_percent(rate)} [{least}, {certified_percent(high)}]"


def two_decimals(value: float | None) -> str:
    """A number for a table; "-" for None."""
    return "-" if value is None else f"{value:.2f}"


def percent(share: float | None) -> str:
    """A share as a number of percent with one digit; "-" for none."""
    return "-" if share is None else f"{100 * share:.1f}"


def with_interval(value: float, low: float, high: float, decimals: int) -> str:
    """A number and its interval as `34.0 [21.3, 46.7]`; without one where it is NaN."""
    shown = f"{value:.{decimals}f}"
    return shown if math.isnan(low) else f"{shown} [{low:.{decimals}f}, {high:.{decimals}f}]"


def percent_with_interval(share: float | None, low: float | None, high: float | None) -> str:
    """A share and its interval as `52.0 [38.5, 65.2]`; "-" for none."""
    return "-" if share is None else f"{percent(share)} [{percent(low)}, {percent(high)}]"
