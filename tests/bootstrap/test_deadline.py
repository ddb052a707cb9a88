import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from bootstrap.deadline import TimedOut, run_within


@pytest.mark.parametrize("answer", [b"", b"x", os.urandom(5_000_000)], ids=["nothing", "a byte", "megabytes"])
def test_the_answer_of_the_work_comes_back_whole(answer: bytes) -> None:
    assert run_within(20, lambda: answer) == answer


def test_the_work_is_done_in_a_process_of_its_own() -> None:
    done: list[int] = []

    def work() -> bytes:
        done.append(1)
        os.umask(0o077)
        return str(os.getpid()).encode()

    before = os.umask(0o022)
    os.umask(before)
    assert int(run_within(20, work)) != os.getpid()
    after = os.umask(before)
    assert (done, after) == ([], before)


def test_work_that_hangs_is_not_waited_for() -> None:
    def work() -> bytes:
        time.sleep(30)
        return b""

    started = time.monotonic()
    with pytest.raises(TimedOut):
        run_within(0.2, work)
    assert time.monotonic() - started < 15


def test_work_that_hangs_is_killed(tmp_path: Path) -> None:
    def work() -> bytes:
        (tmp_path / "pid").write_text(str(os.getpid()))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(30)
        return b""

    with pytest.raises(TimedOut):
        run_within(3, work)
    pid = int((tmp_path / "pid").read_text())
    ended, status = os.waitpid(pid, 0)
    assert (ended, os.WTERMSIG(status)) == (pid, signal.SIGKILL)


def test_work_that_fails_is_an_error_that_says_why_on_the_console(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> bytes:
        raise ValueError("the reason")

    with pytest.raises(OSError, match="ended with status"):
        run_within(20, work)
    assert "ValueError: the reason" in capfd.readouterr().err


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt()])
def test_work_that_wants_to_leave_never_gets_into_the_callers_code(error: BaseException, tmp_path: Path) -> None:
    def work() -> bytes:
        raise error

    parent = os.getpid()
    with contextlib.suppress(OSError):
        run_within(20, work)
    with (tmp_path / "here").open("a") as file:
        file.write(f"{os.getpid()}\n")
    assert (tmp_path / "here").read_text() == f"{parent}\n"


def test_work_that_is_killed_is_an_error() -> None:
    def work() -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        return b""

    with pytest.raises(OSError, match="ended with status"):
        run_within(20, work)


def test_no_pipe_is_left_open() -> None:
    def hang() -> bytes:
        time.sleep(30)
        return b""

    before = len(os.listdir("/proc/self/fd"))
    run_within(20, lambda: b"x")
    with pytest.raises(TimedOut):
        run_within(0.05, hang)
    assert len(os.listdir("/proc/self/fd")) == before
