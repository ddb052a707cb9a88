from pathlib import Path

import pytest

from services.comfyui import ComfyUIInfo
from services.comfyui_starts import Ledger
from services.health import LOG_TAIL_LINES, Answered, judge, log_tail
from services.processes import Process

INFO = ComfyUIInfo("0.33.0", "3.11.7", "2.13.0")


def process(state: str, uptime_seconds: float | None = 5.0) -> Process:
    return Process("comfyui", state, 10, uptime_seconds, "")


@pytest.mark.parametrize(
    ("found", "info", "ledger", "state", "words"),
    [
        (process("running"), INFO, Ledger((1.0,)), "ready", ""),
        (process("running"), INFO, Ledger((1.0,), safe_mode=True), "ready", "safe mode"),
        (None, INFO, Ledger(), "ready", ""),
        (process("running"), None, Ledger((1.0,)), "starting", "loading"),
        (process("starting"), None, Ledger((1.0,)), "starting", "loading"),
        (process("backoff"), None, Ledger((1.0, 2.0)), "starting", "try 2 of 4"),
        (process("starting"), None, Ledger((1.0, 2.0, 3.0)), "starting", "try 3 of 4"),
        (None, None, Ledger(), "starting", "waiting for supervisord"),
        (process("fatal"), None, Ledger((1.0,)), "failed", "its log says why"),
        (process("exited"), None, Ledger((1.0,)), "failed", "its log says why"),
        (process("exited"), None, Ledger((1.0,) * 5, gave_up=True), "failed", "4 times in a row"),
        (process("running"), None, Ledger((1.0,) * 5, gave_up=True), "failed", "4 times in a row"),
        (process("stopped"), None, Ledger((1.0,)), "stopped", "stopped"),
        (process("stopping"), None, Ledger((1.0,)), "stopped", "stopped"),
    ],
)
def test_the_state_of_comfyui_follows_from_process_answer_and_starts(
    found: Process | None, info: ComfyUIInfo | None, ledger: Ledger, state: str, words: str
) -> None:
    health = judge(found, info, ledger)
    assert health.state == state
    assert words in health.message
    assert bool(health.message) is bool(words)


def test_a_comfyui_that_answers_says_its_versions_and_uptime() -> None:
    health = judge(process("running", 42.0), INFO, Ledger((1.0,)))
    assert (health.version, health.python_version, health.torch_version) == ("0.33.0", "3.11.7", "2.13.0")
    assert (health.uptime_seconds, health.starts) == (42.0, 1)


def test_a_comfyui_that_answered_before_is_busy_and_not_starting() -> None:
    health = judge(process("running"), None, Ledger((1.0,)), Answered(10, INFO))
    assert health.state == "ready"
    assert "busy" in health.message
    assert health.version == INFO.version


@pytest.mark.parametrize(
    ("found", "pid", "ledger", "state"),
    [
        (process("running"), 9, Ledger((1.0,)), "starting"),
        (process("running"), None, Ledger((1.0,)), "starting"),
        (None, 10, Ledger((1.0,)), "starting"),
        (process("stopping"), 10, Ledger((1.0,)), "stopped"),
        (process("exited"), 10, Ledger((1.0,)), "failed"),
        (process("running"), 10, Ledger((1.0,) * 5, gave_up=True), "failed"),
    ],
)
def test_an_answer_of_another_process_counts_for_nothing(
    found: Process | None, pid: int | None, ledger: Ledger, state: str
) -> None:
    assert judge(found, None, ledger, Answered(pid, INFO)).state == state


def tail(tmp_path: Path, data: bytes, lines: int = LOG_TAIL_LINES) -> list[str]:
    (tmp_path / "comfyui.log").write_bytes(data)
    return log_tail(tmp_path / "comfyui.log", lines)


def test_the_last_lines_of_a_log_are_shown(tmp_path: Path) -> None:
    assert tail(tmp_path, b"".join(b"line %d\n" % n for n in range(100)), 3) == ["line 97", "line 98", "line 99"]


def test_a_long_log_is_not_read_from_its_beginning(tmp_path: Path) -> None:
    shown = tail(tmp_path, b"first\n" + b"x" * 10_000_000 + b"\nlast\n")
    assert shown[-1] == "last"
    assert "first" not in shown


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"\x1b[32m[INFO]\x1b[0m ready\n", "[INFO] ready"),
        (b"\x1b[1;31merror\x1b[m\n", "error"),
        (b"\x1b[2J\x1b[Hcleared\n", "cleared"),
        (b"\x1b]0;title\x07text\n", "text"),
        (b"\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\\n", "link"),
        (b" 10%|#\r 50%|#####\r100%|##########|\n", "100%|##########|"),
        (b" 10%|#\r 50%|#####\r\n", " 50%|#####"),
        (b"\x1b(Bplain\x1b7\n", "plain"),
        (b"\x1b]0;without an end\n", "0;without an end"),
        (b"eight\xc2\x9b bits\n", "eight bits"),
        (b"windows\r\n", "windows"),
        (b"bell\x07 back\x08 zero\0\n", "bell back zero"),
        (b"tab\tstays\n", "tab\tstays"),
        (b"caf\xc3\xa9\n", "café"),
        (b"\xff\xfe\n", "\ufffd\ufffd"),
        (b"no end", "no end"),
    ],
)
def test_a_line_is_shown_as_a_person_last_saw_it(written: bytes, shown: str, tmp_path: Path) -> None:
    assert tail(tmp_path, written) == [shown]


def test_empty_lines_are_not_shown(tmp_path: Path) -> None:
    assert tail(tmp_path, b"\na\n   \n\x1b[0m\n\nb\n") == ["a", "b"]


def test_a_log_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert log_tail(tmp_path / "nowhere.log") == []
