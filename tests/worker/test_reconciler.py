"""What was asked for against what is on disk."""

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from msgspec.structs import replace
from rq import Worker
from rq.job import Job
from rq.serializers import JSONSerializer

from services.artifacts import Artifact
from services.connections import redis_client
from services.errors import DownloadFailed
from services.installs import RETRY_SECONDS, Installs
from services.jobs import DownloadQueue
from services.model_folders import KNOWN_FOLDERS
from services.presets import Preset
from services.schedule import ScheduleRecords
from services.settings import Settings
from services.verified import Verified, VerifiedFiles
from services.workspace import Workspace
from tests.fakes.faulty_volume import MountedVolume, mounted
from worker.reconciler import Reconciler

A = Artifact("https://example.com/a", "checkpoints", "a.safetensors", size_bytes=3)
B = Artifact("https://example.com/b", "vae", "b.safetensors", size_bytes=3)


def preset(id_: str, *files: Artifact) -> Preset:
    return Preset(id=id_, name=id_.lower(), kind="image", description="", files=files)


@pytest.fixture
def connection(settings: Settings) -> Iterator[redis.Redis]:
    client = redis_client(settings)
    yield client
    client.close()


@pytest.fixture
def records(workspace: Workspace) -> Installs:
    return Installs(workspace)


@pytest.fixture
def reconciler(settings: Settings) -> Reconciler:
    return Reconciler(settings)


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[MountedVolume]:
    """A workspace that works until `fault` says otherwise."""
    folder = tmp_path / "faulty"
    folder.mkdir()
    with mounted(folder) as made:
        for part in Workspace(made.root).folders(KNOWN_FOLDERS):
            (made.root / part.path).mkdir(parents=True, exist_ok=True)
        yield made


def bring_in(workspace: Workspace, artifact: Artifact) -> None:
    """As a worker leaves it."""
    file = workspace.model_file(artifact.folder, artifact.name)
    file.write_bytes(b"abc")
    figures = file.stat()
    VerifiedFiles(workspace).put(
        Verified(artifact.folder, artifact.name, figures.st_size, figures.st_mtime_ns, "0" * 64, "size")
    )


def queued(connection: redis.Redis) -> list[str]:
    jobs: list[str] = DownloadQueue(connection).queue.get_job_ids()
    return jobs


def test_what_is_missing_is_enqueued_once(
    reconciler: Reconciler, records: Installs, workspace: Workspace, connection: redis.Redis
) -> None:
    records.request(preset("P", A, B))
    bring_in(workspace, A)
    reconciler.reconcile()
    reconciler.reconcile()
    assert queued(connection) == [f"download-{B.id}"]


def test_a_job_names_everything_a_worker_has_to_know(
    reconciler: Reconciler, records: Installs, connection: redis.Redis
) -> None:
    records.request(preset("P", A))
    reconciler.reconcile()
    job = Job.fetch(f"download-{A.id}", connection=connection, serializer=JSONSerializer)
    assert job.kwargs == {"url": A.url, "folder": A.folder, "name": A.name, "size_bytes": 3, "sha256": None}


def test_an_install_whose_files_are_all_there_is_completed(
    reconciler: Reconciler, records: Installs, workspace: Workspace, connection: redis.Redis
) -> None:
    records.request(preset("P", A))
    bring_in(workspace, A)
    reconciler.reconcile()
    assert records.all()["P"].completed_at == pytest.approx(time.time(), abs=5)
    assert queued(connection) == []


def test_what_was_cancelled_is_not_enqueued(reconciler: Reconciler, records: Installs, connection: redis.Redis) -> None:
    records.request(preset("P", A))
    records.cancel("P")
    records.request(preset("Q", B))
    records.cancel_file(B.id)
    reconciler.reconcile()
    assert queued(connection) == []


def test_a_paused_preset_is_enqueued_when_it_is_resumed(
    reconciler: Reconciler, records: Installs, connection: redis.Redis
) -> None:
    records.request(preset("P", A))
    records.pause("P")
    reconciler.reconcile()
    assert queued(connection) == []
    records.resume("P")
    reconciler.reconcile()
    assert queued(connection) == [f"download-{A.id}"]


