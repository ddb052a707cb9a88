import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from services.pod import is_alive, pod_id, process_mark


def test_a_pod_keeps_its_name(tmp_path: Path) -> None:
    assert pod_id(tmp_path) == pod_id(tmp_path) != ""


def test_two_pods_have_two_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert pod_id(tmp_path / "a") != pod_id(tmp_path / "b")


def test_all_who_ask_at_once_hear_the_same_name(tmp_path: Path) -> None:
    heard: list[str] = []
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        heard.append(pod_id(tmp_path))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(heard) == 8
    assert len(set(heard)) == 1


def test_a_pod_without_a_folder_for_its_state_has_no_name(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        pod_id(tmp_path / "missing")


def test_this_process_is_alive() -> None:
    assert is_alive(process_mark())


def test_a_process_that_ended_is_not_alive() -> None:
    program = "from services.pod import process_mark; print(process_mark(), flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    mark = process.stdout.readline().decode().strip()
    assert is_alive(mark)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not is_alive(mark)


def test_a_later_process_with_the_same_number_is_another() -> None:
    pid, _, started = process_mark().partition("-")
    assert not is_alive(f"{pid}-{int(started) - 1}")


@pytest.mark.parametrize("mark", ["", "-", "0-0", "-1-5", "x-1", "1", str(os.getpid()), "99999999-1", "\u0661-1"])
def test_what_is_no_mark_is_not_alive(mark: str) -> None:
    assert not is_alive(mark)
