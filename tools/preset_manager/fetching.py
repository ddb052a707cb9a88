"""Downloads in this process, where no suite runs: in the order, with the leases and the records of its workers, so
that a dashboard that is started later finds what it would have made itself."""

import secrets
import threading
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime

from services import installs, journal, log, standing
from services.artifacts import Artifact, model_id
from services.bandwidth import Bandwidth
from services.downloads import Fetcher
from services.errors import DownloadFailed, DownloadStopped, NotEnoughSpace, SuiteError
from services.installs import View, Wanted
from services.pod import pod_id
from services.presets import Preset
from services.progress import FileProgress
from services.proxies import Proxies
from services.verified import Verified
from tools.preset_manager import endings, hosts
from tools.preset_manager.context import Context
from tools.preset_manager.display import Display
from tools.preset_manager.endings import Ending

LOOK_SECONDS = 0.25
# Before a file is tried again that someone else is at.
HELD_SECONDS = 2.0

_log = log.get("downloads")


def fetch_here(context: Context, presets: list[Preset]) -> Ending:
    """Until all that can be had of `presets` is here. Ctrl-C keeps what was fetched, for the next install."""
    downloads = _Downloads(context, [file for preset in presets for file in preset.files])
    is_over, is_interrupted = False, False
    try:
        with Display(context.output) as display:
            while not is_over:
                view = downloads.view()
                display.update(standing.status(preset, view) for preset in presets)
                is_over = not downloads.go_on()
            view = downloads.view()
            display.update(standing.status(preset, view) for preset in presets)
    except KeyboardInterrupt:
        is_interrupted = True
    finally:
        downloads.stop()
    if is_interrupted:
        context.output.complain("Stopped; what was fetched is kept: the same command goes on from there", "yellow")
        return Ending.INTERRUPTED
    return _ending(context, presets, view, downloads.failures)


def _ending(context: Context, presets: list[Preset], view: View, failures: dict[str, SuiteError]) -> Ending:
    """And a sentence for each that is installed, and for each file that is not."""
    is_done = True
    for preset in presets:
        if standing.status(preset, view).state == "installed":
            context.output.say(f"{preset.name} is installed", "green")
        else:
            is_done = False
    for error in failures.values():
        context.output.complain(error.message)
    if not is_done and not failures:
        paused = "all downloads are paused: resume them in the dashboard"
        context.output.complain(paused if view.schedule.is_paused else "cancelled by someone else")
    found = {endings.of_error(error) for error in failures.values()}
    return endings.worst(found) if found else Ending.DONE if is_done else Ending.FAILED


