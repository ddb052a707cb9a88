"""Brings the missing bytes of a part in from one address, over as many lines as make it faster."""

import errno
import http.client
import queue
import random
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from services import log
from services.downloads.concurrency import FEW_LINES, MOST_LINES, Concurrency
from services.downloads.digest import Digest
from services.downloads.line import Line
from services.downloads.offer import Offer, read_offer
from services.downloads.pace import Limit
from services.downloads.part import Part
from services.downloads.segments import Segment, Segments
from services.errors import DownloadFailed
from services.http_stream import Client, HttpStream
from services.log import redact
from services.proxies import Proxies
from services.sources import Sources

TICK_SECONDS = 0.05
# How long the lines are given to end when the transfer does.
END_SECONDS = 0.5
# In a row without a single new byte; then the reconciler tries again later.
MAX_ATTEMPTS = 6
BACKOFF_SECONDS = 1.0
BACKOFF_MAX_SECONDS = 30.0

# What hosts answer once a signed link has expired.
_EXPIRED = frozenset({401, 403, 404, 410})
_TOO_MUCH = frozenset({429, 503})
# What pwrite(2) says; no other line can help then.
_OF_THE_VOLUME = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EFBIG})
_log = log.get("downloads")


class HostFileChanged(Exception):
    """The file on the host is another one than the bytes that are here came from, or it cannot be resumed."""


class Patience:
    """How often in a row nothing new came. Shared by every try to bring one file in, also from the start."""

    def __init__(self) -> None:
        self.attempts = 0
        self._furthest = 0

    def failed(self, bytes_done: int) -> float:
        """Seconds to wait: full jitter, longer each time."""
        self.attempts = 1 if bytes_done > self._furthest else self.attempts + 1
        self._furthest = max(self._furthest, bytes_done)
        return random.uniform(0, min(BACKOFF_MAX_SECONDS, BACKOFF_SECONDS * 2**self.attempts))  # noqa: S311

    @property
    def is_over(self) -> bool:
        return self.attempts >= MAX_ATTEMPTS


