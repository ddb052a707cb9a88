"""One line to a host: fetches segment after segment, in a thread of its own."""

import threading
import time
from typing import Protocol

from services.downloads.digest import Digest
from services.downloads.pace import Limit
from services.downloads.part import Part
from services.downloads.segments import Segment, Segments
from services.errors import DownloadFailed
from services.http_stream import Client, HttpStream

PIECE_BYTES = 1024 * 1024
_SMALL_BYTES = 64 * 1024


class Employer(Protocol):
    """What a line asks and tells whoever employs it."""

    part: Part
    segments: Segments
    digest: Digest
    limit: Limit
    is_over: threading.Event

    def ask(self, client: Client, segment: Segment) -> HttpStream:
        """An answer whose body is the bytes of `segment` from its position on, or more."""
        ...

    def next_segment(self, line: "Line") -> Segment | None: ...

    def ended(self, line: "Line", failure: Exception | None) -> None: ...


class Line:
    def __init__(self, employer: Employer, client: Client, segment: Segment) -> None:
        self._employer = employer
        self._client = client
        self._segment: Segment | None = segment
        self._buffer = memoryview(b"")
        self._writing = threading.Lock()
        self.began_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="line", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def abort(self) -> None:
        self._client.abort()

    def join(self, seconds: float) -> bool:
        """Whether it has ended; one that resolves a name or connects cannot be hurried, and writes nothing any more."""
        self._thread.join(seconds)
        # What is being written ends before the file may be closed.
        with self._writing:
            return not self._thread.is_alive()

    def _run(self) -> None:
        failure: Exception | None = None
        try:
            with self._client:
                while self._segment is not None:
                    try:
                        self._fetch(self._segment)
                    finally:
                        self._employer.segments.release(self._segment)
                    self._segment = self._employer.next_segment(self)
        except Exception as error:  # noqa: BLE001 - a thread has nobody to raise to: the employer decides what it means
            failure = error
        self._employer.ended(self, failure)

    def _fetch(self, segment: Segment) -> None:
        employer = self._employer
        stream = employer.ask(self._client, segment)
        buffer = self._buffer_for(segment)
        while segment.left and not employer.is_over.is_set():
            count = stream.read_into(buffer[: employer.limit.piece(min(len(buffer), segment.left))])
            if not count:
                break
            count = employer.segments.accept(segment, count)
            if not self._write(buffer[:count], segment.position):
                return
            # In this order: the digest reads whatever lies before the frontier by itself.
            self._buffer = buffer = employer.digest.take(buffer, count, segment.position)
            employer.segments.advance(segment)
            employer.limit.take(count)
        if employer.is_over.is_set():
            return
        if segment.left:
            self._end_early(stream, segment)
        elif stream.length is None and stream.read_into(buffer[:1]):
            raise DownloadFailed(f"the host sent more than the {segment.end} bytes it announced", permanent=True)

    def _write(self, data: memoryview, position: int) -> bool:
        """Whether it was still wanted: once it is over, the descriptor may be another file's."""
        with self._writing:
            if self._employer.is_over.is_set():
                return False
            self._employer.part.write(data, position)
            return True

    def _buffer_for(self, segment: Segment) -> memoryview:
        """A small file needs no large one."""
        size = min(PIECE_BYTES, max(segment.left, _SMALL_BYTES))
        if len(self._buffer) < size:
            self._buffer = memoryview(bytearray(size))
        return self._buffer

    def _end_early(self, stream: HttpStream, segment: Segment) -> None:
        """A host may send less than it was asked for, if it says so; the rest is asked for again."""
        if stream.is_read and stream.status == 206 and stream.length:
            return
        if stream.length is None and self._employer.segments.total is None:
            self._employer.segments.settle(segment.position, is_told=False)
            return
        raise DownloadFailed(
            f"the line broke after {segment.position} of {self._employer.segments.total} bytes", permanent=False
        )
