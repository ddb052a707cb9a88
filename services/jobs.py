"""The download queue: one RQ job per artifact, under an id of its own, in JSON.

Only the reconciler enqueues and only workers run; everyone else writes install records and rings the doorbell.
"""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from redis.exceptions import RedisError
from rq import Queue
from rq.exceptions import DuplicateJobError, NoSuchJobError
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from services.artifacts import Artifact
from services.errors import QueueUnavailable

if TYPE_CHECKING:
    import redis

QUEUE_NAME = "downloads"
FETCH = "worker.downloads.fetch"
# Long enough to be looked at with `rq info` the day after; the volume has what matters.
RESULT_SECONDS = 24 * 3600
# How long a job that failed unexpectedly keeps its id: there is no use in failing every few seconds.
FAILED_SECONDS = 20.0


class DownloadQueue:
    def __init__(self, redis: "redis.Redis") -> None:
        self.queue = Queue(QUEUE_NAME, connection=redis, serializer=JSONSerializer)
        self._redis = redis
        self._seen_nowhere: set[str] = set()

    def ensure(self, artifact: Artifact, asked_at: float) -> bool:
        """There is one live job for `artifact`; whether it had to be made. Raises QueueUnavailable.

        `asked_at`: when someone last wanted it. A job that failed since, and could not even write down why, is left
        alone for a while.
        """
        try:
            return self._ensure(artifact, asked_at)
        except RedisError as error:
            raise QueueUnavailable(f"the queue does not answer ({error})") from error

    def _ensure(self, artifact: Artifact, asked_at: float) -> bool:
        job_id = f"download-{artifact.id}"
        if self._is_live(job_id, asked_at):
            return False
        try:
            self.queue.enqueue_call(
                FETCH,
                kwargs={
                    "url": artifact.url,
                    "folder": artifact.folder,
                    "name": artifact.name,
                    "size_bytes": artifact.size_bytes,
                    "sha256": artifact.sha256,
                },
                job_id=job_id,
                description=f"{artifact.folder}/{artifact.name}",
                # The engine watches for stalls; a large file on a slow line is no reason to kill it.
                timeout=-1,
                result_ttl=RESULT_SECONDS,
                failure_ttl=RESULT_SECONDS,
                unique=True,
            )
        except DuplicateJobError:
            return False
        return True

    def _is_live(self, job_id: str, asked_at: float) -> bool:
        """Whether the job waits or runs, or failed just now.

        One that ended, or whose worker is dead, is removed, so that its id is free again.
        """
        try:
            job = Job.fetch(job_id, connection=self._redis, serializer=JSONSerializer)
        except NoSuchJobError:
            self._seen_nowhere.discard(job_id)
            return False
        status = job.get_status()
        if status == JobStatus.QUEUED and self.queue.get_job_position(job_id) is None:
            is_live = self._is_first_time_nowhere(job_id)
        else:
            self._seen_nowhere.discard(job_id)
            is_live = (
                status == JobStatus.QUEUED
                or (status == JobStatus.STARTED and is_alive(job.worker_name or ""))
                or (status == JobStatus.FAILED and _failed_just_now(job, asked_at))
            )
        if not is_live:
            job.delete(delete_dependents=False)
        return is_live

    def _is_first_time_nowhere(self, job_id: str) -> bool:
        """A job was just taken by a worker that has not said so yet; or it was taken by one that died before it could,
        and then it is seen like this again."""
        if job_id in self._seen_nowhere:
            self._seen_nowhere.discard(job_id)
            return False
        self._seen_nowhere.add(job_id)
        return True


def _failed_just_now(job: Job, asked_at: float) -> bool:
    """And nobody asked for it since."""
    if job.ended_at is None:
        return False
    ended_at = job.ended_at.timestamp()
    return asked_at < ended_at and time.time() - ended_at < FAILED_SECONDS


def worker_name(number: int) -> str:
    """A name that tells whether its process still lives, also to those who find it in Redis after a crash."""
    return f"worker-{number}-{os.getpid()}-{_start_ticks(os.getpid())}"


def is_alive(name: str) -> bool:
    """Whether the worker called `name` still runs in this container."""
    parts = name.rsplit("-", 2)
    if len(parts) != 3 or not parts[1].isdecimal():
        return False
    started = _start_ticks(int(parts[1]))
    return started is not None and parts[2] == str(started)


def _start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot: field 22 of proc(5)'s stat. None: there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])
