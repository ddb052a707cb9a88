"""One file from its hosts to its place: streamed to `.part`, resumed, verified, and only then under its name."""

import hashlib
import http.client
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from services import journal, log, plain_tree
from services.artifacts import Artifact
from services.downloads.digest import Digest
from services.downloads.lease import BEAT_SECONDS, STALE_SECONDS, Lease, LeaseHeld
from services.downloads.pace import Limit, Speed
from services.downloads.part import Part, TakenOver, held
from services.downloads.segments import Segments
from services.downloads.sync import Sync
from services.downloads.transfer import HostFileChanged, Patience, Transfer
from services.errors import DownloadFailed, DownloadStopped, InvalidName, NotEnoughSpace
from services.journal import Journal, Span
from services.link_targets import LinkTargets
from services.pod import boot_id, process_mark
from services.progress import FileProgress, FileState
from services.proxies import DIRECT, Proxies
from services.safetensors import looks_like_a_model
from services.sizes import bytes_text
from services.sources import Sources
from services.verified import Verified
from services.workspace import Workspace, is_out_of_space

HASH_BYTES = 4 * 1024 * 1024
# How much is fetched again at most after a kill.
NOTE_BYTES = 8 * 1024 * 1024
NOTE_SECONDS = 1.0
# How much is fetched again at most when the machine goes down, but for what comes while it is being synced.
CHECKPOINT_BYTES = 16 * 1024 * 1024
CHECKPOINT_SECONDS = 2.0
REPORT_SECONDS = 0.25
# Slower than this is no download.
LEAST_BYTES = 64 * 1024
LEAST_SECONDS = 120.0
POLL_SECONDS = 0.02
# Another pod that is at it shows it within a beat; one that is gone is free after a while.
LEASE_WAIT_SECONDS = STALE_SECONDS + BEAT_SECONDS
# How long a process that was killed may take to be gone.
ENDING_SECONDS = 3.0

_log = log.get("downloads")


@dataclass(frozen=True)
class Fetcher:
    """What every download of this process shares.

    `report` is called at most four times a second and at every change of state; `stop_reason` as often, and a text
    from it ends the download with its partial data kept. `limit`: bytes per second that one download may use now.
    `promised`: bytes that the other running downloads still have to write. `pod`, `mark`: who we are to other pods
    (services/pod.py).
    """

    workspace: Workspace
    sources: Sources
    reserve_bytes: int
    report: Callable[[FileProgress], None]
    stop_reason: Callable[[str], str | None]
    pod: str = ""
    mark: str = field(default_factory=process_mark)
    proxies: Proxies = DIRECT
    limit: Callable[[], float | None] = lambda: None
    promised: Callable[[], int] = lambda: 0

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
        except (OSError, http.client.HTTPException) as error:
            raise _as_failure(error, artifact) from error


