"""Sizes in sentences, as the pages show them."""

import math

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def bytes_text(size_bytes: float) -> str:
    """In decimal units: `6.9 GB`, `254 MB`."""
    value, unit = float(size_bytes), 0
    while _rounded(value, unit) >= 1000 and unit < len(_UNITS) - 1:
        value /= 1000
        unit += 1
    return f"{_rounded(value, unit):.{_decimals(value, unit)}f} {_UNITS[unit]}"


def half_up(value: float, scale: int) -> float:
    """`value` rounded to a part of `scale`, as in the browser: round() would take the even neighbour and the two texts
    would differ."""
    return math.floor(value * scale + 0.5) / scale


def _decimals(value: float, unit: int) -> int:
    # Gigabytes need a decimal until 100; a decimal of a two-digit megabyte figure is noise.
    limit = 100 if unit >= 3 else 10
    return 1 if unit >= 2 and half_up(value, 10) < limit else 0


def _rounded(value: float, unit: int) -> float:
    return half_up(value, 10 if _decimals(value, unit) else 1)
