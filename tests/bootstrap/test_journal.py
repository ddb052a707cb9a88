import json
import os
import time
from pathlib import Path

import pytest

from bootstrap import journal
from bootstrap.journal import Journal
from services.boot import Boot, BootRecord, Step


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state" / "logs").mkdir(parents=True)
    return tmp_path / "state"


def test_a_step_is_on_the_record_as_soon_as_it_is_over(state: Path) -> None:
    diary = Journal(state, Boot(5.0))
    with diary.step("Workspace", "1") as result:
        assert BootRecord(state).read().steps == ()
        result.set("ok", "12 GB free")
    boot = BootRecord(state).read()
    assert boot.started_at == 5.0
    assert [(step.name, step.state, step.message) for step in boot.steps] == [("Workspace", "ok", "12 GB free")]


def test_a_step_says_how_long_it_took(state: Path) -> None:
    with Journal(state, Boot(5.0)).step("Workspace", "1"):
        time.sleep(0.05)
    assert 0.05 <= BootRecord(state).read().steps[0].seconds < 10


@pytest.mark.parametrize("error", [OSError("disk on fire"), ValueError("disk on fire")])
def test_a_step_that_fails_does_not_stop_the_boot(
    error: Exception, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    with Journal(state, Boot(5.0)).step("Workspace", "1"):
        fail()
    (step,) = BootRecord(state).read().steps
    assert (step.state, step.message) == ("failed", "disk on fire")
    assert "FAILED" in capsys.readouterr().out


def test_a_step_is_one_line_on_the_console(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Journal(state, Boot(5.0)).step("Workspace", "1") as result:
        result.set("warning", "nearly full")
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert line.split()[:2] == ["Workspace", "warning"]
    assert line.endswith("nearly full\n")


def test_the_lines_go_to_container_and_volume(state: Path, tmp_path: Path) -> None:
    diary = Journal(state, Boot(5.0))
    for name in ("One", "Two"):
        with diary.step(name, "1"):
            pass
    diary.save(tmp_path / "volume" / "logs", None)
    for file in (state / "logs" / "startup.log", tmp_path / "volume" / "logs" / "startup.log"):
        assert [json.loads(line)["name"] for line in file.read_text().splitlines()] == ["One", "Two"]


def test_lines_are_added_to_those_of_earlier_boots(state: Path, tmp_path: Path) -> None:
    for name in ("First", "Second"):
        diary = Journal(state, Boot(5.0))
        with diary.step(name, "1"):
            pass
        diary.save(tmp_path, None)
        diary.save(tmp_path, None)
    lines = (tmp_path / "startup.log").read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["First", "Second"]


def test_without_a_volume_the_lines_stay_in_the_container(state: Path) -> None:
    diary = Journal(state, Boot(5.0))
    with diary.step("One", "1"):
        pass
    diary.save(None, None)
    assert (state / "logs" / "startup.log").exists()


def test_a_volume_that_hangs_meanwhile_is_told_and_not_waited_for(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(journal, "WRITE_SECONDS", 0.2)
    os.mkfifo(tmp_path / "startup.log")
    diary = Journal(state, Boot(5.0))
    with diary.step("One", "1"):
        pass
    started = time.monotonic()
    diary.save(tmp_path, None)
    assert time.monotonic() - started < 10
    assert f"startup.log could not be written to {tmp_path} (no answer)" in capsys.readouterr().out


def test_a_volume_that_hangs_is_waited_for_once(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(journal, "WRITE_SECONDS", 0.2)
    os.mkfifo(tmp_path / "startup.log")
    diary = Journal(state, Boot(5.0))
    for name in ("One", "Two"):
        diary.note(Step(name, "ok", 0.1), "3")
        diary.save(tmp_path, None)
    assert capsys.readouterr().out.count("could not be written") == 1
    assert len((state / "logs" / "startup.log").read_text().splitlines()) == 2


def test_a_boot_is_taken_up_where_another_program_left_it(state: Path) -> None:
    first = Step("One", "ok", 0.1)
    diary = Journal(state, Boot(5.0, (first,)))
    second = Step("Two", "ok", 0.2)
    diary.note(second, "3")
    assert BootRecord(state).read() == Boot(5.0, (first, second))
    diary.end(9.5)
    assert BootRecord(state).read() == Boot(5.0, (first, second), ready_seconds=9.5)
