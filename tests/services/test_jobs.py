import datetime
import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.connection import AbstractConnection
from rq import Queue, Worker
from rq.job import Job, JobStatus
from rq.registry import FailedJobRegistry, FinishedJobRegistry, StartedJobRegistry
from rq.serializers import JSONSerializer

from services.artifacts import Artifact
from services.connections import redis_client
from services.errors import QueueUnavailable
from services.jobs import (
    FAILED_SECONDS,
    FETCH,
    QUEUE_NAME,
    SILENT_SECONDS,
    TAKING_SECONDS,
    DownloadQueue,
    is_alive,
    worker_name,
)
from services.settings import Settings, load

A = Artifact("https://example.com/a", "checkpoints", "a.safetensors", size_bytes=100, sha256="0" * 64)
B = Artifact("https://example.com/b", "vae", "b.safetensors")
C = Artifact("https://example.com/c", "loras", "c.safetensors", mirrors=("https://example.net/c",))


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


def start(queue: DownloadQueue, artifact: Artifact, worker: str, *, silent_seconds: float = 0.0) -> Job:
    job = take(queue, artifact)
    job.worker_name = worker
    job.last_heartbeat = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=silent_seconds)
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


def test_a_job_names_the_mirrors_where_there_are_any(queue: DownloadQueue) -> None:
    queue.ensure(C, 0.0)
    assert job_of(queue, C).kwargs["mirrors"] == ["https://example.net/c"]


def test_many_artifacts_get_their_jobs_in_their_order(queue: DownloadQueue) -> None:
    queue.ensure(B, 0.0)
    assert queue.ensure_all([(A, 0.0), (B, 0.0), (C, 0.0)], time.time()) == [A, C]
    assert queue.queue.job_ids == [f"download-{file.id}" for file in (B, A, C)]


def test_many_artifacts_cost_few_requests(queue: DownloadQueue) -> None:
    files = [Artifact("https://example.com/x", "loras", str(number)) for number in range(100)]
    sent = []
    send = AbstractConnection.send_packed_command

    def counting(self: AbstractConnection, *arguments: Any, **options: Any) -> None:
        sent.append(arguments)
        send(self, *arguments, **options)  # type: ignore[no-untyped-call]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AbstractConnection, "send_packed_command", counting)
        assert len(queue.ensure_all([(file, 0.0) for file in files], time.time())) == 100
        assert queue.ensure_all([(file, 0.0) for file in files], time.time()) == []
        assert queue.arrange(files) is False
    assert 0 < len(sent) < 20


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


def test_a_job_whose_worker_lives_and_does_not_run_it_is_made_anew(queue: DownloadQueue) -> None:
    # A Redis that lost its last second does not know that it ended.
    queue.ensure(A, 0.0)
    start(queue, A, worker_name(1), silent_seconds=SILENT_SECONDS + 1)
    assert queue.ensure(A, 0.0) is True
    assert queue.queue.job_ids == [f"download-{A.id}"]


def test_a_finished_job_can_be_asked_for_again(queue: DownloadQueue) -> None:
    queue.ensure(A, 0.0)
    end(queue, A, JobStatus.FINISHED)
    assert queue.ensure(A, 0.0) is True
    assert queue.queue.count == 1


def test_what_came_in_since_it_was_seen_missing_is_not_fetched_again(queue: DownloadQueue) -> None:
    seen_at = time.time()
    queue.ensure(A, 0.0)
    end(queue, A, JobStatus.FINISHED)
    assert queue.ensure_all([(A, 0.0)], seen_at - 1) == []
    assert queue.ensure_all([(A, 0.0)], time.time() + 1) == [A]


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


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: self._now)

    def pass_(self, seconds: float) -> None:
        self._now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_job_that_was_taken_and_never_started_is_made_anew(queue: DownloadQueue, clock: Clock) -> None:
    queue.ensure(A, 0.0)
    take(queue, A)
    assert queue.ensure(A, 0.0) is False
    clock.pass_(TAKING_SECONDS + 1)
    assert queue.ensure(A, 0.0) is True
    assert queue.queue.count == 1


def test_a_job_that_was_just_taken_is_left_alone_however_often_one_looks(queue: DownloadQueue) -> None:
    queue.ensure(A, 0.0)
    take(queue, A)
    # A worker may just be about to say that it has it.
    assert [queue.ensure(A, 0.0) for _ in range(3)] == [False, False, False]


def test_a_job_that_was_seen_again_in_between_is_not_made_anew(queue: DownloadQueue, clock: Clock) -> None:
    queue.ensure(A, 0.0)
    job = take(queue, A)
    assert queue.ensure(A, 0.0) is False
    queue.queue.push_job_id(job.id)
    clock.pass_(TAKING_SECONDS + 1)
    assert queue.ensure(A, 0.0) is False
    take(queue, A)
    assert queue.ensure(A, 0.0) is False


