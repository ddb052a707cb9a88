import os
import time

import pytest

from services.verified import Verified, VerifiedFiles
from services.verified_summary import VerifiedSummary
from services.workspace import Workspace
from tests.fakes.faulty_volume import MountedVolume

RECORD = Verified("loras", "a.ckpt", 1, 2, "1" * 64, "sha256")
OTHER = Verified("vae", "b.ckpt", 3, 4, "2" * 64, "size")
HOUR_AGO = time.time() - 3600


def settle(workspace: Workspace) -> None:
    """As if the last record had come an hour ago."""
    os.utime(workspace.config / "verified", (HOUR_AGO, HOUR_AGO))


def started(workspace: Workspace) -> VerifiedSummary:
    return VerifiedSummary(workspace, VerifiedFiles(workspace))


@pytest.fixture
def kept(workspace: Workspace) -> Workspace:
    """A workspace with one record, and the summary of it."""
    VerifiedFiles(workspace).put(RECORD)
    settle(workspace)
    started(workspace).keep()
    return workspace


def records(workspace: Workspace) -> set[Verified]:
    return set(started(workspace).all().values())


def test_records_are_known_without_opening_them(kept: Workspace) -> None:
    [file] = (kept.config / "verified").iterdir()
    file.write_bytes(b"in place, which nobody does")
    assert records(kept) == {RECORD}


def test_a_new_record_is_seen(kept: Workspace) -> None:
    VerifiedFiles(kept).put(OTHER)
    assert records(kept) == {RECORD, OTHER}


def test_a_record_that_is_gone_is_gone(kept: Workspace) -> None:
    [file] = (kept.config / "verified").iterdir()
    VerifiedFiles(kept).delete(file.stem)
    assert records(kept) == set()


def test_a_summary_is_made_anew_when_records_changed(kept: Workspace) -> None:
    VerifiedFiles(kept).put(OTHER)
    settle(kept)
    os.utime(kept.config / "verified", (HOUR_AGO + 1, HOUR_AGO + 1))
    summary = started(kept)
    summary.keep()
    for file in (kept.config / "verified").iterdir():
        file.write_bytes(b"in place, which nobody does")
    assert records(kept) == set(summary.all().values()) == {RECORD, OTHER}


def test_records_that_changed_just_now_are_not_summed_up(workspace: Workspace) -> None:
    # Another one may come under the same time stamp.
    VerifiedFiles(workspace).put(RECORD)
    started(workspace).keep()
    assert not (workspace.config / "verified.json").exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 10_000, b'{"mtime_ns": 1, "records": {"a": 1}}'])
def test_a_summary_nobody_can_read_is_no_summary(content: bytes, kept: Workspace) -> None:
    (kept.config / "verified.json").write_bytes(content)
    assert records(kept) == {RECORD}


def test_without_records_there_is_nothing_to_sum_up(workspace: Workspace) -> None:
    (workspace.config / "verified").rmdir()
    started(workspace).keep()
    assert records(workspace) == set()


def test_a_volume_that_takes_no_summary_is_read_all_the_same(faulty_volume: MountedVolume) -> None:
    workspace = Workspace(faulty_volume.root)
    (workspace.config / "verified").mkdir(parents=True)
    VerifiedFiles(workspace).put(RECORD)
    settle(workspace)
    faulty_volume.fault("read_only")
    summary = started(workspace)
    summary.keep()
    assert set(summary.all().values()) == {RECORD}


def test_a_pipe_in_place_of_the_summary_is_not_waited_for(kept: Workspace) -> None:
    (kept.config / "verified.json").unlink()
    os.mkfifo(kept.config / "verified.json")
    assert records(kept) == {RECORD}
