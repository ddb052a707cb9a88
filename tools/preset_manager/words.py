"""Sizes and times as people read them in a terminal."""

from rich.filesize import decimal

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def size(size_bytes: int | None) -> str:
    """`6.9 GB`; a dash for what is not known."""
    return "-" if size_bytes is None else decimal(size_bytes)


def speed(bytes_per_second: float) -> str:
    return f"{decimal(int(bytes_per_second))}/s" if bytes_per_second else ""


def duration(seconds: float | None) -> str:
    """The two largest units: `2m 30s`, `3h 5m`; empty for None."""
    if seconds is None:
        return ""
    whole = round(max(seconds, 0))
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR}h"


def count(number: int, one: str, many: str = "") -> str:
    """`1 file`, `3 files`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def progress(state: str, percent: float | None) -> str:
    """`downloading 41%`."""
    return state if percent is None else f"{state} {int(percent)}%"