def test_a_job_that_ran_in_between_is_not_made_anew(queue: DownloadQueue, clock: Clock) -> None:
    queue.ensure(A, 0.0)
    job = take(queue, A)
    assert queue.ensure(A, 0.0) is False
    job.worker_name = worker_name(1)
    job.save()
    job.set_status(JobStatus.STARTED)
    clock.pass_(TAKING_SECONDS + 1)
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


def waiting(queue: DownloadQueue) -> list[str]:
    names = {f"download-{file.id}": file.name[0] for file in (A, B, C)}
    return [names[id_] for id_ in queue.queue.job_ids]


def test_what_waits_is_arranged(queue: DownloadQueue) -> None:
    queue.ensure_all([(A, 0.0), (B, 0.0), (C, 0.0)], time.time())
    assert queue.arrange([C, A, B]) is True
    assert waiting(queue) == ["c", "a", "b"]


def test_arranging_twice_is_arranging_once(queue: DownloadQueue) -> None:
    queue.ensure_all([(A, 0.0), (B, 0.0)], time.time())
    assert [queue.arrange([B, A]), queue.arrange([B, A])] == [True, False]


def test_jobs_that_an_order_does_not_name_come_last(queue: DownloadQueue) -> None:
    queue.ensure_all([(A, 0.0), (B, 0.0), (C, 0.0)], time.time())
    assert queue.arrange([C]) is True
    assert waiting(queue) == ["c", "a", "b"]


def test_arranging_brings_back_nothing_that_runs(queue: DownloadQueue) -> None:
    queue.ensure_all([(A, 0.0), (B, 0.0), (C, 0.0)], time.time())
    start(queue, A, worker_name(1))
    queue.arrange([C, B, A])
    assert waiting(queue) == ["c", "b"]
    assert job_of(queue, A).get_status() == JobStatus.STARTED


def test_a_worker_that_takes_a_job_while_it_is_arranged_keeps_it(
    queue: DownloadQueue, connection: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.ensure_all([(A, 0.0), (B, 0.0), (C, 0.0)], time.time())
    pipeline_of = connection.pipeline

    def pipeline(*arguments: object) -> object:
        made = pipeline_of(*arguments)
        made.lrange = lambda *_: (list(map(str.encode, queue.queue.job_ids)), take(queue, A))[0]  # type: ignore[method-assign, assignment]
        return made

    monkeypatch.setattr(connection, "pipeline", pipeline)
    assert queue.arrange([C, B, A]) is False
    monkeypatch.undo()
    assert waiting(queue) == ["b", "c"]


def register(connection: redis.Redis, name: str) -> Worker:
    worker = Worker([Queue(QUEUE_NAME, connection=connection)], name=name, connection=connection)
    worker.register_birth()  # type: ignore[no-untyped-call]
    return worker


def test_workers_that_are_dead_are_forgotten(queue: DownloadQueue, connection: redis.Redis) -> None:
    dead = dead_worker()
    for name in (dead, worker_name(1)):
        register(connection, name)
    assert queue.clean_up() == [dead]
    assert [worker.name for worker in Worker.all(connection)] == [worker_name(1)]
    assert [worker.name for worker in Worker.all(queue=queue.queue)] == [worker_name(1)]
    assert queue.clean_up() == []


def begin(queue: DownloadQueue, connection: redis.Redis, artifact: Artifact, name: str) -> Job:
    """As the worker called `name` does."""
    job = take(queue, artifact)
    worker = register(connection, name)
    worker.prepare_execution(job)
    worker.prepare_job_execution(job)
    return job


def test_what_a_dead_worker_was_at_is_forgotten_with_it(queue: DownloadQueue, connection: redis.Redis) -> None:
    queue.ensure_all([(A, 0.0), (B, 0.0)], time.time())
    begin(queue, connection, A, dead_worker())
    running = begin(queue, connection, B, worker_name(1))
    queue.clean_up()
    assert queue.queue.started_job_registry.get_job_ids(cleanup=False) == [running.id]
    assert queue.ensure_all([(A, 0.0), (B, 0.0)], time.time()) == [A]


def test_a_job_made_anew_is_not_taken_for_one_that_got_stuck(
    queue: DownloadQueue, connection: redis.Redis, clock: Clock
) -> None:
    queue.ensure(A, 0.0)
    take(queue, A)
    connection.rpush(queue.queue.intermediate_queue_key, f"download-{A.id}")
    queue.ensure(A, 0.0)
    clock.pass_(TAKING_SECONDS + 1)
    assert queue.ensure(A, 0.0) is True
    assert queue.queue.intermediate_queue.get_job_ids() == []


@pytest.mark.parametrize(
    "ask", [lambda queue: queue.ensure(A, 0.0), lambda queue: queue.arrange([A]), lambda queue: queue.clean_up()]
)
def test_a_queue_that_is_not_there_is_unavailable(tmp_path: Path, ask: Callable[[DownloadQueue], object]) -> None:
    client = redis_client(load({"STATE_DIR": str(tmp_path)}))
    with pytest.raises(QueueUnavailable, match="does not answer"):
        ask(DownloadQueue(client))
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
