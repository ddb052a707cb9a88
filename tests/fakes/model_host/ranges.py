"""The Range header (RFC 9110, 14), as far as it asks for one part; several at once get the whole file."""

import re

_ONE = re.compile(r"bytes=(\d*)-(\d*)")


class OutOfRange(Exception):
    """Nothing of what was asked for exists."""


def part(header: str, size: int) -> range | None:
    """The bytes that `header` asks for; None when it asks for none that can be understood. Raises OutOfRange."""
    match = _ONE.fullmatch(header.strip().replace(" ", ""))
    if not match or match.group(1, 2) == ("", ""):
        return None
    first, last = match.groups()
    if first and last and int(first) > int(last):
        return None
    if not first:
        start, stop = max(size - int(last), 0), size
    else:
        start, stop = int(first), min(int(last) + 1 if last else size, size)
    if start >= stop:
        raise OutOfRange
    return range(start, stop)


def is_still_the_same(condition: str | None, etag: str, modified: str) -> bool:
    """What If-Range asks. A weak tag is never the same (RFC 9110, 13.1.5)."""
    return condition is None or condition == modified or (condition == etag and not etag.startswith("W/"))


def described(wanted: range, size: int, lie: str | None) -> str:
    """The Content-Range header for `wanted`, with what `lie` names off by one."""
    start = wanted.start + (lie == "start")
    last = wanted.stop - 1 - (lie == "end")
    return f"bytes {start}-{last}/{size + (lie == 'total')}"
