"""Downloads go on: after the worker, Redis, or everything at once was killed."""

import hashlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from services.artifacts import model_id
from services.downloads.fetcher import CHECKPOINT_BYTES
from tests.fakes.model_host import ModelHost
from tests.running import RunningSuite

SIZE = 48 * 1024 * 1024
# Of each connection, of which there may be sixteen.
SPEED = 512 * 1024
NAME = "big.ckpt"
NewSuite = Callable[..., RunningSuite]


@pytest.fixture(scope="module")
def content() -> bytes:
    return random.Random(7).randbytes(SIZE)


def begin(suite: RunningSuite, host: ModelHost, content: bytes, **behaviour: Any) -> None:
    """Starts the download and returns when a third of it is there; the rest takes a minute."""
    url = host.add("/big", content, **{"throttle": SPEED, **behaviour})
    digest = hashlib.sha256(content).hexdigest()
    file = {"url": url, "folder": "checkpoints", "name": NAME, "size_bytes": len(content), "sha256": digest}
    suite.add_preset({"id": "BIG", "name": "Big", "kind": "image", "description": "Large.", "files": [file]})
    with suite.client() as client:
        assert client.post("/api/presets/BIG/install").status_code == 202
        suite.wait_for(lambda: status(client)["progress"] > 33, "a third of the download")
    host.behave("/big", throttle=SPEED / 16)


def status(client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/api/presets/BIG/status").json()
    return found


def finish(suite: RunningSuite, host: ModelHost, content: bytes) -> None:
    """Waits for the rest and checks that it is right, and that little was fetched twice."""
    host.behave("/big", throttle=None)
    with suite.client() as client:
        suite.wait_for(lambda: status(client)["state"] == "installed", "the download to end", 60)
    file = suite.workspace / "models" / "checkpoints" / NAME
    assert hashlib.sha256(file.read_bytes()).digest() == hashlib.sha256(content).digest()
    assert list(file.parent.iterdir()) == [file]
    # What a killed connection had on its way counts as sent too: buffers of a few MiB.
    assert host.bytes_sent("/big") < SIZE + CHECKPOINT_BYTES + 12 * 1024 * 1024


def test_a_killed_worker_takes_nothing_with_it(new_suite: NewSuite, model_host: ModelHost, content: bytes) -> None:
    suite = new_suite().start()
    begin(suite, model_host, content)
    with suite.redis() as redis:
        busy = next(
            key.decode() for key in redis.scan_iter("rq:worker:*", _type="hash") if redis.hget(key, "state") == b"busy"
        )
    os.kill(int(busy.rsplit("-", 2)[1]), signal.SIGKILL)
    finish(suite, model_host, content)


def test_a_killed_job_process_takes_nothing_with_it(new_suite: NewSuite, model_host: ModelHost, content: bytes) -> None:
    suite = new_suite(DOWNLOAD_WORKERS="1").start()
    begin(suite, model_host, content)
    worker = suite.pid_of("worker-1")
    job_process = next(pid for pid in suite.pids() if pid != worker and _parent(pid) == worker)
    os.kill(job_process, signal.SIGKILL)
    finish(suite, model_host, content)


def test_everything_may_be_killed_and_started_again(new_suite: NewSuite, model_host: ModelHost, content: bytes) -> None:
    suite = new_suite().start()
    begin(suite, model_host, content)
    suite.kill_everything()
    suite.start()
    finish(suite, model_host, content)


def test_a_new_container_without_redis_data_goes_on(new_suite: NewSuite, model_host: ModelHost, content: bytes) -> None:
    suite = new_suite().start()
    begin(suite, model_host, content)
    suite.kill_everything()
    shutil.rmtree(suite.state)
    suite.start()
    finish(suite, model_host, content)


def test_redis_may_go_away_for_a_while(new_suite: NewSuite, model_host: ModelHost, content: bytes) -> None:
    suite = new_suite().start()
    begin(suite, model_host, content)
    suite.supervisorctl("stop", "suite:redis")
    time.sleep(1)
    suite.supervisorctl("start", "suite:redis")
    finish(suite, model_host, content)
    suite.wait_for(lambda: states_of_workers(suite) == ["RUNNING", "RUNNING"], "every worker to run again", 60)


def test_a_worker_that_ends_by_itself_is_started_again(new_suite: NewSuite) -> None:
    suite = new_suite(DOWNLOAD_WORKERS="1").start()
    suite.wait_for(lambda: states_of_workers(suite) == ["RUNNING"], "the worker to run")
    with suite.redis() as redis:
        suite.wait_for(lambda: redis.scard("rq:workers"), "the worker to be known")
        before = suite.pid_of("worker-1")
        # RQ takes a queue of another type for the end of its work, and ends with 0.
        redis.set("rq:queue:downloads", "no list")
        redis.client_kill_filter(_type="normal", skipme=True)
        suite.wait_for(lambda: suite.pid_of("worker-1") != before, "the worker to end", 60)
        redis.delete("rq:queue:downloads")
    suite.wait_for(lambda: states_of_workers(suite) == ["RUNNING"], "the worker to run again", 60)


def test_stopping_is_quick_and_the_next_start_goes_on(
    new_suite: NewSuite, model_host: ModelHost, content: bytes
) -> None:
    suite = new_suite().start()
    begin(suite, model_host, content)
    pids = suite.pids()
    assert suite.stop(signal.SIGINT) < 15
    suite.wait_for_no_process(pids)
    assert (suite.workspace / "models" / "checkpoints" / f"{NAME}.part.json").exists()
    suite.start()
    finish(suite, model_host, content)


def test_stopping_is_quick_while_the_host_says_nothing(
    new_suite: NewSuite, model_host: ModelHost, content: bytes
) -> None:
    suite = new_suite().start()
    begin(suite, model_host, content, stall_after=SIZE // 2)
    time.sleep(2)
    pids = suite.pids()
    assert suite.stop() < 15
    suite.wait_for_no_process(pids)
    model_host.behave("/big", stall_after=None)
    suite.start()
    finish(suite, model_host, content)


def test_a_cancelled_download_stops_stays_cancelled_and_resumes_when_asked(
    new_suite: NewSuite, model_host: ModelHost, content: bytes
) -> None:
    suite = new_suite().start()
    begin(suite, model_host, content)
    with suite.client() as client:
        assert client.delete("/api/downloads/BIG").json() == {"cancelled": [model_id("checkpoints", NAME)]}
        suite.wait_for(lambda: status(client)["state"] == "cancelled", "the cancellation", 60)
        time.sleep(1)
        sent = model_host.bytes_sent("/big")
        suite.stop()
        suite.start()
        time.sleep(6)
        assert model_host.bytes_sent("/big") == sent
    with suite.client() as client:
        assert status(client)["state"] == "cancelled"
        assert client.post("/api/presets/BIG/install").status_code == 202
    finish(suite, model_host, content)


def test_uninstalling_in_the_middle_leaves_nothing(new_suite: NewSuite, model_host: ModelHost, content: bytes) -> None:
    suite = new_suite().start()
    begin(suite, model_host, content)
    with suite.client() as client:
        answer = client.delete("/api/presets/BIG")
        assert answer.status_code == 200, answer.text
        assert status(client)["state"] == "available"
    time.sleep(1)
    assert list((suite.workspace / "models" / "checkpoints").iterdir()) == []


def states_of_workers(suite: RunningSuite) -> list[str]:
    lines = suite.supervisorctl("status").splitlines()
    return [line.split()[1] for line in lines if line.startswith("suite:worker-")]


def _parent(pid: int) -> int:
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        return int(stat.read().rpartition(")")[2].split()[1])
