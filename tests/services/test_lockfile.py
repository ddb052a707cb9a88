import json
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.lockfile import MAX_BYTES, Fact, LockFile
from services.workspace import Workspace
from tests.fakes.faulty_volume import MountedVolume
from tests.services.at_once import run_twice_at_once

A = Fact("https://models.example/a.safetensors", 5, "ab" * 32, None, '"tag"', 1000.5)
B = Fact("https://huggingface.co/o/r/resolve/main/b.gguf", 7, "cd" * 32, "ef" * 20, None, 2000.0)


def file_of(workspace: Workspace) -> Path:
    return workspace.config / "presets.lock.json"


def test_what_was_put_is_there_for_the_next_pod(workspace: Workspace) -> None:
    LockFile(workspace).put([A, B])
    assert LockFile(workspace).all() == {A.url: A, B.url: B}


def test_the_file_is_for_people_as_well(workspace: Workspace) -> None:
    LockFile(workspace).put([A, B])
    text = file_of(workspace).read_text()
    assert json.loads(text) == {
        "files": {
            B.url: {"size_bytes": 7, "sha256": B.sha256, "commit": B.commit, "at": 2000.0},
            A.url: {"size_bytes": 5, "sha256": A.sha256, "etag": A.etag, "at": 1000.5},
        }
    }
    assert text.index(B.url) < text.index(A.url)
    assert text.count("\n") > 10


def test_what_another_pod_added_meanwhile_stays(workspace: Workspace) -> None:
    one, other = LockFile(workspace), LockFile(workspace)
    assert one.all() == {}
    other.put([B])
    one.put([A])
    assert other.all() == {A.url: A, B.url: B}


def test_what_was_locked_first_counts(workspace: Workspace) -> None:
    LockFile(workspace).put([A])
    LockFile(workspace).put([Fact(A.url, 6)])
    assert LockFile(workspace).all() == {A.url: A}


def test_what_is_to_be_renewed_is_replaced(workspace: Workspace) -> None:
    LockFile(workspace).put([A])
    LockFile(workspace).put([Fact(A.url, 6)], renew=True)
    assert LockFile(workspace).all() == {A.url: Fact(A.url, 6)}


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"files": {"a": 5}}', b"\xff", b"[" * 100_000, b" " * (MAX_BYTES + 1)]
)
def test_a_file_that_nobody_can_read_is_set_aside(content: bytes, workspace: Workspace) -> None:
    file_of(workspace).write_bytes(content)
    lock = LockFile(workspace)
    assert lock.all() == {}
    assert file_of(workspace).with_name("presets.lock.json.unreadable").read_bytes() == content
    lock.put([A])
    assert LockFile(workspace).all() == {A.url: A}


def test_a_newer_file_with_more_in_it_is_read(workspace: Workspace) -> None:
    file_of(workspace).write_text(json.dumps({"version": 9, "files": {A.url: {"size_bytes": 5, "more": True}}}))
    assert LockFile(workspace).all() == {A.url: Fact(A.url, 5)}


def test_a_folder_in_its_place_stops_nothing(workspace: Workspace) -> None:
    file_of(workspace).mkdir()
    lock = LockFile(workspace)
    lock.put([A])
    assert lock.all() == {A.url: A}


@pytest.mark.parametrize("fault", ["read_only", "full"])
def test_a_volume_that_takes_nothing_leaves_it_in_memory(fault: str, faulty_volume: MountedVolume) -> None:
    workspace = Workspace(faulty_volume.root)
    workspace.config.mkdir()
    lock = LockFile(workspace)
    lock.put([B])
    faulty_volume.fault(fault)
    lock.put([A])
    assert lock.all() == {A.url: A, B.url: B}
    assert LockFile(workspace).all() == {B.url: B}


def test_what_a_volume_did_not_take_is_written_with_what_comes_next(workspace: Workspace) -> None:
    file_of(workspace).mkdir()
    lock = LockFile(workspace)
    lock.put([A])
    file_of(workspace).rmdir()
    lock.put([B])
    assert LockFile(workspace).all() == {A.url: A, B.url: B}


def test_a_signed_address_is_only_remembered(workspace: Workspace) -> None:
    signed = Fact("https://civitai.com/api/download/models/1?token=canary", 5)
    lock = LockFile(workspace)
    lock.put([signed, A])
    assert lock.all() == {A.url: A, signed.url: signed}
    assert "canary" not in file_of(workspace).read_text()


def test_threads_that_put_at_once_lose_nothing(workspace: Workspace) -> None:
    lock = LockFile(workspace)
    facts = [Fact(f"https://models.example/{number}", number) for number in range(1, 41)]
    threads = [threading.Thread(target=lock.put, args=([fact],)) for fact in facts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(LockFile(workspace).all()) == 40


PUT_30 = """
import sys
from pathlib import Path
from services.lockfile import Fact, LockFile
from services.workspace import Workspace

lock, name = LockFile(Workspace(Path(sys.argv[1]))), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for number in range(30):
    lock.put([Fact(f"https://models.example/{name}/{number}", number)])
"""


def test_processes_that_put_at_once_lose_nothing(workspace: Workspace) -> None:
    run_twice_at_once(PUT_30, workspace)
    assert len(LockFile(workspace).all()) == 60


def test_what_is_too_much_for_the_file_stays_in_memory(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.lockfile.MAX_BYTES", 500)
    facts = [Fact(f"https://models.example/{number}", number, "ab" * 32) for number in range(20)]
    lock = LockFile(workspace)
    with capture_logs() as logs:
        for fact in [*facts, B]:
            lock.put([fact])
    assert [line["event"] for line in logs] == ["lock_full"]
    assert lock.all() == {fact.url: fact for fact in [*facts, B]}
    assert file_of(workspace).stat().st_size <= 500
    written = LockFile(workspace).all()
    assert facts[0].url in written
    assert len(written) < 20


def test_a_fact_is_written_although_another_is_too_large(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.lockfile.MAX_BYTES", 500)
    lock = LockFile(workspace)
    lock.put([Fact(f"https://models.example/{'a' * 600}", 5)])
    lock.put([A])
    assert LockFile(workspace).all() == {A.url: A}
