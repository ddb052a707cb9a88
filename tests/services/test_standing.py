import pytest

from services import standing
from services.installs import Hold, Install, View
from services.progress import FileProgress, FileState
from services.schedule import Schedule
from tests.services.views import (
    CANCELLED,
    FAILED,
    NO_ROOM,
    PAUSED,
    RETRIED,
    UNSIZED,
    A,
    B,
    here,
    install,
    live,
    preset,
    view,
)

WANTED = install(preset("P", A, B))
DONE = install(preset("P", A, B), completed_at=5.0)
STOPPED = install(preset("P", A, B), cancelled_at=5.0)
WAITING = install(preset("P", A, B), paused_at=5.0)

STATES: dict[str, tuple[View, str, tuple[str, str]]] = {
    "nothing happened": (view(), "available", ("missing", "missing")),
    "one file is here": (view(verified=here(A)), "partial", ("present", "missing")),
    "all files are here": (view(verified=here(A, B)), "installed", ("present", "present")),
    "asked for": (view(WANTED), "queued", ("queued", "queued")),
    "downloading": (view(WANTED, progress=live(A)), "downloading", ("downloading", "queued")),
    "verifying": (view(WANTED, verified=here(B), progress=live(A, "verifying")), "verifying", ("verifying", "present")),
    "verifying one, downloading another": (
        view(WANTED, progress=live(A, "verifying") | live(B)),
        "downloading",
        ("verifying", "downloading"),
    ),
    "failed, the rest queued": (view(WANTED, holds={A.id: FAILED}), "queued", ("failed", "queued")),
    "failed": (view(WANTED, holds={A.id: FAILED}, verified=here(B)), "failed", ("failed", "present")),
    "failed for now": (view(WANTED, holds={A.id: RETRIED}, verified=here(B)), "queued", ("queued", "present")),
    "cancelled": (
        view(WANTED, holds={A.id: CANCELLED, B.id: CANCELLED}),
        "cancelled",
        ("cancelled", "cancelled"),
    ),
    "cancelled as a whole": (view(STOPPED), "cancelled", ("cancelled", "cancelled")),
    "cancelled as a whole, one file is here": (view(STOPPED, verified=here(A)), "cancelled", ("present", "cancelled")),
    "cancelled as a whole, a file comes for another preset": (
        view(STOPPED, install(preset("Q", A)), progress=live(A)),
        "cancelled",
        ("downloading", "cancelled"),
    ),
    "cancelled as a whole, all files came for others": (
        view(STOPPED, verified=here(A, B)),
        "installed",
        ("present", "present"),
    ),
    "another preset that shares a file is cancelled": (
        view(WANTED, install(preset("Q", A), cancelled_at=5.0), progress=live(A)),
        "downloading",
        ("downloading", "queued"),
    ),
    "paused": (view(WANTED, holds={A.id: PAUSED, B.id: PAUSED}), "paused", ("paused", "paused")),
    "one file is paused": (view(WANTED, holds={A.id: PAUSED}), "queued", ("paused", "queued")),
    "paused, the rest is here": (view(WANTED, holds={A.id: PAUSED}, verified=here(B)), "paused", ("paused", "present")),
    "no room": (view(WANTED, holds={A.id: NO_ROOM}, verified=here(B)), "paused", ("paused", "present")),
    "paused as a whole": (view(WAITING, progress=live(A)), "paused", ("paused", "paused")),
    "paused as a whole, a file comes for another preset": (
        view(WAITING, install(preset("Q", A)), progress=live(A)),
        "paused",
        ("downloading", "paused"),
    ),
    "everything is paused": (
        view(WANTED, progress=live(A), schedule=Schedule(paused_at=5.0)),
        "paused",
        ("paused", "paused"),
    ),
    "everything is paused, one had failed": (
        view(WANTED, holds={A.id: FAILED}, schedule=Schedule(paused_at=5.0)),
        "failed",
        ("failed", "paused"),
    ),
    "failed and cancelled": (
        view(WANTED, holds={A.id: FAILED, B.id: CANCELLED}),
        "failed",
        ("failed", "cancelled"),
    ),
    "held while the last report still says downloading": (
        view(WANTED, holds={A.id: CANCELLED}, verified=here(B), progress=live(A)),
        "cancelled",
        ("cancelled", "present"),
    ),
    "the last report says failed, the hold is released": (
        view(WANTED, progress=live(A, "failed")),
        "queued",
        ("queued", "queued"),
    ),
    "present although the last report says downloading": (
        view(WANTED, verified=here(A, B), progress=live(A)),
        "installed",
        ("present", "present"),
    ),
    "installed, then one file deleted": (view(DONE, verified=here(A)), "partial", ("present", "missing")),
    "installed, then everything deleted": (view(DONE), "available", ("missing", "missing")),
    "a file comes for another preset": (
        view(install(preset("Q", A)), progress=live(A)),
        "available",
        ("downloading", "missing"),
    ),
    "an old hold of a file nobody wants": (view(holds={A.id: FAILED}), "available", ("missing", "missing")),
}


