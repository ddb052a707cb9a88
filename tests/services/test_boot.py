import json
import time
from pathlib import Path

import pytest

from services.boot import Boot, BootRecord, Step, log_line

BAD_TEXT = [b'{"started_at": 1, "x": "\xff"}', b'{"started_at": 1, "steps": [{"name": "\xff"}]}']


def test_the_record_of_a_boot_comes_back_as_it_was_written(tmp_path: Path) -> None:
    boot = Boot(5.0, (Step("Workspace", "ok", 0.1, "12 GB free"),), ready_seconds=9.5)
    BootRecord(tmp_path).write(boot)
    assert BootRecord(tmp_path).read() == boot


def test_without_a_record_the_boot_has_no_steps(tmp_path: Path) -> None:
    boot = BootRecord(tmp_path).read()
    assert boot.steps == ()
    assert boot.ready_seconds is None
    assert boot.started_at == pytest.approx(time.time(), abs=5)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"started_at": "x"}', *BAD_TEXT])
def test_a_record_that_cannot_be_read_is_no_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "boot.json").write_bytes(data)
    assert BootRecord(tmp_path).read().steps == ()


def test_a_step_is_logged_in_the_shape_of_the_other_logs() -> None:
    line = log_line(Step("Workspace", "failed", 4.0, "read-only"), "1")
    assert line.endswith(b"\n")
    logged = json.loads(line)
    assert (logged["level"], logged["program"], logged["phase"]) == ("error", "bootstrap", "1")
    assert (logged["name"], logged["message"], logged["seconds"]) == ("Workspace", "read-only", 4.0)


@pytest.mark.parametrize(("state", "level"), [("ok", "info"), ("running", "info"), ("warning", "warning")])
def test_the_level_of_a_line_follows_the_steps_state(state: str, level: str) -> None:
    assert json.loads(log_line(Step("a", state, 0.0), "1"))["level"] == level  # type: ignore[arg-type]


def test_the_time_of_a_line_is_now_in_utc() -> None:
    stamp = json.loads(log_line(Step("a", "ok", 0.0), "1"))["time"]
    parsed = time.mktime(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
    assert parsed == pytest.approx(time.time(), abs=5)
    assert stamp.endswith("Z")
