import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.auth import (
    IDLE_SECONDS,
    LIFETIME_SECONDS,
    PAUSE_SECONDS,
    TRIES,
    TRIES_OF_EVERYONE,
    Brake,
    Sessions,
    Tokens,
    TooManyAttempts,
    is_same_origin,
)
from services.errors import NotFound


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kept.json"


PASSWORD = "correct horse"
UNREADABLE = [b"", b"{", b"{}", b"[1]", b'[{"digest": "\xff"}]', b"\xff"]

# Sessions


def test_a_session_is_valid_until_it_is_ended(file: Path) -> None:
    sessions = Sessions(file, PASSWORD)
    id_ = sessions.start()
    assert sessions.is_valid(id_)
    sessions.end(id_)
    assert not sessions.is_valid(id_)


@pytest.mark.parametrize("id_", ["", "guess", "0" * 64, "é"])
def test_an_id_nobody_was_given_is_not_valid(id_: str, file: Path) -> None:
    sessions = Sessions(file, PASSWORD)
    sessions.start()
    assert not sessions.is_valid(id_)


def test_every_session_has_a_long_id_of_its_own(file: Path) -> None:
    sessions = Sessions(file, PASSWORD)
    ids = {sessions.start() for _ in range(20)}
    assert len(ids) == 20
    assert min(map(len, ids)) >= 43


def test_ending_one_session_leaves_the_others(file: Path) -> None:
    sessions = Sessions(file, PASSWORD)
    first, second = sessions.start(), sessions.start()
    sessions.end(first)
    assert sessions.is_valid(second)


def test_a_restarted_dashboard_signs_nobody_out(file: Path) -> None:
    id_ = Sessions(file, PASSWORD).start()
    assert Sessions(file, PASSWORD).is_valid(id_)


def test_a_changed_password_signs_everyone_out(file: Path) -> None:
    id_ = Sessions(file, PASSWORD).start()
    assert not Sessions(file, "another").is_valid(id_)


def test_sessions_that_a_changed_password_ended_stay_ended_when_it_is_changed_back(file: Path) -> None:
    id_ = Sessions(file, PASSWORD).start()
    Sessions(file, "another")
    assert not Sessions(file, PASSWORD).is_valid(id_)


def test_what_is_kept_of_sessions_does_not_tell_the_password(file: Path) -> None:
    kept = []
    for _ in range(2):
        Sessions(file, PASSWORD).start()
        kept.append(json.loads(file.read_bytes())["password"])
    assert PASSWORD not in file.read_text()
    assert kept[0] != kept[1]


def test_an_ended_session_stays_ended_after_a_restart(file: Path) -> None:
    sessions = Sessions(file, PASSWORD)
    id_ = sessions.start()
    sessions.end(id_)
    assert not Sessions(file, PASSWORD).is_valid(id_)


def test_what_is_kept_of_sessions_lets_nobody_in(file: Path) -> None:
    id_ = Sessions(file, PASSWORD).start()
    assert file.stat().st_mode & 0o777 == 0o600
    assert id_ not in file.read_text()
    (kept,) = json.loads(file.read_bytes())["sessions"]
    assert not Sessions(file, PASSWORD).is_valid(kept["digest"])


def test_a_session_nobody_uses_ends(file: Path, clock: Clock) -> None:
    sessions = Sessions(file, PASSWORD, clock)
    id_ = sessions.start()
    clock.now += IDLE_SECONDS
    assert not sessions.is_valid(id_)
    assert not Sessions(file, PASSWORD, clock).is_valid(id_)


def test_a_session_in_use_goes_on(file: Path, clock: Clock) -> None:
    sessions = Sessions(file, PASSWORD, clock)
    id_ = sessions.start()
    for _ in range(5):
        clock.now += IDLE_SECONDS - 1
        assert sessions.is_valid(id_)
    assert Sessions(file, PASSWORD, clock).is_valid(id_)


def test_a_session_in_use_ends_after_its_lifetime(file: Path, clock: Clock) -> None:
    sessions = Sessions(file, PASSWORD, clock)
    id_ = sessions.start()
    started = clock.now
    while clock.now + IDLE_SECONDS / 2 < started + LIFETIME_SECONDS:
        clock.now += IDLE_SECONDS / 2
        assert sessions.is_valid(id_)
    clock.now = started + LIFETIME_SECONDS
    assert not sessions.is_valid(id_)


