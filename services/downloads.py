"""One file from its host to its place: streamed to `.part`, resumed, verified, and only then under its name."""

import contextlib
import hashlib
import http.client
import os
import random
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from services import journal, log
from services.artifacts import Artifact
from services.errors import DownloadFailed, DownloadStopped, NotEnoughSpace
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
        """Brings `artifact` in. A file that lies there already is verified instead of fetched.

        Raises DownloadFailed, DownloadStopped, NotEnoughSpace, OSError (the volume's).
        """
        return _Download(self, artifact).run()


class _Download:
    def __init__(self, fetcher: Fetcher, artifact: Artifact) -> None:
        self._fetcher = fetcher
        self._artifact = artifact
        self._target = fetcher.workspace.model_file(artifact.folder, artifact.name)
        self._part = journal.part_file(self._target)
        self._digest = hashlib.sha256()
        self._done = 0
        self._total = artifact.size_bytes
        self._rate = 0.0
        self._reported_at = 0.0
        self._reported_done = 0

    def run(self) -> Verified:
        self._target.parent.mkdir(parents=True, exist_ok=True)
        if self._target.exists():
            return self._adopt()
        self._check_space(journal.bytes_kept(self._target, self._artifact.url))
        attempt = 0
        while True:
            before = self._done
            try:
                self._transfer()
                return self._publish()
            except (OSError, http.client.HTTPException, DownloadFailed) as error:
                failure = _as_failure(error, self._artifact)
                if failure.permanent:
                    raise failure from error
                attempt = 1 if self._done > before else attempt + 1
                if attempt >= MAX_ATTEMPTS:
                    raise failure from error
                self._wait(attempt, failure)

    def _transfer(self) -> None:
        """Everything from the first missing byte to the last, in one request."""
        kept = journal.load(self._target, self._artifact.url)
        resumable = kept is not None and bool(kept.etag or self._artifact.sha256)
        with open_stream(
            self._artifact.url, _range_headers(kept if resumable else None), self._fetcher.sources
        ) as stream:
            offset = self._offset(stream, kept if resumable else None)
            self._check_offer(stream, offset)
            etag = stream.headers.get("etag")
            with self._open_part(offset) as descriptor:
                self._hash_prefix(descriptor, offset)
                self._done = self._reported_done = offset
                self._report("downloading", force=True)
                self._receive(stream, descriptor, etag)
        if self._total is not None and self._done < self._total:
            raise DownloadFailed(f"the line broke after {self._done} of {self._total} bytes", permanent=False)

    def _offset(self, stream: HttpStream, kept: Journal | None) -> int:
        """Where the body of `stream` starts in the file, by what the host really answered."""
        if stream.status == 200:
            return 0
        if stream.status == 206 and kept is not None:
            start, total = _content_range(stream.headers.get("content-range", ""))
            if start == kept.bytes_done and (total is None or total == (kept.bytes_total or total)):
                return start
        if stream.status in {206, 416}:
            # The file on the host is another one than it was, or the host cannot count: from the start.
            journal.discard(self._target)
            raise DownloadFailed("the host's file changed, or it does not support resuming", permanent=False)
        failure = self._fetcher.sources.refusal(stream.status, stream.url)
        if (wait := stream.headers.get("retry-after", "")).isdigit():
            failure.details["retry_after_seconds"] = int(wait)
        raise failure

    def _check_offer(self, stream: HttpStream, offset: int) -> None:
        """Whether what the host is about to send can be the file. Raises DownloadFailed, NotEnoughSpace."""
        kind = stream.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in _NOT_MODELS:
            raise DownloadFailed(
                f"the host sent a page ({kind}) instead of the file: is a login or a licence needed?", permanent=True
            )
        length = stream.headers.get("content-length", "")
        total = offset + int(length) if length.isdigit() else None
        expected = self._artifact.size_bytes
        if total is not None and expected is not None and total != expected:
            raise DownloadFailed(f"the host offers {total} bytes, the preset says {expected}", permanent=True)
        self._total = total or expected
        self._check_space(offset)

    def _check_space(self, offset: int) -> None:
        """Raises NotEnoughSpace when what is to come does not fit beside the reserve."""
        free = self._fetcher.workspace.free_bytes() - self._fetcher.reserve_bytes
        needed = (self._total or 0) - offset
        if needed > free:
            raise NotEnoughSpace(
                f"{self._artifact.name} needs {needed / 1e9:.1f} GB more, {max(free, 0) / 1e9:.1f} GB are free",
                {"needed_bytes": needed, "free_bytes": max(free, 0)},
            )

    @contextlib.contextmanager
    def _open_part(self, offset: int) -> Iterator[int]:
        descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o664)
        try:
            # What lies behind the journal was never certain.
            os.ftruncate(descriptor, offset)
            yield descriptor
        finally:
            os.close(descriptor)

    def _hash_prefix(self, descriptor: int, length: int) -> None:
        self._digest = hashlib.sha256()
        position = 0
        while position < length:
            piece = os.pread(descriptor, min(PIECE_BYTES * 4, length - position), position)
            if not piece:
                raise DownloadFailed("the partial file is shorter than its journal says", permanent=False)
            self._digest.update(piece)
            position += len(piece)

    def _receive(self, stream: HttpStream, descriptor: int, etag: str | None) -> None:
        buffer = memoryview(bytearray(PIECE_BYTES))
        saved_at, saved_done = time.monotonic(), self._done
        try:
            while count := stream.read_into(buffer):
                if self._total is not None and self._done + count > self._total:
                    raise DownloadFailed(
                        f"the host sent more than the {self._total} bytes it announced", permanent=True
                    )
                _write_all(descriptor, buffer[:count], self._done)
                self._digest.update(buffer[:count])
                self._done += count
                if self._done - saved_done >= CHECKPOINT_BYTES or time.monotonic() - saved_at >= CHECKPOINT_SECONDS:
                    self._checkpoint(descriptor, etag)
                    saved_at, saved_done = time.monotonic(), self._done
                self._report("downloading")
        finally:
            self._checkpoint(descriptor, etag)

    def _checkpoint(self, descriptor: int, etag: str | None) -> None:
        os.fdatasync(descriptor)
        strong = etag if etag and not etag.startswith("W/") else None
        journal.save(self._target, Journal(self._artifact.url, self._done, self._total, strong))

    def _publish(self) -> Verified:
        """The finished part under its final name, if it is what it should be; gone otherwise."""
        self._report("verifying", force=True)
        digest = self._digest.hexdigest()
        problem = None
        if self._artifact.sha256 and digest != self._artifact.sha256:
            problem = f"the file's sha256 is {digest}, the preset says {self._artifact.sha256}"
        elif not _looks_like_a_model(self._part):
            problem = "what came is no safetensors file"
        if problem:
            journal.discard(self._target)
            raise DownloadFailed(f"{self._artifact.name}: {problem}; it was removed", permanent=True)
        with self._part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(self._part, self._target)
        sync_folder(self._target.parent)
        journal.discard(self._target)
        return self._verified(digest)

    def _adopt(self) -> Verified:
        """A file of that name lies there: it is hashed, and taken if it is the one that is wanted."""
        with self._target.open("rb") as file:
            self._total = os.fstat(file.fileno()).st_size
            while piece := file.read(PIECE_BYTES * 4):
                self._digest.update(piece)
                self._done += len(piece)
                self._report("verifying")
        digest = self._digest.hexdigest()
        wrong_digest = self._artifact.sha256 is not None and digest != self._artifact.sha256
        if wrong_digest or self._artifact.size_bytes not in {None, self._total}:
            raise DownloadFailed(
                f"another file named {self._artifact.name} lies in {self._artifact.folder}/: "
                "rename or delete it, then try again",
                permanent=True,
            )
        return self._verified(digest)

    def _verified(self, digest: str) -> Verified:
        figures = self._target.stat()
        known_size = self._artifact.size_bytes is not None or self._total is not None
        return Verified(
            folder=self._artifact.folder,
            name=self._artifact.name,
            size_bytes=figures.st_size,
            mtime_ns=figures.st_mtime_ns,
            sha256=digest,
            checked_against="sha256" if self._artifact.sha256 else "size" if known_size else "nothing",
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


def _range_headers(kept: Journal | None) -> dict[str, str]:
    if kept is None or not kept.bytes_done:
        return {}
    # Without a strong validator only the digest at the end can tell whether the halves belong together.
    return {"Range": f"bytes={kept.bytes_done}-", **({"If-Range": kept.etag} if kept.etag else {})}


def _content_range(header: str) -> tuple[int, int | None]:
    """(first byte, total or None) of `bytes 5-9/10` (RFC 9110, 14.4); (-1, None) when it says anything else."""
    unit, _, rest = header.partition(" ")
    span, _, total = rest.partition("/")
    first = span.partition("-")[0]
    if unit.lower() != "bytes" or not first.isdigit():
        return -1, None
    return int(first), int(total) if total.isdigit() else None


def _write_all(descriptor: int, data: memoryview, position: int) -> None:
    try:
        while data:
            written = os.pwrite(descriptor, data, position)
            data, position = data[written:], position + written
    except OSError as error:
        if is_out_of_space(error):
            raise NotEnoughSpace("no space left on the volume; what was fetched is kept") from error
        raise


def _looks_like_a_model(file: Path) -> bool:
    """Whether a safetensors file starts with its header's length and brace; other kinds are let through."""
    if file.name.removesuffix(".part").rpartition(".")[2].lower() not in {"safetensors", "sft"}:
        return True
    with file.open("rb") as opened:
        start = opened.read(9)
    if len(start) < 9:
        return False
    (header_bytes,) = struct.unpack("<Q", start[:8])
    return 0 < header_bytes < min(_SAFETENSORS_HEADER_MAX_BYTES, file.stat().st_size) and start[8:] == b"{"


def _as_failure(error: Exception, artifact: Artifact) -> DownloadFailed:
    if isinstance(error, DownloadFailed):
        return error
    return DownloadFailed(f"{artifact.name}: {error or type(error).__name__}", permanent=False)
