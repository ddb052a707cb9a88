"""A new log every day."""

import gzip
import os
import time
from pathlib import Path

import pytest

from tests.fakes.faulty_volume import mounted
from worker.rotation import rotate_daily

TODAY = time.strftime("%Y-%m-%d", time.gmtime())
OLD = '{"time": "2026-01-05T23:59:00Z", "event": "old"}\n'
NEW = f'{{"time": "{TODAY}T00:00:01Z", "event": "new"}}\n'


def unpacked(archive: Path) -> str:
    return gzip.decompress(archive.read_bytes()).decode()


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_a_log_of_an_earlier_day_is_kept_compressed_under_that_day(tmp_path: Path) -> None:
    (tmp_path / "downloads.log").write_text(OLD)
    assert rotate_daily(tmp_path, "") == TODAY
    assert names(tmp_path) == {"downloads.log.2026-01-05.gz"}
    assert unpacked(tmp_path / "downloads.log.2026-01-05.gz") == OLD


def test_a_log_of_today_stays(tmp_path: Path) -> None:
    (tmp_path / "downloads.log").write_text(NEW)
    rotate_daily(tmp_path, "")
    assert names(tmp_path) == {"downloads.log"}


def test_what_is_no_log_of_the_suite_stays(tmp_path: Path) -> None:
    (tmp_path / "other.log").write_text("no date here\n")
    (tmp_path / "notes.txt").write_text(OLD)
    rotate_daily(tmp_path, "")
    assert names(tmp_path) == {"other.log", "notes.txt"}


def test_nothing_is_looked_at_twice_a_day(tmp_path: Path) -> None:
    (tmp_path / "downloads.log").write_text(OLD)
    assert rotate_daily(tmp_path, TODAY) == TODAY
    assert names(tmp_path) == {"downloads.log"}


def test_a_folder_that_is_not_there_is_looked_for_again(tmp_path: Path) -> None:
    assert rotate_daily(tmp_path / "logs", "") == ""


def test_archives_are_kept_for_a_week(tmp_path: Path) -> None:
    for name, age_days in {"a.log.2026-01-01.gz": 8, "a.log.2026-01-02.gz": 6}.items():
        (tmp_path / name).write_bytes(b"")
        then = time.time() - age_days * 86400
        os.utime(tmp_path / name, (then, then))
    rotate_daily(tmp_path, "")
    assert names(tmp_path) == {"a.log.2026-01-02.gz"}


def test_a_log_that_was_renamed_and_not_compressed_is_not_lost(tmp_path: Path) -> None:
    # As when the container was stopped in between.
    (tmp_path / "downloads.log.2026-01-04").write_text("older\n")
    (tmp_path / "downloads.log.2026-01-04.gz.tmp").write_bytes(b"half an archive")
    (tmp_path / "downloads.log").write_text(OLD)
    rotate_daily(tmp_path, "")
    assert unpacked(tmp_path / "downloads.log.2026-01-04.gz") == "older\n"
    assert unpacked(tmp_path / "downloads.log.2026-01-05.gz") == OLD
    assert names(tmp_path) == {"downloads.log.2026-01-04.gz", "downloads.log.2026-01-05.gz"}


def test_two_logs_that_begin_on_the_same_day_are_both_kept(tmp_path: Path) -> None:
    (tmp_path / "downloads.log").write_text(OLD)
    rotate_daily(tmp_path, "")
    (tmp_path / "downloads.log").write_text(OLD + NEW)
    rotate_daily(tmp_path, "")
    assert unpacked(tmp_path / "downloads.log.2026-01-05.gz") == OLD
    assert unpacked(tmp_path / "downloads.log.2026-01-05-1.gz") == OLD + NEW


def test_a_full_volume_costs_no_log(tmp_path: Path) -> None:
    with mounted(tmp_path) as volume:
        (volume.root / "downloads.log").write_text(OLD)
        volume.fault("full")
        with pytest.raises(OSError, match="No space"):
            rotate_daily(volume.root, "")
        assert names(volume.root) == {"downloads.log.2026-01-05"}
        volume.fault("none")
        rotate_daily(volume.root, "")
        assert unpacked(volume.root / "downloads.log.2026-01-05.gz") == OLD
        assert names(volume.root) == {"downloads.log.2026-01-05.gz"}
