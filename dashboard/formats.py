"""Numbers and names as the pages show them; ``scripts/formats.js`` gives the same texts."""

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime

from services import sizes

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_NAME_WIDTH = 36
_PARAMETERS = ((1e9, "B"), (1e6, "M"), (1e3, "K"))


def bytes_text(size_bytes: float | None) -> str:
    """A size in decimal units: ``"6.9 GB"``, ``"254 MB"``, ``"unknown size"`` for None."""
    return "unknown size" if size_bytes is None else sizes.bytes_text(size_bytes)


def speed_text(bytes_per_second: float | None) -> str:
    """A transfer rate: ``"125 MB/s"``; empty when not known."""
    return "" if bytes_per_second is None else f"{bytes_text(bytes_per_second)}/s"


def duration_text(seconds: float | None) -> str:
    """The two largest units of a time span: ``"45s"``, ``"2m 30s"``, ``"3h 5m"``, ``"2d 4h"``; empty for None."""
    if seconds is None:
        return ""
    whole = math.floor(max(seconds, 0) + 0.5)
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR}h"


def ago_text(timestamp: float | None, now: float | None = None) -> str:
    """How long ago a Unix time was: ``"just now"``, ``"5m ago"``, ``"3d ago"``; a date after 30 days."""
    if timestamp is None:
        return "unknown"
    passed = (time.time() if now is None else now) - timestamp
    if passed < _MINUTE:
        return "just now"
    if passed < _HOUR:
        return f"{math.floor(passed / _MINUTE)}m ago"
    if passed < _DAY:
        return f"{math.floor(passed / _HOUR)}h ago"
    if passed < 30 * _DAY:
        return f"{math.floor(passed / _DAY)}d ago"
    moment = datetime.fromtimestamp(timestamp, UTC)
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}"


def parameters_text(number: int) -> str:
    """A model's parameters as its makers say it: ``"14B"``, ``"2.6B"``, ``"860M"``, ``"3K"``."""
    scale, letter = next((scale for scale in _PARAMETERS if number >= 0.9995 * scale[0]), (1.0, ""))
    value = number / scale
    return f"{sizes.half_up(value, 10 if letter == 'B' and value < 9.95 else 1):g}{letter}"


def percent_text(percent: float | None) -> str:
    """Percent without decimals, rounded down so that only what is complete reads ``"100%"``; empty for None."""
    return "" if percent is None else f"{math.floor(percent)}%"


def short_name(name: str, width: int = _NAME_WIDTH) -> str:
    """A model file's name for a list: no ``.safetensors``, the middle cut out when longer than ``width``."""
    stem = name.removesuffix(".safetensors")
    if len(stem) <= width:
        return stem
    tail = (width - 1) // 2
    return f"{stem[: width - 1 - tail]}…{stem[-tail:]}"


FILTERS: dict[str, Callable[..., str]] = {
    "bytes": bytes_text,
    "speed": speed_text,
    "duration": duration_text,
    "ago": ago_text,
    "parameters": parameters_text,
    "percent": percent_text,
    "short_name": short_name,
}
