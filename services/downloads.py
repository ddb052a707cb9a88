"""One file from its host to its place: streamed to `.part`, resumed, verified, and only then under its name."""

import hashlib
import http.client
import os
import random
import stat
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services import journal, log, plain_tree
from services.artifacts import Artifact
from services.errors import DownloadFailed, DownloadStopped, InvalidName, NotEnoughSpace
from services.http_stream import HttpStream, open_stream
from services.journal import Journal
from services.progress import FileProgress, FileState
from services.sources import Sources
from services.verified import Verified
from services.workspace import Workspace, is_out_of_space, sync_folder

PIECE_BYTES = 1024 * 1024
# How much is fetched again at most after a crash.
CHECKPOINT_BYTES = 16 * 1024 * 1024
CHECKPOINT_SECONDS = 2.0
REPORT_SECONDS = 0.25
# In a row without a single new byte; then the reconciler tries again later.
MAX_ATTEMPTS = 6
BACKOFF_SECONDS = 1.0
BACKOFF_MAX_SECONDS = 30.0
# A host may ask for more, but no worker waits longer.
RETRY_AFTER_MAX_SECONDS = 300
# The weight of the newest quarter second in the speed that is shown.
SMOOTHING = 0.15

# A longer header is no model (safetensors' own limit).
_SAFETENSORS_HEADER_MAX_BYTES = 100_000_000
_NOT_MODELS = ("text/html", "application/json", "application/xml", "text/xml")

_log = log.get("downloads")


@dataclass(frozen=True)
class Fetcher:
    """What every download of this process shares.

    `report` is called at most four times a second and at every change of state; `stop_reason` as often, and a text
    from it ends the download with its partial data kept.
    """

    workspace: Workspace
    sources: Sources
    reserve_bytes: int
    report: Callable[[FileProgress], None]
    stop_reason: Callable[[str], str | None]

    def fetch(self, artifact: Artifact) -> Verified:
        """Brings `artifact` in. A file that lies there already is verified instead of fetched, also one that lies in
        a plain ComfyUI's tree, if it is the right one.

        Raises DownloadFailed, DownloadStopped, NotEnoughSpace.
        """
        try:
            return _Download(self, artifact).run()
        except InvalidName as error:
            # A folder that became a link leading out of the models since the preset was read.
            raise DownloadFailed(error.message, permanent=True) from error
        except OSError as error:
            raise _as_failure(error, artifact) from error


