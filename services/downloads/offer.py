"""What a host's answer means for a download: which bytes it brings, or why none."""

import email.utils
import http.client
import time
from dataclasses import dataclass
from typing import Literal

from services.errors import DownloadFailed
from services.http_stream import HttpStream
from services.sources import Sources

# As many as JSON can tell apart.
MOST_BYTES = 2**53
# A host may ask for more, but no worker waits longer.
RETRY_AFTER_MAX_SECONDS = 300

EXPLANATION_BYTES = 4096


@dataclass(frozen=True)
class Offer:
    """`kind`: "part": the bytes from `start` on; "whole": the file from its first byte; "other": the file on the host
    is another one than it was, or the host cannot count. `total`: the file's length, where it is told."""

    kind: Literal["part", "whole", "other"]
    start: int
    total: int | None
    etag: str | None
    takes_ranges: bool


def read_offer(stream: HttpStream, sources: Sources) -> Offer:
    """Raises DownloadFailed when no bytes of the file come."""
    if stream.length is not None and stream.length > MOST_BYTES:
        raise DownloadFailed("the host announces more bytes than any file has", permanent=True)
    if stream.status not in {200, 206, 416}:
        failure = sources.refusal(stream.status, stream.url, stream.headers, _start_of(stream))
        if wait := _retry_after(stream.headers.get("retry-after", "")):
            failure.details["retry_after_seconds"] = min(wait, RETRY_AFTER_MAX_SECONDS)
        raise failure
    etag = _strong(stream.headers.get("etag"))
    takes_ranges = stream.status == 206 or stream.headers.get("accept-ranges", "").strip().lower() == "bytes"
    if stream.status == 200:
        _check_content(stream, sources)
        return Offer("whole", 0, stream.length, etag, takes_ranges)
    start, total = _content_range(stream.headers.get("content-range", ""))
    if stream.status == 416 or start is None:
        return Offer("other", 0, total, etag, takes_ranges)
    _check_content(stream, sources)
    return Offer("part", start, total, etag, takes_ranges)


def _start_of(stream: HttpStream) -> bytes:
    """What a host says when it refuses."""
    buffer = memoryview(bytearray(EXPLANATION_BYTES))
    try:
        return bytes(buffer[: stream.read_into(buffer)])
    except (OSError, http.client.HTTPException):
        # The refusal counts, not its explanation.
        return b""


def _check_content(stream: HttpStream, sources: Sources) -> None:
    if (page := sources.not_the_file(stream.url, stream.headers.get("content-type", ""))) is not None:
        raise page
    if (coding := stream.headers.get("content-encoding", "identity").strip().lower()) != "identity":
        raise DownloadFailed(f"the host sent the file packed ({coding[:40]!r}), which nobody asked for", permanent=True)


def _strong(etag: str | None) -> str | None:
    """`etag`, if the bytes behind it are always the same (RFC 9110, 8.8.1)."""
    return etag if etag and not etag.startswith("W/") else None


def _content_range(header: str) -> tuple[int | None, int | None]:
    """(first byte, total) of `bytes 5-9/10` (RFC 9110, 14.4); None for what it does not say."""
    unit, _, rest = header.partition(" ")
    span, _, total = rest.partition("/")
    if unit.lower() != "bytes":
        return None, None
    return _number(span.partition("-")[0]), _number(total)


def _retry_after(header: str) -> float | None:
    """Seconds (RFC 9110, 10.2.3); None when it makes no sense."""
    if (seconds := _number(header)) is not None:
        return seconds
    try:
        return max(email.utils.parsedate_to_datetime(header).timestamp() - time.time(), 0)
    except (ValueError, OverflowError):
        return None


def _number(text: str) -> int | None:
    """The whole number a header holds; None for anything else, and for more digits than any size has."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None
