"""What can be wrong with the answers for one path.

Each field is an option of the command line as well, explained by its help.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

# What is sent at once is a multiple of this, or less; a body over which a test stops somewhere is made of many.
PIECE_BYTES = 16 * 1024
ALWAYS = 10**9

# A redirect's target, or what makes a new one for each request.
Target = str | Callable[[], str]


def _fault(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Behaviour:
    """How one path answers. Counts are of requests for this path, over all connections."""

    # How fast
    throttle: float | None = _fault(None, "bytes per second of each connection, counted for every byte of a body")
    first_byte_seconds: float = _fault(0.0, "wait so long before each answer")
    max_connections: int | None = _fault(
        None, "answer 429 to a client that already has so many requests for the file going on"
    )

    # Bodies that do not come whole
    break_after: int | None = _fault(None, "close the connection after so many bytes of a body")
    breaks: int = _fault(ALWAYS, "how many bodies break off, from the first on")
    break_every: int = _fault(1, "only every n-th body breaks off")
    stall_after: int | None = _fault(None, "send nothing for a while after so many bytes of a body")
    stall_seconds: float = _fault(60.0, "how long a stall lasts")
    stalls: int = _fault(ALWAYS, "how many bodies stall, from the first on")
    stall_every: int = _fault(1, "only every n-th body stalls")
    keep_alive: bool = _fault(True, "leave connections open; without it they are closed after an answer, unannounced")

    # Refusals
    status: int | None = _fault(None, "answer this status instead of the file")
    status_times: int = _fault(ALWAYS, "how often the status is answered before the file always is")
    status_every: int = _fault(1, "only every n-th request gets the status")
    head_status: int | None = _fault(None, "answer this status to HEAD, which some hosts do not know")
    retry_after: float | None = _fault(None, "seconds for the Retry-After header of a refusal")
    retry_after_date: bool = _fault(False, "say the time of Retry-After as a date")
    body: bytes = _fault(b"", "what stands in an answer that is not the file")
    headers: dict[str, str] = field(default_factory=dict)

    # Other places
    redirect: Target | None = _fault(None, "answer with a redirect to this address; its own path makes a loop")
    redirect_status: int = _fault(302, "the status of redirects")
    endless_redirects: bool = _fault(False, "redirect to an address never seen before, on and on")
    login: bool = _fault(False, "redirect to a page that asks for a login")
    page: bool = _fault(False, "answer an HTML page with status 200 instead of the file")
    needs_signature: bool = _fault(False, "answer 403 to addresses that were not signed, or are no longer valid")

    # Ranges, and what the headers say
    ranges: bool = _fault(True, "know ranges; without it every answer is the whole file with status 200")
    whole_every: int | None = _fault(None, "every n-th request for a range gets the whole file with status 200")
    wrong_range: Literal["start", "end", "total"] | None = _fault(None, "what the Content-Range header lies about")
    length: bool = _fault(True, "say the length; without it a body ends with the connection")
    length_off: int = _fault(0, "say a Content-Length so many bytes too large, or too small when negative")
    chunked: bool = _fault(False, "send bodies in chunks, without a length")
    gzip: bool = _fault(False, "send bodies coded with gzip, which nobody asked for")
    etag: str | None = _fault(None, "the ETag, with its quotes; empty for none; otherwise it follows the content")
    content_type: str = _fault("application/octet-stream", "the type that a file is said to have")

    # The content
    change_after: int | None = _fault(None, "after so many answers, serve other bytes of the same length")
    corrupt_at: int | None = _fault(None, "send a few wrong bytes at this place of the file")
    corruptions: int = _fault(ALWAYS, "how many of the bodies with that place have wrong bytes, from the first on")

    def is_due(self, which: Literal["break", "stall", "status"], number: int) -> bool:
        """Whether request `number` (from 0) is one of those that the fault is for."""
        times = {"break": self.breaks, "stall": self.stalls, "status": self.status_times}[which]
        every = {"break": self.break_every, "stall": self.stall_every, "status": self.status_every}[which]
        return (number + 1) % every == 0 and number // every < times
