"""The job that fetches one file, run in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from msgspec.structs import replace

from services.artifacts import Artifact
from services.connections import redis_client
from services.credentials import Credentials
from services.errors import DownloadFailed, NotEnoughSpace
from services.installs import Installs
from services.model_folders import KNOWN_FOLDERS
from services.presets import Preset
from services.progress import CHANNEL, FileProgress, ProgressBoard, decode
from services.settings import Secret, Settings, load
from services.verified import VerifiedFiles
from services.workspace import Workspace
from tests.fakes.faulty_volume import MountedVolume, mounted
from tests.fakes.internet import Internet
from tests.fakes.model_host import ModelHost
from worker import downloads

CONTENT = b"x" * 1000


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[MountedVolume]:
    """A workspace that works until `fault` says otherwise."""
    folder = tmp_path / "faulty"
    folder.mkdir()
    with mounted(folder) as made:
        for part in Workspace(made.root).folders(KNOWN_FOLDERS):
            (made.root / part.path).mkdir(parents=True, exist_ok=True)
        yield made


@pytest.fixture
def wanted(
    volume: MountedVolume, settings: Settings, model_host: ModelHost, monkeypatch: pytest.MonkeyPatch
) -> Artifact:
    """A file that the preset P wants; what a job reads of the environment is set."""
    monkeypatch.setenv("WORKSPACE", str(volume.root))
    monkeypatch.setenv("STATE_DIR", str(settings.state_dir))
    monkeypatch.setenv("DOWNLOAD_PRIVATE_HOSTS", "on")
    monkeypatch.setenv("DISK_RESERVE_BYTES", "0")
    artifact = Artifact(model_host.add("/a", CONTENT), "checkpoints", "a.ckpt", size_bytes=len(CONTENT))
    Installs(Workspace(volume.root)).request(Preset("P", "p", "image", "", (artifact,)))
    return artifact


@pytest.fixture
def connection(settings: Settings) -> Iterator[redis.Redis]:
    client = redis_client(settings)
    yield client
    client.close()


def fetch(artifact: Artifact) -> None:
    downloads.fetch(artifact.url, artifact.folder, artifact.name, artifact.size_bytes, artifact.sha256)


def last_word(connection: redis.Redis, artifact: Artifact) -> FileProgress:
    return ProgressBoard(connection).all()[artifact.id]


def test_a_file_that_came_in_is_remembered_as_verified(
    wanted: Artifact, volume: MountedVolume, connection: redis.Redis
) -> None:
    fetch(wanted)
    assert set(VerifiedFiles(Workspace(volume.root)).holding_for([wanted])) == {wanted.id}
    assert last_word(connection, wanted).state == "present"
    assert [file.name for file in (volume.root / "config" / "verified").iterdir()] == [f"{wanted.id}.json"]


def test_a_file_whose_preset_was_cancelled_is_not_fetched(
    wanted: Artifact, volume: MountedVolume, model_host: ModelHost
) -> None:
    Installs(Workspace(volume.root)).cancel("P")
    fetch(wanted)
    assert model_host.requests == []


def test_a_record_that_cannot_be_written_ends_the_job_and_waits(
    wanted: Artifact, volume: MountedVolume, connection: redis.Redis
) -> None:
    # Something else lies where the record belongs.
    (volume.root / "config" / "verified" / f"{wanted.id}.json").mkdir()
    with pytest.raises(DownloadFailed, match="record"):
        fetch(wanted)
    end = last_word(connection, wanted)
    assert end.state == "failed"
    assert "record" in (end.error or "")
    hold = Installs(Workspace(volume.root)).hold(wanted.id)
    assert hold is not None
    assert hold.until is not None


def test_a_finished_file_is_not_hashed_while_its_record_has_no_room(
    wanted: Artifact, volume: MountedVolume, connection: redis.Redis
) -> None:
    (volume.root / "models" / wanted.folder / wanted.name).write_bytes(CONTENT)
    with connection.pubsub(ignore_subscribe_messages=True) as listener:  # type: ignore[no-untyped-call]
        listener.subscribe(CHANNEL)
        listener.get_message(timeout=20)
        volume.fault("full")
        with pytest.raises(NotEnoughSpace):
            fetch(wanted)
        heard = []
        while message := listener.get_message(timeout=0.5):
            heard.append(decode(message["data"]).state)
    assert heard == ["failed"]
    assert "no space left" in (last_word(connection, wanted).error or "")


def test_a_finished_file_is_verified_as_soon_as_there_is_room(wanted: Artifact, volume: MountedVolume) -> None:
    (volume.root / "models" / wanted.folder / wanted.name).write_bytes(CONTENT)
    volume.fault("full")
    with pytest.raises(NotEnoughSpace):
        fetch(wanted)
    volume.fault("none")
    fetch(wanted)
    assert set(VerifiedFiles(Workspace(volume.root)).holding_for([wanted])) == {wanted.id}


def test_a_token_that_was_saved_meanwhile_helps_the_next_try(
    wanted: Artifact, volume: MountedVolume, internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{internet.proxy.port}")
    workspace = Workspace(volume.root)
    gated = replace(wanted, url=internet.hugging_face.add("gated/model", "a.ckpt", CONTENT, gated=True))
    with pytest.raises(DownloadFailed) as caught:
        fetch(gated)
    assert (caught.value.details["kind"], caught.value.details["token"]) == ("gated", "HF_TOKEN")
    Credentials(load({}), workspace).put("huggingface", Secret("knows"))
    Installs(workspace).retry_file(wanted.id)
    fetch(gated)
    assert set(VerifiedFiles(workspace).holding_for([wanted])) == {wanted.id}