class _Downloads:
    """`failures`: why a file could not be had, by its id."""

    def __init__(self, context: Context, files: Iterable[Artifact]) -> None:
        config = context.config
        self._context = context
        self._files = {file.id: file for file in files}
        self._bandwidth = Bandwidth.from_settings(config)
        self._stopping = threading.Event()
        self._progress: dict[str, FileProgress] = {}
        self._running: dict[str, Future[None]] = {}
        self._held_until: dict[str, float] = {}
        self._most = config.download_workers
        self._threads = ThreadPoolExecutor(self._most, "download")
        self._pod = _pod(context)
        self.failures: dict[str, SuiteError] = {}

    def go_on(self) -> bool:
        """Begins what may begin; whether anything is left to wait for, which it does for a moment."""
        self._running = {id_: future for id_, future in self._running.items() if not future.done()}
        view = self.view()
        for install in installs.finished(view):
            self._context.installs.complete(install)
        now = time.time()
        waiting = [entry for entry in installs.wanted(view, now) if self._is_ours(entry)]
        for entry in waiting:
            if len(self._running) < self._most and self._held_until.get(entry.artifact.id, 0.0) <= now:
                self._release(entry.artifact, view)
                self._running[entry.artifact.id] = self._threads.submit(self._fetch, entry.artifact)
        if self._running:
            wait(self._running.values(), LOOK_SECONDS, FIRST_COMPLETED)
        elif waiting:
            time.sleep(LOOK_SECONDS)
        return bool(self._running or waiting)

    def stop(self) -> None:
        """Returns when everything is certain that was fetched."""
        self._stopping.set()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def view(self) -> View:
        return self._context.view(self._files.values(), dict(self._progress))

    def _is_ours(self, entry: Wanted) -> bool:
        id_ = entry.artifact.id
        return id_ in self._files and id_ not in self._running and id_ not in self.failures

    def _release(self, artifact: Artifact, view: View) -> None:
        """A hold whose time has come."""
        hold = view.holds.get(artifact.id)
        if hold is not None:
            self._context.installs.expire(artifact.id, hold)

    def _fetch(self, artifact: Artifact) -> None:
        """In a thread of its own. What ends it is a failure or a record."""
        bound = _log.bind(artifact_id=artifact.id, folder=artifact.folder, name=artifact.name)
        bound.info("download_started", url=artifact.url, size_bytes=artifact.size_bytes)
        try:
            result = self._fetcher(artifact).fetch(artifact)
            self._record(result)
        except DownloadStopped as stopped:
            bound.info("download_stopped", reason=stopped.message)
        except (DownloadFailed, NotEnoughSpace) as error:
            bound.error("download_failed", reason=error.message)
            self._fail(artifact, error)
        except Exception as error:  # noqa: BLE001 (a thread's own end: its file is not tried again and again)
            bound.exception("download_broke")
            text = f"{artifact.name}: something broke ({type(error).__name__}); logs/downloads.log has more"
            self._fail(artifact, DownloadFailed(text, permanent=False))
        else:
            bound.info("download_finished", size_bytes=result.size_bytes, sha256=result.sha256)
        finally:
            self._progress.pop(artifact.id, None)

    def _fetcher(self, artifact: Artifact) -> Fetcher:
        """With the tokens of this moment."""
        config = self._context.config
        return Fetcher(
            workspace=self._context.workspace,
            sources=hosts.sources(self._context),
            reserve_bytes=config.disk_reserve_bytes,
            report=self._report,
            stop_reason=lambda _: "interrupted" if self._stopping.is_set() else None,
            pod=self._pod,
            proxies=Proxies.from_settings(config),
            limit=lambda: self._bandwidth.share(datetime.now(), len(self._running)),
            promised=lambda: self._promised(artifact.id),
        )

    def _promised(self, but: str) -> int:
        """Bytes that the other downloads still have to write."""
        others = [live for id_, live in list(self._progress.items()) if id_ != but and live.bytes_total]
        return sum(max((live.bytes_total or 0) - live.bytes_done, 0) for live in others)

    def _report(self, progress: FileProgress) -> None:
        self._progress[progress.id] = progress

    def _record(self, result: Verified) -> None:
        """Raises NotEnoughSpace, DownloadFailed: the file is there, and is only verified again by the next try."""
        try:
            self._context.verified.put(result)
            # A worker of the suite, that found us at it, may have left one.
            self._context.installs.release(model_id(result.folder, result.name))
        except OSError as error:
            raise DownloadFailed(f"{result.name}: its record cannot be written: {error}", permanent=False) from error

    def _fail(self, artifact: Artifact, error: DownloadFailed | NotEnoughSpace) -> None:
        target = self._context.workspace.model_file(artifact.folder, artifact.name)
        if isinstance(error, DownloadFailed) and not error.permanent and journal.lease_file(target).exists():
            # Ours is gone by now: someone else is at it, and it is here when he is done.
            self._held_until[artifact.id] = time.time() + HELD_SECONDS
            return
        self.failures[artifact.id] = error
        try:
            self._context.installs.fail(artifact.id, error)
        except (OSError, NotEnoughSpace) as problem:
            # A full volume has no room for the reason either.
            _log.warning("hold_not_written", artifact_id=artifact.id, error=str(problem))


def _pod(context: Context) -> str:
    """That of the suite in this container, else one of our own: others wait a while before they take it for dead."""
    try:
        return pod_id(context.config.state_dir)
    except OSError:
        return secrets.token_hex(8)