@pytest.mark.parametrize("days", [1, -1])
def test_a_clock_that_jumps_by_a_day_keeps_nobody_in_for_longer(days: int, file: Path, clock: Clock) -> None:
    sessions = Sessions(file, PASSWORD, clock)
    id_ = sessions.start()
    clock.now += days * 86_400
    assert sessions.is_valid(id_) is (days < 0)
    clock.now += LIFETIME_SECONDS + 86_400
    assert not sessions.is_valid(id_)


def test_using_a_session_does_not_write_every_time(file: Path, clock: Clock) -> None:
    sessions = Sessions(file, PASSWORD, clock)
    id_ = sessions.start()
    before = file.stat().st_ino, file.stat().st_mtime_ns
    for _ in range(10):
        clock.now += 1
        sessions.is_valid(id_)
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == before


@pytest.mark.parametrize("data", UNREADABLE)
def test_sessions_that_cannot_be_read_are_no_sessions(data: bytes, file: Path) -> None:
    file.write_bytes(data)
    sessions = Sessions(file, PASSWORD)
    assert sessions.is_valid(sessions.start())


def test_browsers_that_sign_in_at_the_same_time_are_all_signed_in(file: Path) -> None:
    sessions = Sessions(file, PASSWORD)
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: sessions.start(), range(40)))
    assert all(map(sessions.is_valid, ids))
    assert all(map(Sessions(file, PASSWORD).is_valid, ids))


def test_a_full_disk_keeps_nobody_out(full_folder: Path, clock: Clock) -> None:
    sessions = Sessions(full_folder / "kept.json", PASSWORD, clock)
    id_ = sessions.start()
    clock.now += IDLE_SECONDS / 2
    assert sessions.is_valid(id_)


# Tokens


def test_a_token_is_valid_until_it_is_revoked(file: Path) -> None:
    tokens = Tokens(file)
    token, secret = tokens.create("notebook")
    assert tokens.is_valid(secret)
    tokens.revoke(token.id)
    assert not tokens.is_valid(secret)


def test_a_token_outlives_the_container(file: Path) -> None:
    _, secret = Tokens(file).create("notebook")
    later = Tokens(file)
    later.load()
    assert later.is_valid(secret)
    assert [token.name for token in later.all()] == ["notebook"]


def test_a_revoked_token_stays_revoked(file: Path) -> None:
    tokens = Tokens(file)
    token, secret = tokens.create("notebook")
    tokens.revoke(token.id)
    later = Tokens(file)
    later.load()
    assert not later.is_valid(secret)


def test_revoking_one_token_leaves_the_others(file: Path) -> None:
    tokens = Tokens(file)
    (first, _), (_, other) = tokens.create("a"), tokens.create("b")
    tokens.revoke(first.id)
    assert tokens.is_valid(other)


def test_a_token_leaves_those_alone_that_were_not_read_yet(file: Path) -> None:
    _, first = Tokens(file).create("another pod's")
    _, second = Tokens(file).create("made before the volume answered")
    later = Tokens(file)
    later.load()
    assert later.is_valid(first)
    assert later.is_valid(second)


def test_what_is_kept_of_tokens_lets_nobody_in(file: Path) -> None:
    tokens = Tokens(file)
    token, secret = tokens.create("notebook")
    assert file.stat().st_mode & 0o777 == 0o600
    assert secret not in file.read_text()
    assert secret not in repr(tokens.all())
    assert not tokens.is_valid(token.digest)


@pytest.mark.parametrize("secret", ["", "guess", "é"])
def test_a_token_nobody_was_given_is_not_valid(secret: str, file: Path) -> None:
    tokens = Tokens(file)
    tokens.create("notebook")
    assert not tokens.is_valid(secret)


def test_an_unknown_token_cannot_be_revoked(file: Path) -> None:
    with pytest.raises(NotFound):
        Tokens(file).revoke("nope")


@pytest.mark.parametrize("data", UNREADABLE)
def test_tokens_that_cannot_be_read_are_no_tokens(data: bytes, file: Path) -> None:
    file.write_bytes(data)
    tokens = Tokens(file)
    tokens.load()
    assert tokens.all() == []


# The brake


def is_paused(brake: Brake, address: str) -> bool:
    try:
        brake.check(address)
    except TooManyAttempts:
        return True
    return False


def test_an_address_is_paused_after_five_wrong_tries(clock: Clock) -> None:
    brake = Brake(clock)
    left = []
    for _ in range(TRIES):
        assert not is_paused(brake, "1.2.3.4")
        left.append(brake.wrong("1.2.3.4"))
    assert left == [4, 3, 2, 1, 0]
    assert is_paused(brake, "1.2.3.4")