class _Download:
    """One run, resumed or not. `_segments` says which bytes of the partial file are here, `_etag` under which strong
    validator `_url` sent them."""

    def __init__(self, fetcher: Fetcher, artifact: Artifact) -> None:
        self._fetcher = fetcher
        self._artifact = artifact
        self._log = _log.bind(artifact_id=artifact.id)
        self._target = fetcher.workspace.model_file(artifact.folder, artifact.name)
        self._lease = Lease(journal.lease_file(self._target), fetcher.pod, fetcher.mark)
        self._segments = Segments(artifact.size_bytes)
        self._url = artifact.url
        self._etag: str | None = None
        # Named by the preset, or else by the hub the file comes from.
        self._sha256 = artifact.sha256
        self._transfer: Transfer | None = None
        self._patience = Patience()
        self._limit = Limit(time.sleep)
        self._speed = Speed()
        self._reported_at = 0.0
        self._beat_at = self._noted_at = self._synced_at = time.monotonic()
        self._noted_done = self._synced_done = 0
        self._paced_at, self._paced_done = time.monotonic(), 0
        self._checked_total: int | None = None

    def run(self) -> Verified:
        self._target.parent.mkdir(parents=True, exist_ok=True)
        if self._target.exists():
            return self._adopt()
        in_place = plain_tree.find(self._fetcher.workspace, self._artifact.folder, self._artifact.name)
        if in_place and (digest := self._digest_if_wanted(in_place)):
            return self._verified(in_place.stat(), digest, self._artifact.size_bytes)
        self._take_lease()
        with held(self._target, self._lease) as part:
            # Whoever held it until now may have finished it.
            if not self._target.exists():
                return self._bring_in(part)
        return self._adopt()

    def _take_lease(self) -> None:
        """Raises DownloadFailed while someone else is at it."""
        begun, beat_at = time.monotonic(), 0
        while True:
            try:
                self._lease.take()
            except LeaseHeld as found:
                waited = time.monotonic() - begun
                if found.here and waited > ENDING_SECONDS:
                    raise self._held_by("another worker") from None
                if not found.here and (waited > LEASE_WAIT_SECONDS or 0 < beat_at < found.beat_at):
                    raise self._held_by("another pod") from None
                beat_at = beat_at or found.beat_at
                self._report("queued", 0)
                time.sleep(REPORT_SECONDS)
            else:
                return

    def _held_by(self, who: str) -> DownloadFailed:
        return DownloadFailed(f"{self._artifact.name} is being downloaded already, by {who}", permanent=False)

    def _bring_in(self, part: Part) -> Verified:
        """From the first of its addresses that has it."""
        self._sync = self._take_up(part)
        failures: list[DownloadFailed] = []
        # What brought the bytes that are here goes first: no other may be able to go on with them.
        for url in sorted((self._artifact.url, *self._artifact.mirrors), key=lambda url: url != self._url):
            try:
                return self._from(url, part)
            except TakenOver:
                raise
            except DownloadFailed as failure:
                self._log.warning("source_failed", url=url, reason=failure.message)
                failures.append(failure)
        # One that may work later is worth coming back for.
        raise next((failure for failure in failures if not failure.permanent), failures[0])

    def _take_up(self, part: Part) -> Sync:
        """Goes on from what an earlier run left, as far as it can be used."""
        kept = journal.load(self._target)
        if kept is None or not self._can_use(kept):
            if os.fstat(part.descriptor).st_size:
                # Nobody can use it, and there may be no room for the file beside it.
                part.start_over()
            kept = None
        else:
            self._segments = Segments(kept.bytes_total or self._artifact.size_bytes, kept.usable_spans)
            self._url, self._etag, self._sha256 = kept.url, kept.etag, kept.sha256
            self._log.info("download_resumed", bytes_done=self._segments.bytes_done)
        self._noted_done = self._synced_done = self._paced_done = self._segments.bytes_done
        self._check_space(self._fetcher.promised())
        return Sync(part, kept.spans if kept is not None else ())

    def _can_use(self, kept: Journal) -> bool:
        """Without a strong validator only the digest at the end can tell whether two halves belong together."""
        urls = {self._artifact.url, *self._artifact.mirrors}
        if self._artifact.size_bytes is not None and kept.bytes_total not in {None, self._artifact.size_bytes}:
            return False
        if self._artifact.sha256 not in {None, kept.sha256}:
            return False
        if self._artifact.sha256 is not None:
            return True
        # A digest that a hub named says nothing of what another address has.
        return kept.url in urls and (kept.is_whole or kept.etag is not None or kept.sha256 is not None)

    def _from(self, url: str, part: Part) -> Verified:
        self._patience = Patience()
        if url != self._url and not self._segments.is_complete:
            if self._segments.bytes_done and self._sha256 is None:
                # Another host's file may be another version.
                self._start_over(part)
            # A validator means nothing to another host.
            self._url, self._etag = url, None
        while True:
            with Digest(part.descriptor, lambda: self._segments.frontier).running() as digest:
                try:
                    self._receive(url, part, digest)
                    return self._finish(part, digest)
                except HostFileChanged as changed:
                    failure = DownloadFailed(str(changed), permanent=False)
            seconds = self._patience.failed(self._segments.bytes_done)
            self._log.warning("download_restarted", reason=failure.message, bytes_lost=self._segments.bytes_done)
            self._start_over(part)
            if self._patience.is_over:
                raise failure
            # A file that changed does so once.
            if self._patience.attempts > 1:
                self._wait(seconds, failure.message)

    def _wait(self, seconds: float, reason: str) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._report("downloading", 0, error=reason)
            self._beat(time.monotonic())
            time.sleep(POLL_SECONDS)

    def _receive(self, url: str, part: Part, digest: Digest) -> None:
        transfer = Transfer(
            url,
            part,
            self._segments,
            digest,
            sources=self._fetcher.sources,
            proxies=self._fetcher.proxies,
            limit=self._limit,
            patience=self._patience,
            etag=self._etag,
            expected_bytes=self._artifact.size_bytes,
            expected_sha256=self._artifact.sha256,
            sha256=self._sha256,
            artifact_id=self._artifact.id,
        )
        self._transfer = transfer
        self._report("downloading", self._segments.bytes_done, force=True)
        try:
            transfer.run(lambda: self._tick(part, transfer))
        except HostFileChanged:
            raise
        except BaseException:
            self._checkpoint(part)
            raise
        finally:
            self._etag, self._sha256 = transfer.etag, transfer.sha256
            self._transfer = None

    def _finish(self, part: Part, digest: Digest) -> Verified:
        """What came since the last note is not worth another, unless it is not over yet."""
        if self._segments.bytes_done - self._noted_done >= NOTE_BYTES:
            self._note(part)
        self._sync.finish()
        try:
            return self._publish(part, self._digest_of(digest))
        except DownloadStopped:
            self._checkpoint(part)
            raise

    def _tick(self, part: Part, transfer: Transfer) -> None:
        """Raises DownloadStopped, NotEnoughSpace, DownloadFailed, OSError."""
        now, done = time.monotonic(), self._segments.bytes_done
        self._etag, self._sha256 = transfer.etag, transfer.sha256
        self._beat(now)
        if self._segments.total != self._checked_total:
            # Before anyone else counts on it.
            self._check_space(self._fetcher.promised())
        self._check_pace(now, done, is_waiting=transfer.waits_because is not None)
        self._report("downloading", done, error=transfer.waits_because)
        if _is_due(done - self._noted_done, now - self._noted_at, NOTE_BYTES, NOTE_SECONDS):
            self._note(part)
        fresh = done - self._synced_done
        if _is_due(fresh, now - self._synced_at, CHECKPOINT_BYTES, CHECKPOINT_SECONDS) and not self._sync.is_busy:
            self._sync.start(self._segments.spans())
            self._synced_at, self._synced_done = now, done
            self._check_space(promised=0)

    def _check_pace(self, now: float, done: int, *, is_waiting: bool) -> None:
        """Raises DownloadFailed when a host brings next to nothing: it may for ever, and others wait for the worker."""
        if is_waiting or self._limit.bytes_per_second is not None or done - self._paced_done >= LEAST_BYTES:
            self._paced_at, self._paced_done = now, done
        elif now - self._paced_at > LEAST_SECONDS:
            raise DownloadFailed(
                f"{urlsplit(self._url).hostname} brought less than {LEAST_BYTES // 1024} KiB in {LEAST_SECONDS:.0f} s",
                permanent=False,
            )

    def _beat(self, now: float) -> None:
        if now - self._beat_at >= BEAT_SECONDS:
            self._lease.renew()
            self._beat_at = now

    def _note(self, part: Part) -> None:
        certain = self._sync.spans
        written = self._segments.spans()
        part.note(self._entry(certain, written))
        self._noted_at, self._noted_done = time.monotonic(), sum(end - start for start, end in written)

    def _checkpoint(self, part: Part) -> None:
        """All that is here is certain, however long that takes."""
        if self._segments.bytes_done:
            self._note(part)
            self._sync.finish()
            # Before the sync: what comes meanwhile is not certain.
            spans = self._segments.spans()
            part.checkpoint(self._entry(spans))

    def _entry(self, certain: tuple[Span, ...], written: tuple[Span, ...] = ()) -> Journal:
        total = self._segments.total if self._segments.is_length_told else None
        return Journal(self._url, total, self._etag, certain, self._sha256, written, boot_id())

    def _start_over(self, part: Part) -> None:
        self._sync.finish()
        part.start_over()
        self._sync = Sync(part)
        self._segments = Segments(self._artifact.size_bytes)
        self._etag, self._sha256 = None, self._artifact.sha256
        self._noted_done = self._synced_done = self._paced_done = 0

    def _digest_of(self, digest: Digest) -> str:
        """Once it has caught up."""
        total = self._segments.bytes_done
        while not digest.has_reached(total):
            self._report("verifying", total)
            self._beat(time.monotonic())
            time.sleep(POLL_SECONDS)
        return digest.hexdigest()

    def _publish(self, part: Part, digest: str) -> Verified:
        """The finished part under its final name, if it is what it should be; gone otherwise."""
        total = self._segments.bytes_done
        self._report("verifying", total, force=True)
        problem = None
        if self._sha256 not in {None, digest}:
            who = "preset" if self._artifact.sha256 else "host"
            problem = f"the file's sha256 is {digest}, the {who} says {self._sha256}"
        elif not looks_like_a_model(self._artifact.name, part.descriptor, total):
            problem = "what came is no safetensors file"
        if problem:
            self._start_over(part)
            raise DownloadFailed(f"{self._artifact.name}: {problem}; it was removed", permanent=True)
        known_size = total if self._segments.is_length_told else None
        part.publish(total)
        return self._verified(self._target.stat(), digest, known_size)

    def _check_space(self, promised: int) -> None:
        """Raises NotEnoughSpace when what is to come does not fit beside the reserve and what others will write."""
        self._checked_total = self._segments.total
        free = self._fetcher.workspace.free_bytes() - self._fetcher.reserve_bytes - promised
        needed = (self._segments.total or 0) - self._segments.bytes_done
        if needed > max(free, 0):
            raise NotEnoughSpace(
                f"{self._artifact.name} needs {bytes_text(needed)} more, {bytes_text(max(free, 0))} are free",
                {"needed_bytes": needed, "free_bytes": max(free, 0)},
            )

    def _adopt(self) -> Verified:
        """A file of that name lies there: it is taken if it is the one that is wanted."""
        figures = self._target.stat()
        digest = self._digest_if_wanted(self._target)
        if digest is None:
            raise DownloadFailed(
                f"another file named {self._artifact.name} lies in {self._artifact.folder}/: "
                "rename or delete it, then try again",
                permanent=True,
            )
        journal.discard(self._target)
        return self._verified(figures, digest, self._artifact.size_bytes)

    def _digest_if_wanted(self, path: Path) -> str | None:
        figures = path.stat()
        if not stat.S_ISREG(figures.st_mode) or self._artifact.size_bytes not in {None, figures.st_size}:
            return None
        with path.open("rb") as file:
            inside = path.relative_to(self._fetcher.workspace.root).as_posix()
            if not LinkTargets.of(self._fetcher.workspace).takes_opened(file.fileno(), inside):
                return None
            if not looks_like_a_model(self._artifact.name, file.fileno(), figures.st_size):
                return None
            digest = self._hash(file.fileno(), figures.st_size)
        return digest if self._artifact.sha256 in {None, digest} else None

    def _hash(self, descriptor: int, length: int) -> str:
        digest, done = hashlib.sha256(), 0
        while done < length:
            piece = os.pread(descriptor, min(HASH_BYTES, length - done), done)
            if not piece:
                raise DownloadFailed(f"{self._artifact.name} became shorter while it was read", permanent=False)
            digest.update(piece)
            done += len(piece)
            self._report("verifying", done, total=length)
        return digest.hexdigest()

    def _verified(self, figures: os.stat_result, digest: str, known_size: int | None) -> Verified:
        """`figures`: the file's, no younger than what was hashed; `known_size`: what was said about it before."""
        return Verified(
            folder=self._artifact.folder,
            name=self._artifact.name,
            size_bytes=figures.st_size,
            mtime_ns=figures.st_mtime_ns,
            sha256=digest,
            checked_against="sha256" if self._sha256 else "nothing" if known_size is None else "size",
        )

    def _report(
        self, state: FileState, done: int, *, total: int | None = None, force: bool = False, error: str | None = None
    ) -> None:
        """Raises DownloadStopped when someone asked for it."""
        now = time.monotonic()
        if not force and now - self._reported_at < REPORT_SECONDS:
            return
        self._reported_at = now
        if error is None:
            self._speed.measure(done, now)
        else:
            self._speed.pause(done)
        total = total or self._segments.total
        left, rate = None if total is None else total - done, self._speed.bytes_per_second
        self._fetcher.report(
            FileProgress(
                id=self._artifact.id,
                state=state,
                bytes_done=done,
                bytes_total=total,
                bytes_per_second=round(rate, 1),
                eta_seconds=round(left / rate, 1) if left is not None and rate > 0 else None,
                error=error,
                connections=self._transfer.connections if self._transfer else 0,
            )
        )
        self._limit.bytes_per_second = self._fetcher.limit()
        if reason := self._fetcher.stop_reason(self._artifact.id):
            raise DownloadStopped(reason)


def _is_due(fresh_bytes: int, seconds: float, most_bytes: int, most_seconds: float) -> bool:
    return fresh_bytes >= most_bytes or (fresh_bytes > 0 and seconds >= most_seconds)


def _as_failure(error: Exception, artifact: Artifact) -> DownloadFailed | NotEnoughSpace:
    if isinstance(error, OSError) and is_out_of_space(error):
        return NotEnoughSpace("no space left on the volume; what was fetched is kept")
    return DownloadFailed(f"{artifact.name}: {error or type(error).__name__}", permanent=False)
