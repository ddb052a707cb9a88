"""Numbers as a browser has them: all are floating point, and whole ones are written without a point."""

import math
from typing import Any

_EXACT = 2**53
_PLAIN_BELOW = 1e21


def sent(value: Any) -> Any:
    """`value` with the numbers in it as the editor sends them: above 2^53 rounded, `1.0` as 1, what is none as null."""
    if isinstance(value, list):
        return [sent(inner) for inner in value]
    if isinstance(value, dict):
        return {key: sent(inner) for key, inner in value.items()}
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if isinstance(value, int) and abs(value) <= _EXACT:
        return value
    try:
        number = float(value)
    except OverflowError:
        return None
    if not math.isfinite(number):
        return None
    if number.is_integer() and abs(number) < _PLAIN_BELOW:
        return _shortest(number)
    return number


def _shortest(number: float) -> int:
    """With zeros behind the digits that tell it from its neighbours."""
    digits, _, exponent = repr(number).partition("e")
    whole, _, rest = digits.partition(".")
    return int(whole + rest) * 10 ** (int(exponent) - len(rest)) if exponent else int(whole)


def written(value: Any) -> str:
    """A plain value as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(sent(value)) if isinstance(value, int | float) else str(value)


def rounded(value: Any, step: float, offset: float = 0) -> float:
    """To the nearest multiple of `step`, halves up. NaN for what is no number."""
    number = as_number(value)
    if not math.isfinite(number) or step == 0:
        return number
    return math.floor((number - offset) / step + 0.5) * step + offset


def as_number(value: Any) -> float:
    if value is None:
        return 0
    if isinstance(value, str):
        try:
            return float(value) if value.strip() else 0
        except ValueError:
            return math.nan
    try:
        return float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        return math.inf
