import datetime
import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from rq.job import Job, JobStatus
from rq.registry import FailedJobRegistry, FinishedJobRegistry, StartedJobRegistry
from rq.serializers import JSONSerializer

from services.artifacts import Artifact
from services.connections import redis_client
from services.errors import QueueUnavailable
from services.jobs import FAILED_SECONDS, FETCH, DownloadQueue, is_alive, worker_name
from services.settings import Settings, load

A = Artifact("https://example.com/a", "checkpoints", "a.safetensors", size_bytes=100, sha256="0" * 64)
B = Artifact("https://example.com/b", "vae", "b.safetensors")


@pytest.fixture
def connection(settings: Settings) -> Iterator[redis.Redis]:
    client = redis_client(settings)
    yield client
    client.close()


@pytest.fixture
def queue(connection: redis.Redis) -> DownloadQueue:
    return DownloadQueue(connection)


def job_of(queue: DownloadQueue, artifact: Artifact) -> Job:
    return Job.fetch(f"download-{artifact.id}", connection=queue.queue.connection, serializer=JSONSerializer)


def take(queue: DownloadQueue, artifact: Artifact) -> Job:
    """As a worker takes a job from the queue."""
    job = job_of(queue, artifact)
    queue.queue.remove(job)
    return job


def start(queue: DownloadQueue, artifact: Artifact, worker: str) -> Job:
    job = take(queue, artifact)
    job.worker_name = worker
    job.save()
    job.set_status(JobStatus.STARTED)
    return job


def end(queue: DownloadQueue, artifact: Artifact, status: JobStatus, seconds_ago: float = 0.0) -> None:
    job = take(queue, artifact)
    job.ended_at = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds_ago)
    job.save()
    job.set_status(status)


def stored_of(connection: redis.Redis, artifact: Artifact) -> dict[bytes, bytes]:
    """What lies in Redis of the artifact's job, as it lies there."""
    fields = connection.hgetall(f"rq:job:download-{artifact.id}")
    return {name: value for name, value in fields.items() if isinstance(name, bytes) and isinstance(value, bytes)}


def dead_worker() -> str:
    """The name that a process gave itself which has ended since."""
    code = "from services.jobs import worker_name; print(worker_name(1))"
    name = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    assert name.startswith("worker-1-")
    return name


def test_an_artifact_gets_one_job_however_often_it_is_asked_for(queue: DownloadQueue) -> None:
    assert [queue.ensure(A, 0.0) for _ in range(3)] == [True, False, False]
    assert queue.queue.count == 1


def test_two_queues_do_not_make_two_jobs(queue: DownloadQueue, connection: redis.Redis) -> None:
    assert [queue.ensure(A, 0.0), DownloadQueue(connection).ensure(A, 0.0)] == [True, False]
    assert queue.queue.count == 1


def test_each_artifact_has_a_job_of_its_own(queue: DownloadQueue) -> None:
    assert [queue.ensure(A, 0.0), queue.ensure(B, 0.0)] == [True, True]
    assert queue.queue.count == 2


def test_a_job_says_what_to_fetch_in_plain_values(queue: DownloadQueue) -> None:
    queue.ensure(A, 0.0)
    job = job_of(queue, A)
    assert (job.func_name, job.args) == (FETCH, [])
    assert job.kwargs == {
        "url": A.url,
        "folder": "checkpoints",
        "name": "a.safetensors",
        "size_bytes": 100,
        "sha256": "0" * 64,
    }


def test_a_job_has_no_time_limit(queue: DownloadQueue) -> None:
    queue.ensure(A, 0.0)
    assert job_of(queue, A).timeout == -1


def test_what_lies_in_redis_is_json(queue: DownloadQueue, connection: redis.Redis) -> None:
    queue.ensure(A, 0.0)
    stored = stored_of(connection, A)
    assert json.loads(zlib.decompress(stored[b"data"]))[0] == FETCH


def test_nothing_in_redis_is_a_pickle(queue: DownloadQueue, connection: redis.Redis) -> None:
    queue.ensure(A, 0.0)
    stored = stored_of(connection, A)
    assert stored
    for value in stored.values():
        plain = zlib.decompress(value) if value[:1] == b"\x78" else value
        # The opcode that begins every pickle since protocol 2.
        assert not plain.startswith(b"\x80")


def test_a_running_job_is_left_alone(queue: DownloadQueue) -> None:
    queue.ensure(A, 0.0)
    start(queue, A, worker_name(1))
    assert queue.ensure(A, 0.0) is False
    assert job_of(queue, A).get_status() == JobStatus.STARTED