class Transfer:
    """`etag`: the strong validator of the bytes that are here; `expected_bytes`, `expected_sha256`: what
    the preset says of it.

    `sha256`: will tell whether bytes of different answers belong together; a hub may name it on the way.
    """

    def __init__(
        self,
        url: str,
        part: Part,
        segments: Segments,
        digest: Digest,
        *,
        sources: Sources,
        proxies: Proxies,
        limit: Limit,
        patience: Patience,
        etag: str | None,
        expected_bytes: int | None,
        expected_sha256: str | None,
        sha256: str | None,
        artifact_id: str,
    ) -> None:
        self.part = part
        self.segments = segments
        self.digest = digest
        self.limit = limit
        self.is_over = threading.Event()
        self.etag = etag
        self.sha256 = sha256
        self._problem: str | None = None
        self._log = _log.bind(artifact_id=artifact_id, host=urlsplit(url).hostname)
        self._url = url
        self._sources = sources
        self._proxies = proxies
        self._patience = patience
        self._expected_bytes = expected_bytes
        self._expected_sha256 = expected_sha256
        self._address = url
        self._lock = threading.Lock()
        self._renewing = threading.Lock()
        self._lines: list[Line] = []
        self._ends: queue.SimpleQueue[tuple[Line, Exception | None]] = queue.SimpleQueue()
        self._concurrency = Concurrency()
        self._admitted = False
        self._takes_ranges = True
        self._most_lines = MOST_LINES
        self._was_refused = False
        self._not_before = 0.0
        self._failed_at = 0.0

    @property
    def connections(self) -> int:
        return len(self._lines)

    @property
    def waits_because(self) -> str | None:
        """Why nothing is asked for at the moment."""
        return self._problem if not self._lines and time.monotonic() < self._not_before else None

    def run(self, tick: Callable[[], None]) -> None:
        """Until every byte is here. `tick` is called a few times a second, and may raise to end it.

        Raises HostFileChanged, DownloadFailed, NotEnoughSpace, OSError.
        """
        try:
            while not self.segments.is_complete:
                self._employ(time.monotonic())
                tick()
                self._hear()
        finally:
            self._end()

    def ask(self, client: Client, segment: Segment) -> HttpStream:
        first, last = segment.position, segment.end - 1
        headers = {}
        if first or self._may_be_cut:
            headers["Range"] = f"bytes={first}-" if self.segments.total is None else f"bytes={first}-{last}"
            if self.etag:
                headers["If-Range"] = self.etag
        address = self._address
        stream = client.get(address, headers)
        if stream.status in _EXPIRED and address != self._url:
            stream = self._ask_anew(client, address, headers)
        offer = read_offer(stream, self._sources)
        with self._lock:
            self._take_promise(stream.promise.sha256)
            self._admit(offer, segment, first, is_ignored=offer.kind == "whole" and "Range" in headers)
        self._address = stream.url
        return stream

    def _take_promise(self, sha256: str | None) -> None:
        """What a hub says that the file is. Raises DownloadFailed, HostFileChanged when that is not what is wanted."""
        if sha256 is None or sha256 == self.sha256:
            return
        if self._expected_sha256 is not None:
            message = f"the host's file has the sha256 {sha256}, the preset says {self._expected_sha256}"
            raise DownloadFailed(message, permanent=True)
        if self.sha256 is not None:
            raise self._cannot_resume()
        self.sha256 = sha256

    def _ask_anew(self, client: Client, expired: str, headers: Mapping[str, str]) -> HttpStream:
        """One line fetches a new link, and the others, whose link expired with it, wait for that one."""
        with self._renewing:
            address = self._address
            if address == expired:
                stream = client.get(self._url, headers)
                if stream.status in {200, 206}:
                    self._address = stream.url
                return stream
        stream = client.get(address, headers)
        # Some links are good for one request.
        return client.get(self._url, headers) if stream.status in _EXPIRED else stream

    def next_segment(self, line: Line) -> Segment | None:
        wanted = self._wanted
        if self.is_over.is_set() or line not in self._lines[:wanted]:
            return None
        return self.segments.claim(wanted)

    def ended(self, line: Line, failure: Exception | None) -> None:
        self._ends.put((line, failure))

    @property
    def _wanted(self) -> int:
        if not self._admitted:
            return 1
        most = self._most_lines if self.limit.bytes_per_second is None else min(self._most_lines, FEW_LINES)
        return min(self._concurrency.wanted, most)

    @property
    def _may_be_cut(self) -> bool:
        """Whether bytes of different answers can be put together: without a strong validator only a digest can tell."""
        return self.etag is not None or self.sha256 is not None

    def _admit(self, offer: Offer, segment: Segment, first: int, *, is_ignored: bool) -> None:
        """Raises HostFileChanged, DownloadFailed when the bytes that are coming are not those that are missing.

        `is_ignored`: a part was asked for, and the whole comes.
        """
        total, done = self.segments.total, self.segments.bytes_done
        if not done and offer.kind != "other":
            self._check_total(offer.total)
        is_other = offer.kind == "other" or offer.start != first or (total and offer.total not in {None, total})
        # Bytes that are here would come once more, and be counted twice.
        is_other = is_other or (offer.kind == "whole" and done > 0)
        vouched = offer.etag == self.etag if offer.etag and self.etag else self.sha256 is not None
        if is_other or ((done or first) and not vouched):
            raise self._cannot_resume()
        if not done:
            self.etag = offer.etag
        known = self._expected_bytes if offer.total is None else offer.total
        if total is None and known is not None:
            self.segments.settle(known, is_told=True)
        self._takes_ranges = not is_ignored
        if offer.kind == "whole":
            self.segments.extend(segment)
        if not (self._takes_ranges and offer.takes_ranges and self._may_be_cut) or self.segments.total is None:
            self._most_lines = 1
        self._admitted = True

    def _cannot_resume(self) -> HostFileChanged:
        why = "the host's file changed, or it cannot be resumed"
        return HostFileChanged(f"{self._problem}; then {why}" if self._problem else why)

    def _check_total(self, total: int | None) -> None:
        if total is not None and self._expected_bytes not in {None, total}:
            raise DownloadFailed(
                f"the host offers {total} bytes, the preset says {self._expected_bytes}", permanent=True
            )

    def _employ(self, now: float) -> None:
        if self._admitted:
            self._concurrency.look(now, self.segments.bytes_done)
        if now < self._not_before:
            return
        # The first line takes no more than it would if there were many: there may soon be.
        share = self._wanted if self._admitted else MOST_LINES
        while len(self._lines) < self._wanted and (segment := self.segments.claim(share)):
            line = Line(self, Client(self._sources, self._proxies), segment)
            self._lines.append(line)
            line.start()

    def _hear(self) -> None:
        """Waits a moment for lines that ended. Raises what ended one, if the transfer cannot go on."""
        try:
            line, failure = self._ends.get(timeout=TICK_SECONDS)
        except queue.Empty:
            return
        self._lines.remove(line)
        if failure is not None:
            self._take(failure, line.began_at, time.monotonic())

    def _take(self, failure: Exception, began_at: float, now: float) -> None:
        """`began_at`: when the line was employed that ended with `failure`."""
        failure = _of_the_network(failure)
        if not isinstance(failure, DownloadFailed):
            raise failure
        done = self.segments.bytes_done
        if failure.permanent:
            # Some hosts refuse the second line as if there were no such file, and count one that has just ended.
            is_crowded = failure.details.get("status") in _EXPIRED
            if not self._lines and not (is_crowded and self._was_refused):
                raise failure
            self._most_lines, self._was_refused = 1, True
            if self._lines:
                return
        wait = failure.details.get("retry_after_seconds", 0)
        if began_at <= self._failed_at:
            # Lines fail together: that is one failure.
            self._not_before = max(self._not_before, now + wait)
            return
        self._failed_at = now
        if failure.details.get("status") in _TOO_MUCH:
            self._concurrency.refused(now, done)
        seconds = max(self._patience.failed(done), float(wait))
        self._not_before, self._problem = now + seconds, failure.message
        self._log.warning(
            "download_retry", reason=failure.message, attempt=self._patience.attempts, wait_seconds=round(seconds, 1)
        )
        if self._patience.is_over and not self._lines:
            raise failure
        if done and not (self._takes_ranges and self._may_be_cut):
            raise HostFileChanged(failure.message)

    def _end(self) -> None:
        self.is_over.set()
        until = time.monotonic() + END_SECONDS
        for line in self._lines:
            line.abort()
        for line in self._lines:
            line.join(max(until - time.monotonic(), 0))


def _of_the_network(failure: Exception) -> Exception:
    """What went wrong between us and the host, as a failure of the download; everything else as it is."""
    if isinstance(failure, ssl.SSLCertVerificationError):
        return DownloadFailed(f"the host's certificate is not valid: {failure.verify_message}", permanent=True)
    if isinstance(failure, OSError) and not isinstance(failure, ssl.SSLError) and failure.errno in _OF_THE_VOLUME:
        return failure
    if isinstance(failure, http.client.HTTPException | OSError):
        return DownloadFailed(_plain(str(failure)) or type(failure).__name__, permanent=False)
    return failure


def _plain(text: str) -> str:
    """Some of it is the host's own."""
    return redact("".join(character if character.isprintable() else "?" for character in text))[:200]