def test_what_is_asked_for_while_everything_is_paused_waits_too(
    reconciler: Reconciler, records: Installs, workspace: Workspace, connection: redis.Redis
) -> None:
    ScheduleRecords(workspace).pause()
    records.request(preset("P", A))
    reconciler.reconcile()
    assert queued(connection) == []
    ScheduleRecords(workspace).resume()
    reconciler.reconcile()
    assert queued(connection) == [f"download-{A.id}"]


def test_what_waits_already_follows_another_order(
    reconciler: Reconciler, records: Installs, workspace: Workspace, connection: redis.Redis
) -> None:
    records.request(preset("P", A))
    reconciler.reconcile()
    records.request(preset("Q", B))
    ScheduleRecords(workspace).arrange(("Q", "P"))
    reconciler.reconcile()
    assert queued(connection) == [f"download-{file.id}" for file in (B, A)]
    ScheduleRecords(workspace).arrange(("P",))
    reconciler.reconcile()
    assert queued(connection) == [f"download-{file.id}" for file in (A, B)]


def test_everything_is_enqueued_again_after_redis_lost_it(
    reconciler: Reconciler, records: Installs, connection: redis.Redis
) -> None:
    records.request(preset("P", A, B))
    reconciler.reconcile()
    connection.flushall()
    reconciler.reconcile()
    assert len(queued(connection)) == 2


def test_workers_of_an_earlier_start_are_forgotten(
    reconciler: Reconciler, records: Installs, connection: redis.Redis
) -> None:
    # Above the kernel's highest pid.
    dead = Worker(["downloads"], name=f"worker-1-{2**22 + 1}-5", connection=connection)
    dead.register_birth()  # type: ignore[no-untyped-call]
    records.request(preset("P", A))
    reconciler.reconcile()
    assert Worker.all(connection) == []


def test_a_file_whose_time_has_come_is_tried_again(
    reconciler: Reconciler, records: Installs, connection: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.request(preset("P", A))
    records.fail(A.id, DownloadFailed("HTTP 503", permanent=False))
    reconciler.reconcile()
    assert queued(connection) == []
    later = time.time() + RETRY_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)
    reconciler.reconcile()
    assert queued(connection) == [f"download-{A.id}"]
    assert records.holds() == {}


def test_a_cancel_that_comes_while_a_retry_is_due_is_obeyed(
    reconciler: Reconciler, records: Installs, connection: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.request(preset("P", A))
    records.fail(A.id, DownloadFailed("HTTP 503", permanent=False))
    seen = reconciler._view()
    records.cancel_file(A.id)
    due = {id_: replace(hold, until=1.0) for id_, hold in seen.holds.items()}
    monkeypatch.setattr(reconciler, "_view", lambda: replace(seen, holds=due))
    reconciler.reconcile()
    hold = records.hold(A.id)
    assert hold is not None
    assert hold.reason == "cancelled"
    assert queued(connection) == []


def test_a_full_volume_holds_nothing_up_and_is_made_up_for_later(
    volume: MountedVolume, settings: Settings, connection: redis.Redis
) -> None:
    workspace = Workspace(volume.root)
    records = Installs(workspace)
    reconciler = Reconciler(dataclasses.replace(settings, workspace=volume.root))
    records.request(preset("DONE", A))
    records.request(preset("WAITING", B))
    bring_in(workspace, A)
    volume.fault("full")
    reconciler.go_round()
    assert records.all()["DONE"].completed_at is None
    assert queued(connection) == [f"download-{B.id}"]
    volume.fault("none")
    reconciler.go_round()
    assert records.all()["DONE"].completed_at is not None


def test_a_round_survives_a_queue_that_is_away(
    reconciler: Reconciler, records: Installs, settings: Settings, connection: redis.Redis
) -> None:
    settings.logs_dir.mkdir(parents=True, exist_ok=True)
    (settings.logs_dir / "downloads.log").write_text('{"time": "2026-01-05T00:00:00Z"}\n')
    records.request(preset("P", A))
    connection.shutdown(nosave=True)
    reconciler.go_round()
    assert (settings.logs_dir / "downloads.log.2026-01-05.gz").exists()