def test_a_job_whose_worker_is_dead_is_made_anew(queue: DownloadQueue) -> None:
    queue.ensure(A, 0.0)
    start(queue, A, dead_worker())
    assert queue.ensure(A, 0.0) is True
    assert job_of(queue, A).get_status() == JobStatus.QUEUED
    assert queue.queue.job_ids == [f"download-{A.id}"]


def test_a_finished_job_can_be_asked_for_again(queue: DownloadQueue) -> None:
    queue.ensure(A, 0.0)
    end(queue, A, JobStatus.FINISHED)
    assert queue.ensure(A, 0.0) is True
    assert queue.queue.count == 1


def test_a_failed_job_can_be_asked_for_again(queue: DownloadQueue) -> None:
    queue.ensure(A, 0.0)
    end(queue, A, JobStatus.FAILED)
    assert queue.ensure(A, time.time() + 1) is True
    assert queue.queue.count == 1


def test_a_job_that_failed_just_now_is_not_made_again_by_itself(queue: DownloadQueue) -> None:
    queue.ensure(A, 0.0)
    end(queue, A, JobStatus.FAILED)
    assert queue.ensure(A, 0.0) is False
    assert queue.queue.count == 0


def test_a_job_that_failed_a_while_ago_is_made_again_by_itself(queue: DownloadQueue) -> None:
    queue.ensure(A, 0.0)
    end(queue, A, JobStatus.FAILED, seconds_ago=FAILED_SECONDS + 1)
    assert queue.ensure(A, 0.0) is True


def test_a_job_that_was_taken_and_never_started_is_made_anew(queue: DownloadQueue) -> None:
    queue.ensure(A, 0.0)
    take(queue, A)
    # A worker may just be about to say that it has it.
    assert [queue.ensure(A, 0.0), queue.ensure(A, 0.0)] == [False, True]
    assert queue.queue.count == 1


def test_a_job_that_was_seen_again_in_between_is_not_made_anew(queue: DownloadQueue) -> None:
    queue.ensure(A, 0.0)
    job = take(queue, A)
    assert queue.ensure(A, 0.0) is False
    queue.queue.push_job_id(job.id)
    assert queue.ensure(A, 0.0) is False
    take(queue, A)
    assert queue.ensure(A, 0.0) is False


def test_a_job_that_ran_in_between_is_not_made_anew(queue: DownloadQueue) -> None:
    queue.ensure(A, 0.0)
    job = take(queue, A)
    assert queue.ensure(A, 0.0) is False
    job.worker_name = worker_name(1)
    job.save()
    job.set_status(JobStatus.STARTED)
    assert queue.ensure(A, 0.0) is False
    # Told to stop for now, it went back to the queue, and was taken again.
    job.set_status(JobStatus.QUEUED)
    assert queue.ensure(A, 0.0) is False


@pytest.mark.parametrize("status", [JobStatus.FINISHED, JobStatus.FAILED])
def test_a_job_made_anew_leaves_no_trace_of_the_old_one(status: JobStatus, queue: DownloadQueue) -> None:
    queue.ensure(A, 0.0)
    end(queue, A, status)
    queue.ensure(A, time.time() + 1)
    for registry in (FailedJobRegistry, FinishedJobRegistry, StartedJobRegistry):
        assert registry(queue=queue.queue).get_job_ids() == []


def test_a_queue_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    client = redis_client(load({"STATE_DIR": str(tmp_path)}))
    with pytest.raises(QueueUnavailable, match="does not answer"):
        DownloadQueue(client).ensure(A, 0.0)
    client.close()


def test_this_process_is_alive() -> None:
    assert is_alive(worker_name(3))


def test_a_process_that_ended_is_not_alive() -> None:
    assert not is_alive(dead_worker())


def test_another_process_under_a_pid_that_was_used_again_is_not_the_worker() -> None:
    assert not is_alive(f"worker-1-{os.getpid()}-1")


def test_a_process_that_never_was_is_not_alive() -> None:
    # Above the kernel's highest pid.
    assert not is_alive(f"worker-1-{2**22 + 1}-None")


@pytest.mark.parametrize(
    "name", ["", "worker", "worker-1", "worker-1-x-2", "worker-1--1-2", "a-b-c-d", "worker-1-1-", "worker-1-²-2"]
)
def test_a_name_that_is_no_workers_is_nobody_alive(name: str) -> None:
    assert not is_alive(name)