def test_other_addresses_are_not_paused_with_it(clock: Clock) -> None:
    brake = Brake(clock)
    for _ in range(TRIES):
        brake.wrong("1.2.3.4")
    assert not is_paused(brake, "1.2.3.5")


def test_nobody_is_locked_out_for_good(clock: Clock) -> None:
    brake = Brake(clock)
    for _ in range(100):
        brake.wrong("1.2.3.4")
    clock.now += PAUSE_SECONDS
    assert not is_paused(brake, "1.2.3.4")


@pytest.mark.parametrize("seconds_between", [0.0, 5.0, 14.0])
def test_the_pause_is_over_when_it_was_said_to_be(seconds_between: float, clock: Clock) -> None:
    brake = Brake(clock)
    for _ in range(TRIES):
        clock.now += seconds_between
        brake.wrong("1.2.3.4")
    with pytest.raises(TooManyAttempts) as caught:
        brake.check("1.2.3.4")
    told = caught.value.retry_after_seconds
    assert 0 < told <= PAUSE_SECONDS
    clock.now += told - 0.5
    assert is_paused(brake, "1.2.3.4")
    clock.now += 0.5
    assert not is_paused(brake, "1.2.3.4")


def test_the_right_password_forgives_the_wrong_ones(clock: Clock) -> None:
    brake = Brake(clock)
    for _ in range(TRIES - 1):
        brake.wrong("1.2.3.4")
    brake.right("1.2.3.4")
    assert brake.wrong("1.2.3.4") == TRIES - 1


def test_changing_ones_address_helps_only_so_often(clock: Clock) -> None:
    brake = Brake(clock)
    for number in range(TRIES_OF_EVERYONE):
        assert not is_paused(brake, f"10.0.0.{number}")
        brake.wrong(f"10.0.0.{number}")
    assert is_paused(brake, "10.1.0.1")
    clock.now += PAUSE_SECONDS
    assert not is_paused(brake, "10.1.0.1")


def test_who_has_no_address_is_not_taken_for_everyone(clock: Clock) -> None:
    brake = Brake(clock)
    for number in range(TRIES):
        brake.wrong(f"10.0.0.{number}")
    assert not is_paused(brake, "")
    assert brake.wrong("") == TRIES - 1


def test_two_hundred_guesses_in_a_minute_come_to_fifty(clock: Clock) -> None:
    brake, tried = Brake(clock), 0
    for number in range(200):
        clock.now += PAUSE_SECONDS / 200
        if not is_paused(brake, f"10.0.0.{number}"):
            brake.wrong(f"10.0.0.{number}")
            tried += 1
    assert tried <= TRIES_OF_EVERYONE


def test_the_pause_is_told_in_whole_seconds(clock: Clock) -> None:
    error = TooManyAttempts(0.2)
    assert error.details == {"retry_after_seconds": 1}
    assert "1 s" in error.message


# Origins

HOST = "pod-8080.proxy.runpod.net"


@pytest.mark.parametrize(
    ("origin", "fetch_site", "same"),
    [
        (f"https://{HOST}", None, True),
        (f"http://{HOST}", None, True),
        (f"https://{HOST.upper()}", None, True),
        (f"https://{HOST}", "same-origin", True),
        (None, "same-origin", True),
        (None, None, False),
        ("", None, False),
        ("null", None, False),
        ("https://evil.example", None, False),
        ("https://sibling-8080.proxy.runpod.net", None, False),
        (f"https://{HOST}.evil.example", None, False),
        (f"https://evil-{HOST}", None, False),
        (f"https://{HOST}:8443", None, False),
        (f"https://{HOST}@evil.example", None, False),
        (f"https://evil.example/{HOST}", None, False),
        (HOST, None, False),
        ("https://[", None, False),
        (f"https://{HOST}", "cross-site", False),
        (f"https://{HOST}", "same-site", False),
        (f"https://{HOST}", "none", False),
        (f"https://{HOST}", "", False),
        ("https://sibling-8080.proxy.runpod.net", "same-site", False),
    ],
)
def test_only_a_page_of_the_very_same_origin_may_change_things(
    origin: str | None, fetch_site: str | None, same: bool
) -> None:
    assert is_same_origin(origin, fetch_site, HOST) is same


def test_a_port_is_part_of_the_origin() -> None:
    assert is_same_origin("http://localhost:8080", None, "localhost:8080")
    assert not is_same_origin("http://localhost:3000", None, "localhost:8080")