class _Download:
    """One run, resumed or not. `_digest` is always that of the first `_done` bytes, and `_etag` the strong validator
    under which the host sent them."""

    def __init__(self, fetcher: Fetcher, artifact: Artifact) -> None:
        self._fetcher = fetcher
        self._artifact = artifact
        self._target = fetcher.workspace.model_file(artifact.folder, artifact.name)
        self._digest = hashlib.sha256()
        self._done = 0
        self._etag: str | None = None
        self._total = artifact.size_bytes
        self._rate = 0.0
        self._reported_at = 0.0
        self._reported_done = 0

    def run(self) -> Verified:
        self._target.parent.mkdir(parents=True, exist_ok=True)
        if self._target.exists():
            return self._adopt()
        in_place = plain_tree.find(self._fetcher.workspace, self._artifact.folder, self._artifact.name)
        if in_place and self._is_wanted(in_place):
            return self._verified(in_place.stat(), self._artifact.size_bytes)
        self._digest, self._done, self._total = hashlib.sha256(), 0, self._artifact.size_bytes
        with journal.held_part(self._target) as part:
            # Whoever held it until now may have finished it.
            if not self._target.exists():
                return self._bring_in(part)
        return self._adopt()

    def _bring_in(self, part: int) -> Verified:
        is_whole = self._take_up(part)
        attempt, furthest = 0, self._done
        while True:
            try:
                if not is_whole:
                    self._transfer(part)
                    is_whole = True
                return self._publish(part)
            except (OSError, http.client.HTTPException, DownloadFailed) as error:
                failure = _as_failure(error, self._artifact)
                attempt, furthest = (1, self._done) if self._done > furthest else (attempt + 1, furthest)
                if not isinstance(failure, DownloadFailed) or failure.permanent or attempt >= MAX_ATTEMPTS:
                    raise failure from error
                self._wait(attempt, failure)

    def _take_up(self, part: int) -> bool:
        """Goes on from what an earlier run left, as far as it can be used; whether that is the whole file."""
        kept = journal.load(self._target, self._artifact.url)
        self._check_space(kept.bytes_done if kept else 0)
        if kept is None:
            return False
        is_whole = kept.bytes_done == kept.bytes_total and self._artifact.size_bytes in {None, kept.bytes_total}
        if is_whole or self._can_resume(kept.etag):
            self._hash(part, kept.bytes_done)
            self._etag = kept.etag
            self._total = kept.bytes_total or self._total
        return is_whole

    def _can_resume(self, etag: str | None) -> bool:
        """Without a strong validator only the digest at the end can tell whether two halves belong together."""
        return etag is not None or self._artifact.sha256 is not None

    def _transfer(self, part: int) -> None:
        """Everything from the first missing byte to the last, in one request."""
        headers = {}
        if self._done and self._can_resume(self._etag):
            headers = {"Range": f"bytes={self._done}-", **({"If-Range": self._etag} if self._etag else {})}
        with open_stream(self._artifact.url, headers, self._fetcher.sources) as stream:
            offset, total = self._place(stream, part)
            self._check_offer(stream, offset, total)
            if not offset:
                self._start_over(part)
                self._etag = _strong(stream.headers.get("etag"))
            self._rate, self._reported_done = 0.0, offset
            self._report("downloading", force=True)
            self._receive(stream, part)
        if self._total is not None and self._done < self._total:
            raise DownloadFailed(f"the line broke after {self._done} of {self._total} bytes", permanent=False)

    def _place(self, stream: HttpStream, part: int) -> tuple[int, int | None]:
        """(where the body of `stream` starts in the file, the file's length), by what the host really answered."""
        if stream.status == 200:
            return 0, stream.length
        if stream.status == 206 and self._belongs(stream.headers.get("etag")):
            start, total = _content_range(stream.headers.get("content-range", ""))
            if start == self._done and (total is None or self._total in {None, total}):
                end = None if stream.length is None else start + stream.length
                return start, total or self._total or end
        if stream.status in {206, 416}:
            # The file on the host is another one than it was, or the host cannot count: from the start.
            self._start_over(part)
            raise DownloadFailed("the host's file changed, or it does not support resuming", permanent=False)
        failure = self._fetcher.sources.refusal(stream.status, stream.url)
        if wait := _number(stream.headers.get("retry-after", "")):
            failure.details["retry_after_seconds"] = min(wait, RETRY_AFTER_MAX_SECONDS)
        raise failure

    def _belongs(self, etag: str | None) -> bool:
        """Whether bytes sent under `etag` may follow those that are here: hosts ignore If-Range, too."""
        return etag == self._etag if etag and self._etag else self._artifact.sha256 is not None

    def _check_offer(self, stream: HttpStream, offset: int, total: int | None) -> None:
        """Whether what the host is about to send can be the file. Raises DownloadFailed, NotEnoughSpace."""
        kind = stream.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in _NOT_MODELS:
            raise DownloadFailed(
                f"the host sent a page ({kind}) instead of the file: is a login or a licence needed?", permanent=True
            )
        if (coding := stream.headers.get("content-encoding", "identity").strip().lower()) != "identity":
            raise DownloadFailed(f"the host sent the file packed ({coding}), which nobody asked for", permanent=True)
        expected = self._artifact.size_bytes
        if total is not None and expected is not None and total != expected:
            raise DownloadFailed(f"the host offers {total} bytes, the preset says {expected}", permanent=True)
        self._total = total or expected
        self._check_space(offset)

    def _start_over(self, part: int) -> None:
        # First, so that it never speaks of bytes that are to come.
        journal.forget(self._target)
        os.ftruncate(part, 0)
        self._digest, self._done, self._etag = hashlib.sha256(), 0, None

    def _check_space(self, offset: int) -> None:
        """Raises NotEnoughSpace when what is to come does not fit beside the reserve."""
        free = self._fetcher.workspace.free_bytes() - self._fetcher.reserve_bytes
        needed = (self._total or 0) - offset
        if needed > free:
            raise NotEnoughSpace(
                f"{self._artifact.name} needs {needed / 1e9:.1f} GB more, {max(free, 0) / 1e9:.1f} GB are free",
                {"needed_bytes": needed, "free_bytes": max(free, 0)},
            )

    def _receive(self, stream: HttpStream, part: int) -> None:
        buffer = memoryview(bytearray(PIECE_BYTES))
        saved_at, saved_done = time.monotonic(), self._done
        # What lies behind the journal was never certain.
        os.ftruncate(part, self._done)
        try:
            while count := stream.read_into(buffer):
                if self._total is not None and self._done + count > self._total:
                    raise DownloadFailed(
                        f"the host sent more than the {self._total} bytes it announced", permanent=True
                    )
                _write_all(part, buffer[:count], self._done)
                self._digest.update(buffer[:count])
                self._done += count
                if self._done - saved_done >= CHECKPOINT_BYTES or time.monotonic() - saved_at >= CHECKPOINT_SECONDS:
                    self._checkpoint(part)
                    saved_at, saved_done = time.monotonic(), self._done
                self._report("downloading")
        finally:
            self._checkpoint(part)

    def _checkpoint(self, part: int) -> None:
        os.fdatasync(part)
        journal.save(self._target, Journal(self._artifact.url, self._done, self._total, self._etag))

    def _publish(self, part: int) -> Verified:
        """The finished part under its final name, if it is what it should be; gone otherwise."""
        self._report("verifying", force=True)
        digest = self._digest.hexdigest()
        problem = None
        if self._artifact.sha256 and digest != self._artifact.sha256:
            problem = f"the file's sha256 is {digest}, the preset says {self._artifact.sha256}"
        elif not _looks_like_a_model(self._artifact.name, part):
            problem = "what came is no safetensors file"
        if problem:
            journal.discard(self._target)
            raise DownloadFailed(f"{self._artifact.name}: {problem}; it was removed", permanent=True)
        os.fsync(part)
        os.replace(journal.part_file(self._target), self._target)
        sync_folder(self._target.parent)
        journal.discard(self._target)
        return self._verified(self._target.stat(), self._total)

    def _adopt(self) -> Verified:
        """A file of that name lies there: it is taken if it is the one that is wanted."""
        figures = self._target.stat()
        if not self._is_wanted(self._target):
            raise DownloadFailed(
                f"another file named {self._artifact.name} lies in {self._artifact.folder}/: "
                "rename or delete it, then try again",
                permanent=True,
            )
        journal.discard(self._target)
        return self._verified(figures, self._artifact.size_bytes)

    def _is_wanted(self, path: Path) -> bool:
        figures = path.stat()
        if not stat.S_ISREG(figures.st_mode) or self._artifact.size_bytes not in {None, figures.st_size}:
            return False
        self._total = figures.st_size
        with path.open("rb") as file:
            self._hash(file.fileno(), figures.st_size)
            right_digest = self._artifact.sha256 in {None, self._digest.hexdigest()}
            return right_digest and _looks_like_a_model(self._artifact.name, file.fileno())

    def _hash(self, descriptor: int, length: int) -> None:
        """Takes the first `length` bytes as done."""
        while self._done < length:
            piece = os.pread(descriptor, min(PIECE_BYTES * 4, length - self._done), self._done)
            if not piece:
                raise DownloadFailed(f"{self._artifact.name} became shorter while it was read", permanent=False)
            self._digest.update(piece)
            self._done += len(piece)
            self._report("verifying")

    def _verified(self, figures: os.stat_result, known_size: int | None) -> Verified:
        """`figures`: the file's, no younger than what was hashed; `known_size`: what was said about it before."""
        return Verified(
            folder=self._artifact.folder,
            name=self._artifact.name,
            size_bytes=figures.st_size,
            mtime_ns=figures.st_mtime_ns,
            sha256=self._digest.hexdigest(),
            checked_against="sha256" if self._artifact.sha256 else "nothing" if known_size is None else "size",
        )

    def _wait(self, attempt: int, failure: DownloadFailed) -> None:
        """Full jitter between attempts, or as long as the host asks for; stop requests are heard meanwhile."""
        ceiling = min(BACKOFF_MAX_SECONDS, BACKOFF_SECONDS * 2**attempt)
        seconds = max(random.uniform(0, ceiling), float(failure.details.get("retry_after_seconds", 0)))  # noqa: S311
        _log.warning(
            "download_retry",
            artifact_id=self._artifact.id,
            reason=failure.message,
            attempt=attempt,
            wait_seconds=seconds,
        )
        self._rate = 0.0
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._report("downloading", error=failure.message, force=True)
            time.sleep(min(REPORT_SECONDS, max(until - time.monotonic(), 0)))

    def _report(self, state: FileState, *, force: bool = False, error: str | None = None) -> None:
        """Raises DownloadStopped when someone asked for it."""
        elapsed = time.monotonic() - self._reported_at
        if not force and elapsed < REPORT_SECONDS:
            return
        if elapsed < 10 * REPORT_SECONDS:
            newest = (self._done - self._reported_done) / max(elapsed, REPORT_SECONDS / 10)
            self._rate = newest if not self._rate else self._rate + SMOOTHING * (newest - self._rate)
        self._reported_at, self._reported_done = time.monotonic(), self._done
        left = None if self._total is None else self._total - self._done
        self._fetcher.report(
            FileProgress(
                id=self._artifact.id,
                state=state,
                bytes_done=self._done,
                bytes_total=self._total,
                bytes_per_second=round(self._rate, 1),
                eta_seconds=round(left / self._rate, 1) if left is not None and self._rate > 0 else None,
                error=error,
            )
        )
        if reason := self._fetcher.stop_reason(self._artifact.id):
            raise DownloadStopped(reason)


