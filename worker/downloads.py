"""The job: fetch one artifact, tell everyone how far it is, remember how it ended."""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from redis.exceptions import RedisError
from rq import Retry

from services import log, settings
from services.artifacts import Artifact
from services.bandwidth import Bandwidth
from services.connections import redis_client
from services.credentials import Credentials
from services.doorbell import ring
from services.downloads import Fetcher
from services.errors import DownloadFailed, DownloadStopped, NotEnoughSpace
from services.installs import Installs
from services.pod import pod_id
from services.progress import Control, FileProgress, ProgressBoard
from services.proxies import Proxies
from services.sources import Sources
from services.verified import Verified, VerifiedFiles
from services.workspace import Workspace, is_out_of_space

T = TypeVar("T")

# Nothing of a download waits longer for Redis.
BOARD_SECONDS = 1.0
# More than any record of a file takes.
_RECORD_BYTES = 4096
_SHUTTING_DOWN = "shutting down"
_stopping = threading.Event()
_log = log.get("downloads")


def stop() -> None:
    """The running download is to checkpoint and end; its job goes back to the queue."""
    _stopping.set()


class Surroundings:
    """What a running download has to know of the others, asked of Redis in one round trip per report."""

    def __init__(self, board: ProgressBoard, bandwidth: Bandwidth, artifact_id: str) -> None:
        self._board = board
        self._bandwidth = bandwidth
        self._id = artifact_id
        self._known = Control(stop=False, active=1, promised_bytes=0)

    def stop_reason(self) -> str | None:
        if _stopping.is_set():
            return _SHUTTING_DOWN
        return "stopped" if self._look().stop else None

    def promised_bytes(self) -> int:
        return self._look().promised_bytes

    def limit(self) -> float | None:
        return self._bandwidth.share(datetime.now(), self._known.active)

    def _look(self) -> Control:
        """The last that was known while Redis is away."""
        self._known = _try(lambda: self._board.control(self._id)) or self._known
        return self._known


def fetch(
    url: str, folder: str, name: str, size_bytes: int | None, sha256: str | None, mirrors: Sequence[str] = ()
) -> Retry | None:
    """RQ's entry. Safe to run twice, resumes; returns a Retry when it was only told to stop for now.

    Raises what ended the download for good, after writing it down as a hold.
    """
    config = settings.from_environment()
    artifact = Artifact(url, folder, name, size_bytes, sha256, tuple(mirrors))
    workspace = Workspace(config.workspace)
    installs, verified = Installs(workspace), VerifiedFiles(workspace)
    board = ProgressBoard(redis_client(config, BOARD_SECONDS))
    if not installs.is_due(artifact.id):
        _try(lambda: board.forget(artifact.id))
        return None
    around = Surroundings(board, Bandwidth.from_settings(config), artifact.id)
    fetcher = Fetcher(
        workspace=workspace,
        sources=Sources.from_settings(config, Credentials(config, workspace)),
        reserve_bytes=config.disk_reserve_bytes,
        report=lambda progress: _try(lambda: board.publish(progress)),
        stop_reason=lambda _: around.stop_reason(),
        pod=pod_id(config.state_dir),
        proxies=Proxies.from_settings(config),
        limit=around.limit,
        promised=around.promised_bytes,
    )
    bound = _log.bind(artifact_id=artifact.id, folder=folder, name=name)
    bound.info("download_started", url=url, size_bytes=size_bytes)
    try:
        _check_room_for_record(workspace)
        result = fetcher.fetch(artifact)
        _record(verified, result)
    except DownloadStopped as stopped:
        bound.info("download_stopped", reason=stopped.message)
        if stopped.message == _SHUTTING_DOWN:
            return Retry(max=10**6, enqueue_at_front=True)
        _publish_end(board, FileProgress(artifact.id, "cancelled"))
        # It may be wanted again already.
        ring(config.doorbell_socket)
        return None
    except Exception as error:
        failure = error if isinstance(error, DownloadFailed | NotEnoughSpace) else _as_failure(name, error)
        if failure is not error:
            bound.exception("download_broke")
        _write_down(installs, artifact.id, failure)
        bound.error("download_failed", reason=failure.message, permanent=getattr(failure, "permanent", False))
        _publish_end(board, FileProgress(artifact.id, "failed", error=failure.message))
        ring(config.doorbell_socket)
        raise
    bound.info(
        "download_finished", size_bytes=result.size_bytes, sha256=result.sha256, checked_against=result.checked_against
    )
    _publish_end(
        board, FileProgress(artifact.id, "present", bytes_done=result.size_bytes, bytes_total=result.size_bytes)
    )
    ring(config.doorbell_socket)
    return None


def _as_failure(name: str, error: Exception) -> DownloadFailed:
    """A mistake of ours waits like a host that does not answer, instead of being made again at once."""
    return DownloadFailed(f"{name}: something broke ({type(error).__name__}); the log has more", permanent=False)


def _check_room_for_record(workspace: Workspace) -> None:
    """A volume too full for the record of a file would have the whole file hashed in vain, again at every retry.

    Raises NotEnoughSpace, DownloadFailed.
    """
    probe = workspace.config / "verified" / ".room"
    try:
        probe.write_bytes(bytes(_RECORD_BYTES))
        probe.unlink(missing_ok=True)
    except OSError as error:
        if is_out_of_space(error):
            raise NotEnoughSpace(f"no space left on {probe.parent}: free some and try again") from error
        raise DownloadFailed(f"{probe.parent} cannot be written: {error}", permanent=False) from error


def _record(verified: VerifiedFiles, result: Verified) -> None:
    """Raises NotEnoughSpace, DownloadFailed: the file is there, and is only verified again by the next try."""
    try:
        verified.put(result)
    except OSError as error:
        raise DownloadFailed(f"{result.name}: its record cannot be written: {error}", permanent=False) from error


def _write_down(installs: Installs, artifact_id: str, error: DownloadFailed | NotEnoughSpace) -> None:
    """A full volume has no room for the reason either; the queue remembers the failure then."""
    try:
        installs.fail(artifact_id, error)
    except (OSError, NotEnoughSpace) as problem:
        _log.warning("hold_not_written", artifact_id=artifact_id, error=str(problem))


def _publish_end(board: ProgressBoard, progress: FileProgress) -> None:
    _try(lambda: board.publish(progress))
    _try(lambda: board.allow(progress.id))


def _try(call: Callable[[], T]) -> T | None:
    """A download does not end because Redis went away: the volume has what counts, and watchers learn it later."""
    try:
        return call()
    except RedisError as error:
        _log.debug("queue_unavailable", error=str(error))
        return None
