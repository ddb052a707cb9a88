"""Two pods that share a volume: two processes, each with a name of its own."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from services import journal
from services.downloads import fetcher as fetchers
from services.downloads import lease as leases
from services.downloads.lease import Holder, Lease
from services.errors import DownloadFailed, DownloadStopped
from services.progress import FileProgress
from services.workspace import Workspace
from tests.fakes.model_host import ModelHost
from tests.services.downloads.scene import (
    MIB,
    PATH,
    Watcher,
    artifact,
    fetcher_for,
    left_behind,
    model,
    target_of,
)

DATA = model(6 * MIB)
# How long these pods wait for each other.
BEAT_SECONDS = 0.2
STALE_SECONDS = 3.0

# Fetches what its arguments name, and says how it ended.
_PROGRAM = f"""
import sys
from pathlib import Path
from services.downloads import fetcher, lease, transfer
from services.errors import DownloadFailed
from services.workspace import Workspace
from tests.services.downloads.scene import Watcher, artifact, fetcher_for, model

lease.BEAT_SECONDS = fetcher.BEAT_SECONDS = {BEAT_SECONDS}
lease.STALE_SECONDS = {STALE_SECONDS}
fetcher.LEASE_WAIT_SECONDS = {BEAT_SECONDS + STALE_SECONDS}
root, url, pod, size = sys.argv[1:]
print("begins", flush=True)
try:
    fetcher_for(Workspace(Path(root)), Watcher(), pod=pod).fetch(artifact(url, model(int(size))))
except DownloadFailed as failure:
    print(failure.message)
else:
    print("fetched")