def _strong(etag: str | None) -> str | None:
    """`etag`, if the bytes behind it are always the same (RFC 9110, 8.8.1)."""
    return etag if etag and not etag.startswith("W/") else None


def _content_range(header: str) -> tuple[int, int | None]:
    """(first byte, total or None) of `bytes 5-9/10` (RFC 9110, 14.4); (-1, None) when it says anything else."""
    unit, _, rest = header.partition(" ")
    span, _, total = rest.partition("/")
    first = _number(span.partition("-")[0])
    if unit.lower() != "bytes" or first is None:
        return -1, None
    return first, _number(total)


def _number(text: str) -> int | None:
    """The whole number a header holds; None for anything else, and for more digits than any size has."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _write_all(descriptor: int, data: memoryview, position: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, position)
        data, position = data[written:], position + written


def _looks_like_a_model(name: str, descriptor: int) -> bool:
    """Whether a safetensors file starts with its header's length and brace; other kinds are let through."""
    if name.rpartition(".")[2].lower() not in {"safetensors", "sft"}:
        return True
    start = os.pread(descriptor, 9, 0)
    if len(start) < 9:
        return False
    (header_bytes,) = struct.unpack("<Q", start[:8])
    size_bytes = os.fstat(descriptor).st_size
    return 0 < header_bytes < min(_SAFETENSORS_HEADER_MAX_BYTES, size_bytes) and start[8:] == b"{"


def _as_failure(error: Exception, artifact: Artifact) -> DownloadFailed | NotEnoughSpace:
    if isinstance(error, DownloadFailed):
        return error
    if isinstance(error, OSError) and is_out_of_space(error):
        return NotEnoughSpace("no space left on the volume; what was fetched is kept")
    return DownloadFailed(f"{artifact.name}: {error or type(error).__name__}", permanent=False)
