"""Processes that are stopped for so long that the others take them for dead, and then go on."""

import contextlib
import hashlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.artifacts import Artifact
from services.downloads.lease import STALE_SECONDS
from services.jobs import SILENT_SECONDS
from services.presets import Preset
from services.verified import VerifiedFiles
from tests.fakes.model_host import ModelHost
from tests.faults.pod import Pod, content, wait_for

MIB = 1024 * 1024
SIZE = 64 * MIB
DATA = content(SIZE, 5)
# A minute for the file: it is far from its end when they wake up.
LINE_BYTES_PER_SECOND = MIB // 16
# Whoever finds a file in other hands looks again after a minute.
END_SECONDS = 100.0

pytestmark = pytest.mark.long


@contextlib.contextmanager
def asleep(pids: list[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@pytest.fixture
def file(model_host: ModelHost) -> Artifact:
    url = model_host.add("/a", DATA, throttle=LINE_BYTES_PER_SECOND)
    return Artifact(url, "checkpoints", "a.ckpt", SIZE, hashlib.sha256(DATA).hexdigest())


def begin(pod: Pod, host: ModelHost, file: Artifact) -> None:
    pod.ask_for(Preset("P", "p", "image", "", (file,)))
    wait_for(lambda: host.bytes_sent("/a") > 4 * MIB, "the first bytes", 60)


def wait_until_installed(pod: Pod, file: Artifact) -> None:
    wait_for(lambda: file.id in VerifiedFiles(pod.workspace).holding_for([file]), "the file", END_SECONDS)
    assert pod.file_of(file).read_bytes() == DATA
    wait_for(lambda: [entry.name for entry in pod.file_of(file).parent.iterdir()] == ["a.ckpt"], "order", 5)


def test_a_worker_that_is_taken_for_dead_while_its_job_runs_is_no_harm(
    tmp_path: Path, model_host: ModelHost, file: Artifact
) -> None:
    with Pod(tmp_path, workers=2) as pod:
        begin(pod, model_host, file)
        with asleep([pod.pid_of("worker-1"), pod.pid_of("worker-2")]):
            time.sleep(SILENT_SECONDS + 10)
        model_host.behave("/a", throttle=None)
        wait_until_installed(pod, file)
    assert model_host.bytes_sent("/a") < SIZE + 4 * MIB


def test_a_job_that_is_taken_for_dead_and_wakes_up_is_no_harm(
    tmp_path: Path, model_host: ModelHost, file: Artifact
) -> None:
    with Pod(tmp_path, workers=2) as pod:
        begin(pod, model_host, file)
        with asleep(pod.job_pids()):
            time.sleep(SILENT_SECONDS + 10)
        model_host.behave("/a", throttle=None)
        wait_until_installed(pod, file)


def test_what_a_pod_took_over_from_one_that_slept_is_not_spoilt_when_that_wakes_up(
    tmp_path: Path, model_host: ModelHost, file: Artifact
) -> None:
    with Pod(tmp_path) as sleeper, Pod(tmp_path) as other:
        begin(sleeper, model_host, file)
        busy = next(pod for pod in (sleeper, other) if pod.job_pids())
        awake = other if busy is sleeper else sleeper
        sent = model_host.bytes_sent("/a")
        with asleep([busy.pid_of("worker-1"), *busy.job_pids()]):
            wait_for(lambda: bool(awake.job_pids()), "the other pod to try", 60 + STALE_SECONDS)
            wait_for(lambda: model_host.bytes_sent("/a") > sent + 8 * MIB, "the other pod to take over", 60)
        time.sleep(2)
        model_host.behave("/a", throttle=None)
        wait_until_installed(other, file)
