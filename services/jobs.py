"""The download queue: one RQ job per artifact, under an id of its own, in JSON.

Only the reconciler enqueues and only workers run; everyone else writes install records and rings the doorbell.
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from redis.exceptions import RedisError, WatchError
from rq import Queue, Worker
from rq.job import Job, JobStatus
from rq.queue import EnqueueData
from rq.serializers import JSONSerializer
from rq.utils import as_text
from rq.worker_registration import REDIS_WORKER_KEYS, WORKERS_BY_QUEUE_KEY

from services import pod
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
# Between taking a job and saying so, a worker does next to nothing.
TAKING_SECONDS = 5.0
# A running job's heartbeat comes every five seconds (worker/__main__.py).
SILENT_SECONDS = 20.0


class DownloadQueue:
    def __init__(self, redis: "redis.Redis") -> None:
        self.queue = Queue(QUEUE_NAME, connection=redis, serializer=JSONSerializer)
        self._redis = redis
        # When a job was first seen that neither waits nor runs.
        self._nowhere_since: dict[str, float] = {}

    def ensure(self, artifact: Artifact, asked_at: float) -> bool:
        """As `ensure_all`, for one; whether its job had to be made."""
        return bool(self.ensure_all([(artifact, asked_at)], time.time()))

    def ensure_all(self, wanted: Sequence[tuple[Artifact, float]], seen_at: float) -> list[Artifact]:
        """There is one live job for each; those for which it had to be made. Raises QueueUnavailable.

        Each with when someone last wanted it: a job that failed since, and could not even write down why, is left
        alone for a while. `seen_at`: when they were seen to be missing; what a job brought in since is not fetched
        again. Asks Redis as often for hundreds as for one, as long as all is well.
        """
        try:
            missing = self._without_job(wanted, seen_at)
            if missing:
                self.queue.enqueue_many([_job_of(artifact) for artifact in missing])
        except RedisError as error:
            raise QueueUnavailable(f"the queue does not answer ({error})") from error
        return missing

    def arrange(self, artifacts: Sequence[Artifact]) -> bool:
        """What waits is taken in the order of `artifacts`, other jobs after them; whether that was another order than
        before. What runs goes on. Raises QueueUnavailable."""
        places = {_job_id(artifact): place for place, artifact in enumerate(artifacts)}
        try:
            with self._redis.pipeline() as pipeline:
                pipeline.watch(self.queue.key)  # type: ignore[no-untyped-call]
                before = [as_text(id_) for id_ in pipeline.lrange(self.queue.key, 0, -1)]
                after = sorted(before, key=lambda id_: places.get(id_, len(places)))
                if before == after:
                    return False
                pipeline.multi()
                pipeline.delete(self.queue.key)
                pipeline.rpush(self.queue.key, *after)
                pipeline.execute()
        except WatchError:
            # A worker took one meanwhile. The next round is soon enough.
            return False
        except RedisError as error:
            raise QueueUnavailable(f"the queue does not answer ({error})") from error
        return True

    def clean_up(self) -> list[str]:
        """Forgets the workers of this container that are dead, which RQ would believe in for minutes, and what they
        were at, which `ensure_all` makes anew where it is wanted; their names. Raises QueueUnavailable."""
        try:
            keys = [as_text(key) for key in self._redis.smembers(REDIS_WORKER_KEYS)]
            dead = [key for key in keys if not is_alive(key.removeprefix(Worker.redis_worker_namespace_prefix))]
            if dead:
                with self._redis.pipeline() as pipeline:
                    pipeline.srem(REDIS_WORKER_KEYS, *dead)
                    pipeline.srem(WORKERS_BY_QUEUE_KEY % QUEUE_NAME, *dead)
                    pipeline.delete(*dead)
                    pipeline.execute()
            for job in self._started():
                if not is_alive(job.worker_name or ""):
                    self._remove(job)
        except RedisError as error:
            raise QueueUnavailable(f"the queue does not answer ({error})") from error
        return [key.removeprefix(Worker.redis_worker_namespace_prefix) for key in dead]

    def _started(self) -> list[Job]:
        ids = self.queue.started_job_registry.get_job_ids(cleanup=False)
        return [job for job in Job.fetch_many(ids, connection=self._redis, serializer=JSONSerializer) if job]

    def _without_job(self, wanted: Sequence[tuple[Artifact, float]], seen_at: float) -> list[Artifact]:
        """One whose job ended, or has a worker that is dead, is removed from Redis, so that its id is free again."""
        if not wanted:
            return []
        jobs = Job.fetch_many(
            [_job_id(artifact) for artifact, _ in wanted], connection=self._redis, serializer=JSONSerializer
        )
        # After the jobs: one that a worker takes in between is seen as taken.
        waiting = set(self.queue.get_job_ids())
        missing = []
        for (artifact, asked_at), job in zip(wanted, jobs, strict=True):
            if job is not None and self._is_live(job, job.id in waiting, asked_at, seen_at):
                continue
            if job is not None:
                self._remove(job)
            missing.append(artifact)
        kept = {_job_id(artifact) for artifact, _ in wanted} - {_job_id(artifact) for artifact in missing}
        self._nowhere_since = {id_: since for id_, since in self._nowhere_since.items() if id_ in kept}
        return missing

    def _remove(self, job: Job) -> None:
        """Also from the list of those that were just taken: RQ would take its successor for one that got stuck."""
        job.delete(delete_dependents=False)
        self._redis.lrem(self.queue.intermediate_queue_key, 0, job.id)

    def _is_live(self, job: Job, waits: bool, asked_at: float, seen_at: float) -> bool:
        """Whether the job waits or runs, or ended just now."""
        status = job.get_status(refresh=False)
        if status == JobStatus.QUEUED and not waits:
            return self._was_just_taken(job.id)
        self._nowhere_since.pop(job.id, None)
        return (
            status == JobStatus.QUEUED
            or (status == JobStatus.STARTED and _is_running(job))
            or (status == JobStatus.FAILED and _failed_just_now(job, asked_at))
            or (status == JobStatus.FINISHED and job.ended_at is not None and job.ended_at.timestamp() > seen_at)
        )

    def _was_just_taken(self, job_id: str) -> bool:
        """By a worker that has not said so yet. One that died before it could leaves the job like this for good."""
        now = time.monotonic()
        return now - self._nowhere_since.setdefault(job_id, now) < TAKING_SECONDS


def _job_id(artifact: Artifact) -> str:
    return f"download-{artifact.id}"


def _job_of(artifact: Artifact) -> EnqueueData:
    kwargs: dict[str, object] = {
        "url": artifact.url,
        "folder": artifact.folder,
        "name": artifact.name,
        "size_bytes": artifact.size_bytes,
        "sha256": artifact.sha256,
    }
    if artifact.mirrors:
        kwargs["mirrors"] = list(artifact.mirrors)
    return Queue.prepare_data(
        FETCH,
        kwargs=kwargs,
        job_id=_job_id(artifact),
        description=f"{artifact.folder}/{artifact.name}",
        # The engine watches for stalls; a large file on a slow line is no reason to kill it.
        timeout=-1,
        result_ttl=RESULT_SECONDS,
        failure_ttl=RESULT_SECONDS,
    )


def _is_running(job: Job) -> bool:
    """A Redis that lost its last second may believe so of a job that ended, for a worker that lives: nothing beats."""
    beat_at = job.last_heartbeat
    is_silent = beat_at is not None and time.time() - beat_at.timestamp() > SILENT_SECONDS
    return is_alive(job.worker_name or "") and not is_silent


def _failed_just_now(job: Job, asked_at: float) -> bool:
    """And nobody asked for it since."""
    if job.ended_at is None:
        return False
    ended_at = job.ended_at.timestamp()
    return asked_at < ended_at and time.time() - ended_at < FAILED_SECONDS


def worker_name(number: int) -> str:
    """A name that tells whether its process still lives, also to those who find it in Redis after a crash."""
    return f"worker-{number}-{pod.process_mark()}"


def is_alive(name: str) -> bool:
    """Whether the worker called `name` still runs in this container."""
    return pod.is_alive("-".join(name.rsplit("-", 2)[1:]))