@pytest.mark.parametrize(("state", "expected", "files"), STATES.values(), ids=STATES)
def test_the_state_of_a_preset_follows_from_what_is_known(state: View, expected: str, files: tuple[str, str]) -> None:
    status = standing.status(preset("P", A, B), state)
    assert status.state == expected
    assert tuple(file.state for file in status.files) == files


def test_progress_is_the_share_of_all_bytes() -> None:
    status = standing.status(preset("P", A, B), view(WANTED, verified=here(B), progress=live(A, done=25)))
    assert (status.bytes_done, status.bytes_total, status.progress) == (75, 150, 50.0)


def test_progress_is_not_known_while_a_size_is_not() -> None:
    status = standing.status(preset("P", A, UNSIZED), view(install(preset("P", A, UNSIZED)), progress=live(A, done=25)))
    assert (status.bytes_done, status.bytes_total, status.progress, status.eta_seconds) == (25, None, None, None)


def test_a_size_the_host_named_counts() -> None:
    progress = {UNSIZED.id: FileProgress(UNSIZED.id, "downloading", bytes_done=5, bytes_total=20)}
    status = standing.status(preset("P", UNSIZED), view(install(preset("P", UNSIZED)), progress=progress))
    assert (status.bytes_total, status.progress) == (20, 25.0)


def test_the_time_left_follows_from_the_speed_of_all_files() -> None:
    progress = live(A, done=50, bytes_per_second=5.0) | live(B, done=0, bytes_per_second=15.0)
    status = standing.status(preset("P", A, B), view(WANTED, progress=progress))
    assert (status.bytes_per_second, status.eta_seconds) == (20.0, 5.0)


def test_a_file_that_is_verified_adds_no_speed() -> None:
    progress = live(A, "verifying", done=100, bytes_per_second=5.0)
    assert standing.status(preset("P", A, B), view(WANTED, progress=progress)).bytes_per_second == 0


@pytest.mark.parametrize(
    ("state", "asked_for", "hold"),
    [
        ("paused", WANTED, PAUSED),
        ("paused", WANTED, NO_ROOM),
        ("paused", WAITING, None),
        ("cancelled", WANTED, CANCELLED),
        ("cancelled", STOPPED, None),
        ("queued", WANTED, None),
    ],
)
@pytest.mark.parametrize("last_word", [None, "cancelled"])
def test_a_file_that_stands_still_has_the_bytes_that_were_kept(
    state: str, asked_for: Install, hold: Hold | None, last_word: FileState | None
) -> None:
    known = view(
        asked_for,
        holds={A.id: hold} if hold else {},
        progress=live(A, last_word, done=5, bytes_per_second=5.0) if last_word else {},
        kept={A.id: 60},
    )
    file = standing.status(preset("P", A, B), known).files[0]
    assert (file.state, file.bytes_done, file.bytes_per_second, file.connections) == (state, 60, 0.0, 0)


def test_the_connections_of_a_running_download_are_told() -> None:
    state = view(WANTED, progress=live(A, connections=8) | live(B, "verifying"))
    assert [file.connections for file in standing.status(preset("P", A, B), state).files] == [8, 0]


@pytest.mark.parametrize(
    ("hold", "error"),
    [
        (FAILED, "no such file"),
        (RETRIED, "HTTP 503"),
        (CANCELLED, None),
        (PAUSED, None),
        (NO_ROOM, "needs 24.0 GB, 11.2 GB free"),
    ],
)
def test_the_reason_of_a_failure_is_told(hold: Hold, error: str | None) -> None:
    assert standing.status(preset("P", A, B), view(WANTED, holds={A.id: hold})).error == error


def test_what_comes_for_another_preset_is_not_this_ones_speed() -> None:
    progress = live(A, done=50, bytes_per_second=5.0)
    status = standing.status(preset("P", A, B), view(STOPPED, install(preset("Q", A)), progress=progress))
    assert (status.bytes_per_second, status.eta_seconds) == (0, None)


def test_the_reason_of_a_retry_is_told_while_it_waits() -> None:
    progress = live(A, error="the line broke")
    assert standing.status(preset("P", A, B), view(WANTED, progress=progress)).error == "the line broke"