"""


class Pod:
    def __init__(self, name: str, workspace: Workspace, url: str) -> None:
        arguments = [str(workspace.root), url, name, str(len(DATA))]
        self.process = subprocess.Popen([sys.executable, "-c", _PROGRAM, *arguments], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "begins\n"

    def said(self) -> str:
        return self.process.communicate(timeout=60)[0].splitlines()[-1]


@pytest.fixture(autouse=True)
def _short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetchers, "BEAT_SECONDS", BEAT_SECONDS)
    monkeypatch.setattr(fetchers, "LEASE_WAIT_SECONDS", BEAT_SECONDS + STALE_SECONDS)
    monkeypatch.setattr(leases, "STALE_SECONDS", STALE_SECONDS)


@pytest.fixture
def other(workspace: Workspace, model_host: ModelHost) -> Iterator[Pod]:
    """Another pod that is at it, slowly."""
    pod = Pod("other", workspace, model_host.add(PATH, DATA, throttle=0.5 * MIB, max_connections=1))
    until = time.monotonic() + 30
    while model_host.bytes_sent(PATH) < MIB // 2:
        assert time.monotonic() < until, "the other pod fetches nothing"
        time.sleep(0.01)
    yield pod
    pod.process.kill()
    pod.process.wait()
    assert pod.process.stdout is not None
    pod.process.stdout.close()


def test_one_pod_fetches_and_the_other_says_so(
    other: Pod, workspace: Workspace, watcher: Watcher, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.url(PATH), DATA)
    with pytest.raises(DownloadFailed, match="is being downloaded already, by another pod") as caught:
        fetcher_for(workspace, watcher, pod="ours").fetch(wanted)
    assert not caught.value.permanent
    assert {report.state for report in watcher.reports} == {"queued"}
    model_host.behave(PATH, throttle=None)
    assert other.said() == "fetched"
    assert target_of(workspace, wanted).read_bytes() == DATA
    assert model_host.bytes_sent(PATH) == len(DATA)
    assert left_behind(workspace) == ["model.safetensors"]


def test_another_process_of_the_same_pod_is_only_given_time_to_end(
    other: Pod, workspace: Workspace, watcher: Watcher, model_host: ModelHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetchers, "ENDING_SECONDS", 0.3)
    with pytest.raises(DownloadFailed, match="is being downloaded already, by another worker"):
        fetcher_for(workspace, watcher, pod="other").fetch(artifact(model_host.url(PATH), DATA))
    assert {report.state for report in watcher.reports} == {"queued"}


def test_what_the_other_pod_finished_meanwhile_is_taken(
    other: Pod, workspace: Workspace, watcher: Watcher, model_host: ModelHost
) -> None:
    model_host.behave(PATH, throttle=None)
    assert other.said() == "fetched"
    wanted = artifact(model_host.url(PATH), DATA)
    assert fetcher_for(workspace, watcher, pod="ours").fetch(wanted).sha256 == wanted.sha256
    assert model_host.bytes_sent(PATH) == len(DATA)


def test_what_a_dead_pod_left_is_gone_on_with_once_its_lease_is_old(
    other: Pod, workspace: Workspace, watcher: Watcher, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.url(PATH), DATA)
    until = time.monotonic() + 30
    while not journal.bytes_kept(target_of(workspace, wanted), wanted.url):
        assert time.monotonic() < until, "the other pod keeps nothing"
        time.sleep(0.01)
    other.process.kill()
    other.process.wait()
    kept = journal.bytes_kept(target_of(workspace, wanted), wanted.url)
    model_host.behave(PATH, throttle=None)
    before, started = model_host.bytes_sent(PATH), time.monotonic()
    fetcher_for(workspace, watcher, pod="ours").fetch(wanted)
    assert time.monotonic() - started > STALE_SECONDS / 2
    assert target_of(workspace, wanted).read_bytes() == DATA
    assert model_host.bytes_sent(PATH) - before <= len(DATA) - kept + MIB
    assert left_behind(workspace) == ["model.safetensors"]


def test_a_dead_process_of_the_same_pod_is_not_waited_for(
    other: Pod, workspace: Workspace, watcher: Watcher, model_host: ModelHost
) -> None:
    other.process.kill()
    other.process.wait()
    model_host.behave(PATH, throttle=None)
    wanted = artifact(model_host.url(PATH), DATA)
    fetcher_for(workspace, watcher, pod="other").fetch(wanted)
    assert "queued" not in {report.state for report in watcher.reports}
    assert target_of(workspace, wanted).read_bytes() == DATA


def test_waiting_for_another_pod_can_be_stopped(workspace: Workspace, watcher: Watcher, model_host: ModelHost) -> None:
    wanted = artifact(model_host.add(PATH, DATA), DATA)
    Lease(journal.lease_file(target_of(workspace, wanted)), "other", "1-1").take()
    watcher.stop_when = lambda _: True
    with pytest.raises(DownloadStopped):
        fetcher_for(workspace, watcher, pod="ours").fetch(wanted)


def test_a_holder_that_lost_its_lease_publishes_nothing(
    workspace: Workspace, watcher: Watcher, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.add(PATH, DATA, throttle=8.0 * MIB), DATA)
    path = journal.lease_file(target_of(workspace, wanted))

    def take_over(progress: FileProgress) -> None:
        if progress.bytes_done:
            path.unlink()
            Lease(path, "other", "1-1").take()
            watcher.on_report = lambda _: None

    watcher.on_report = take_over
    with pytest.raises(DownloadFailed, match="taken over by another pod") as caught:
        fetcher_for(workspace, watcher, pod="ours").fetch(wanted)
    assert not caught.value.permanent
    assert not target_of(workspace, wanted).exists()
    assert holder_of(path) == "other"


def test_a_holder_that_lost_its_lease_asks_no_mirror(
    workspace: Workspace, watcher: Watcher, model_host: ModelHost
) -> None:
    mirror = model_host.add("/mirror", DATA)
    url = model_host.add(PATH, DATA, throttle=1.0 * MIB, max_connections=1)
    wanted = artifact(url, DATA, mirrors=(mirror,))
    path = journal.lease_file(target_of(workspace, wanted))

    def take_over(progress: FileProgress) -> None:
        if progress.bytes_done:
            path.unlink()
            Lease(path, "other", "1-1").take()
            watcher.on_report = lambda _: None

    watcher.on_report = take_over
    with pytest.raises(DownloadFailed, match="taken over by another pod"):
        fetcher_for(workspace, watcher, pod="ours").fetch(wanted)
    assert "/mirror" not in {request.path for request in model_host.requests}


def holder_of(path: Path) -> str:
    return msgspec.json.decode(path.read_bytes(), type=Holder).pod
