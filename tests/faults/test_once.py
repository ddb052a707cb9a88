"""Whoever wants a file: it is fetched once in a pod, and never spoilt."""

import contextlib
import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services import journal
from services.artifacts import Artifact
from services.presets import Preset
from services.verified import VerifiedFiles
from tests.fakes.model_host import ModelHost
from tests.faults.pod import RESTART_SECONDS, Pod, content, wait_for

MIB = 1024 * 1024
SIZE = 24 * MIB
DATA = content(SIZE, 11)
DIGEST = hashlib.sha256(DATA).hexdigest()


def wanted(host: ModelHost, name: str = "a", **behaviour: float) -> Artifact:
    return Artifact(host.add(f"/{name}", DATA, **behaviour), "checkpoints", f"{name}.ckpt", SIZE, DIGEST)


def preset(id_: str, *files: Artifact) -> Preset:
    return Preset(id_, id_, "image", "", files)


def is_verified(pod: Pod, artifact: Artifact) -> bool:
    return artifact.id in VerifiedFiles(pod.workspace).holding_for([artifact])


def wait_until_verified(pod: Pod, *artifacts: Artifact) -> None:
    wait_for(lambda: all(is_verified(pod, artifact) for artifact in artifacts), "the files", 60)


def test_clicks_and_presets_that_share_a_file_fetch_it_once(tmp_path: Path, model_host: ModelHost) -> None:
    shared, own = wanted(model_host, "shared", throttle=MIB), wanted(model_host, "own", throttle=MIB)
    with Pod(tmp_path, workers=2) as pod:
        for _ in range(3):
            pod.ask_for(preset("P", shared))
            pod.ask_for(preset("Q", shared, own))
            time.sleep(0.3)
        wait_until_verified(pod, shared, own)
        assert pod.file_of(shared).read_bytes() == DATA
    assert model_host.bytes_sent("/shared") == SIZE
    assert model_host.bytes_sent("/own") == SIZE


def test_two_pods_on_one_volume_never_spoil_a_file(tmp_path: Path, model_host: ModelHost) -> None:
    files = [wanted(model_host, name, throttle=2 * MIB) for name in "abc"]
    with Pod(tmp_path) as one, Pod(tmp_path) as other:
        for file in files:
            one.ask_for(preset(file.name[0].upper(), file))
        wait_until_verified(one, *files)
        for pod in (one, other):
            assert [pod.file_of(file).read_bytes() == DATA for file in files] == [True] * 3
    left = sorted(entry.name for entry in (one.workspace.models / "checkpoints").iterdir())
    assert left == ["a.ckpt", "b.ckpt", "c.ckpt"]


@pytest.mark.parametrize("times", [1, 2])
def test_a_worker_that_is_told_to_stop_notes_how_far_it_is_and_goes(
    times: int, tmp_path: Path, model_host: ModelHost
) -> None:
    file = wanted(model_host, throttle=MIB / 2)
    with Pod(tmp_path) as pod:
        pod.ask_for(preset("P", file))
        wait_for(lambda: model_host.bytes_sent("/a") > 4 * MIB, "the first bytes", 30)
        worker = pod.pid_of("worker-1")
        for _ in range(times):
            pod.kill("worker-1", signal.SIGTERM)
            time.sleep(0.1)
        wait_for(lambda: pod.pid_of("worker-1") != worker, "another worker", 30)
        kept = journal.bytes_kept(pod.file_of(file), file.url)
        assert kept > 2 * MIB
        model_host.behave("/a", throttle=None)
        wait_until_verified(pod, file)
    assert model_host.bytes_sent("/a") < SIZE + 4 * MIB


@pytest.mark.long
def test_a_worker_that_is_told_to_stop_is_gone_within_a_second(tmp_path: Path, model_host: ModelHost) -> None:
    # Not among the tests that run beside others: it is a matter of time.
    file = wanted(model_host, throttle=MIB / 2)
    with Pod(tmp_path) as pod:
        pod.ask_for(preset("P", file))
        wait_for(lambda: model_host.bytes_sent("/a") > 4 * MIB, "the first bytes", 30)
        worker = pod.pid_of("worker-1")
        pod.kill("worker-1", signal.SIGTERM)
        took = wait_for(lambda: pod.pid_of("worker-1") != worker, "another worker", 5)
    # Whoever starts the next one looks every 0.2 seconds.
    assert took < 1 + RESTART_SECONDS


def test_a_redis_that_lost_everything_and_was_away_ends_no_download(tmp_path: Path, model_host: ModelHost) -> None:
    file, next_one = wanted(model_host, "a", throttle=MIB), wanted(model_host, "b")
    with Pod(tmp_path) as pod:
        pod.ask_for(preset("P", file))
        pod.ask_for(preset("Q", next_one))
        wait_for(lambda: model_host.bytes_sent("/a") > 4 * MIB, "the first bytes", 30)
        with _kept_down(pod):
            time.sleep(3)
        wait_until_verified(pod, file, next_one)
    assert model_host.bytes_sent("/a") < SIZE + 8 * MIB


@contextlib.contextmanager
def _kept_down(pod: Pod) -> Iterator[None]:
    over = threading.Event()

    def keep_down() -> None:
        while not over.wait(0.05):
            pod.lose_redis_data()

    thread = threading.Thread(target=keep_down)
    thread.start()
    yield
    over.set()
    thread.join()


def test_a_worker_that_sleeps_for_a_while_goes_on(tmp_path: Path, model_host: ModelHost) -> None:
    file = wanted(model_host, throttle=MIB)
    with Pod(tmp_path) as pod:
        pod.ask_for(preset("P", file))
        wait_for(lambda: model_host.bytes_sent("/a") > 4 * MIB, "the first bytes", 30)
        pids = [pod.pid_of("worker-1"), *pod.job_pids()]
        _signal_all(pids, signal.SIGSTOP)
        time.sleep(4)
        _signal_all(pids, signal.SIGCONT)
        wait_until_verified(pod, file)
        assert pod.file_of(file).read_bytes() == DATA


def _signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
