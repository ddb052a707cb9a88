import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.downloads.lease import STALE_SECONDS, Lease, LeaseHeld
from services.pod import process_mark

HERE = process_mark()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.part.lease"


def let_it_age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def dead_mark() -> str:
    process = subprocess.Popen(["true"])
    process.wait()
    return f"{process.pid}-1"


def test_one_takes_it_and_nobody_else(path: Path) -> None:
    ours = Lease(path, "a", HERE)
    ours.take()
    assert ours.is_ours()
    with pytest.raises(LeaseHeld) as held:
        Lease(path, "b", HERE).take()
    assert not held.value.here
    assert held.value.beat_at == path.stat().st_mtime_ns


def test_nothing_but_the_lease_is_left_beside_the_file(path: Path) -> None:
    Lease(path, "a", HERE).take()
    with pytest.raises(LeaseHeld):
        Lease(path, "b", HERE).take()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_process_of_this_pod_that_runs_keeps_it_however_old_it_is(path: Path) -> None:
    Lease(path, "a", HERE).take()
    let_it_age(path, 100 * STALE_SECONDS)
    with pytest.raises(LeaseHeld) as held:
        Lease(path, "a", HERE).take()
    assert held.value.here


def test_that_of_a_dead_process_of_this_pod_is_free_at_once(path: Path) -> None:
    Lease(path, "a", dead_mark()).take()
    ours = Lease(path, "a", HERE)
    ours.take()
    assert ours.is_ours()


def test_another_pods_processes_cannot_be_looked_at(path: Path) -> None:
    Lease(path, "b", dead_mark()).take()
    with pytest.raises(LeaseHeld):
        Lease(path, "a", HERE).take()


def test_another_pods_is_free_once_it_was_silent_for_long(path: Path) -> None:
    theirs, ours = Lease(path, "b", HERE), Lease(path, "a", HERE)
    theirs.take()
    let_it_age(path, STALE_SECONDS - 2)
    with pytest.raises(LeaseHeld):
        ours.take()
    let_it_age(path, STALE_SECONDS + 2)
    ours.take()
    assert (ours.is_ours(), theirs.is_ours()) == (True, False)


def test_a_renewed_one_is_not_free(path: Path) -> None:
    theirs = Lease(path, "b", HERE)
    theirs.take()
    let_it_age(path, STALE_SECONDS + 2)
    theirs.renew()
    with pytest.raises(LeaseHeld):
        Lease(path, "a", HERE).take()


def test_a_lease_that_is_gone_can_be_renewed_without_harm(path: Path) -> None:
    Lease(path, "a", HERE).renew()
    assert not path.exists()


def test_what_is_released_is_free(path: Path) -> None:
    ours = Lease(path, "a", HERE)
    ours.take()
    ours.release()
    assert (ours.is_ours(), path.exists()) == (False, False)
    Lease(path, "b", HERE).take()


def test_who_lost_it_does_not_release_the_others(path: Path) -> None:
    theirs, ours = Lease(path, "b", HERE), Lease(path, "a", HERE)
    theirs.take()
    let_it_age(path, STALE_SECONDS + 2)
    ours.take()
    theirs.release()
    assert ours.is_ours()


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"{}"])
def test_a_lease_nobody_can_read_is_held_until_it_is_old(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    ours = Lease(path, "a", HERE)
    with pytest.raises(LeaseHeld):
        ours.take()
    let_it_age(path, STALE_SECONDS + 2)
    ours.take()
    assert ours.is_ours()


def test_who_comes_late_to_an_old_lease_leaves_the_new_one_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Lease(path, "dead", HERE).take()
    let_it_age(path, STALE_SECONDS + 2)
    fast, slow = Lease(path, "fast", HERE), Lease(path, "slow", HERE)
    now = slow._now

    def meanwhile() -> int:
        fast.take()
        return now()

    # Between the look at the old lease and its removal.
    monkeypatch.setattr(slow, "_now", meanwhile)
    with pytest.raises(LeaseHeld):
        slow.take()
    assert fast.is_ours()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def refuse(*_: object) -> None:
    raise PermissionError("links are not known here")


def test_a_volume_without_links_has_leases_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", refuse)
    ours = Lease(path, "a", HERE)
    ours.take()
    assert ours.is_ours()
    with pytest.raises(LeaseHeld):
        Lease(path, "b", HERE).take()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_of_all_who_try_at_once_one_gets_it(path: Path) -> None:
    Lease(path, "dead", HERE).take()
    let_it_age(path, STALE_SECONDS + 2)
    program = (
        "import sys, time; from pathlib import Path; from services.downloads.lease import Lease, LeaseHeld\n"
        "ours = Lease(Path(sys.argv[1]), sys.argv[2], 'x')\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "try:\n    ours.take()\nexcept LeaseHeld:\n    sys.exit()\n"
        "time.sleep(2.5); print('taken' if ours.is_ours() else 'lost')"
    )
    tries = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path), f"pod-{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(6)
    ]
    for one in tries:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in tries:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    said = [one.communicate()[0] for one in tries]
    assert said.count("taken\n") == 1
