import re
from pathlib import Path

import pytest

from services.errors import Unavailable
from services.password import Password, local_password_file, make_password
from services.settings import Settings, load


def settings_with(tmp_path: Path, **environ: str) -> Settings:
    return load({"STATE_DIR": str(tmp_path), "WORKSPACE": str(tmp_path / "workspace"), **environ})


def test_a_made_password_can_be_typed_from_a_screen() -> None:
    assert re.fullmatch(r"[a-hj-km-np-z2-9]{4}(-[a-hj-km-np-z2-9]{4}){4}", make_password())


def test_no_two_made_passwords_are_the_same() -> None:
    assert len({make_password() for _ in range(100)}) == 100


def test_the_password_of_the_settings_lets_in(tmp_path: Path) -> None:
    password = Password(settings_with(tmp_path, DASHBOARD_PASSWORD="correct horse"))
    assert password.matches("correct horse")
    assert not password.matches("correct horse ")
    assert password.source == "DASHBOARD_PASSWORD"


def test_the_password_that_was_made_lets_in(tmp_path: Path) -> None:
    settings = settings_with(tmp_path)
    local_password_file(settings).parent.mkdir()
    local_password_file(settings).write_text("abcd-efgh\n")
    assert Password(settings).matches("abcd-efgh")
    assert not Password(settings).matches("")


def test_the_file_that_keeps_the_password_is_named(tmp_path: Path) -> None:
    settings = settings_with(tmp_path)
    local = local_password_file(settings)
    local.parent.mkdir()
    local.write_text("abcd-efgh\n/volume/secrets/dashboard_password\n")
    assert Password(settings).source == "/volume/secrets/dashboard_password"
    assert Password(settings).matches("abcd-efgh")
    local.write_text("abcd-efgh\n")
    assert Password(settings).source == str(local)


def test_the_password_of_the_settings_replaces_the_one_that_was_made(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, DASHBOARD_PASSWORD="new")
    local_password_file(settings).parent.mkdir()
    local_password_file(settings).write_text("old\n")
    assert not Password(settings).matches("old")


@pytest.mark.parametrize("kept", [None, b"", b"\n", b"\xff"])
def test_without_a_password_nobody_comes_in_and_the_remedy_is_told(kept: bytes | None, tmp_path: Path) -> None:
    settings = settings_with(tmp_path)
    if kept is not None:
        local_password_file(settings).parent.mkdir()
        local_password_file(settings).write_bytes(kept)
    for attempt in ("", "anything"):
        with pytest.raises(Unavailable, match="set DASHBOARD_PASSWORD"):
            Password(settings).matches(attempt)


def test_an_attempt_in_another_alphabet_is_only_wrong(tmp_path: Path) -> None:
    assert not Password(settings_with(tmp_path, DASHBOARD_PASSWORD="x")).matches("пароль🦊")
