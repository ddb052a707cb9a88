import os
import re
import shutil
import time
from pathlib import Path

import pytest

from bootstrap import password
from bootstrap.users import Users
from services.password import Password, local_password_file, password_file
from services.settings import Settings
from services.workspace import Workspace
from tests.bootstrap.conftest import MakeSettings

MADE = re.compile(r"([a-z2-9]{4}-){4}[a-z2-9]{4}")


@pytest.fixture
def kept(config: Settings) -> Path:
    """Where the password lies on the volume."""
    file = password_file(Workspace(config.workspace))
    file.parent.mkdir(parents=True)
    return file


def test_a_password_is_made_kept_and_told_once(config: Settings, nobody: Users, kept: Path) -> None:
    first, second = (password.announce(config, nobody, True) for _ in range(2))
    made = MADE.search(first)
    assert made is not None
    assert Password(config).matches(made[0])
    assert made[0] not in second
    assert str(kept) in second


def test_a_new_container_knows_the_password_on_the_volume(config: Settings, nobody: Users, kept: Path) -> None:
    password.announce(config, nobody, True)
    known = kept.read_text().strip()
    shutil.rmtree(config.state_dir / "secrets")
    (config.state_dir / "secrets").mkdir()
    password.announce(config, nobody, True)
    assert Password(config).matches(known)


def test_nobody_else_can_read_the_password(config: Settings, nobody: Users, kept: Path) -> None:
    password.announce(config, nobody, True)
    for file in (kept, local_password_file(config)):
        assert file.stat().st_mode & 0o777 == 0o600


def test_without_a_volume_the_password_lives_in_the_container(config: Settings, nobody: Users) -> None:
    made = MADE.search(password.announce(config, nobody, False))
    assert made is not None
    assert Password(config).matches(made[0])
    assert not config.workspace.exists()


def test_the_password_of_the_settings_is_not_told(make_settings: MakeSettings, nobody: Users) -> None:
    line = password.announce(make_settings(DASHBOARD_PASSWORD="canary"), nobody, True)
    assert "DASHBOARD_PASSWORD" in line
    assert "canary" not in line


def test_a_suite_without_login_says_so(make_settings: MakeSettings, nobody: Users) -> None:
    assert "AUTH=off" in password.announce(make_settings(AUTH="off"), nobody, True)


def test_a_volume_that_hangs_meanwhile_is_named_with_what_to_do(
    config: Settings, nobody: Users, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(password, "DEADLINE_SECONDS", 0.2)
    # Reading a pipe that nobody writes to hangs as a lost volume does.
    os.mkfifo(kept)
    started = time.monotonic()
    line = password.announce(config, nobody, True)
    assert time.monotonic() - started < 1.5
    assert line == f"could not be written to {kept} (no answer): set DASHBOARD_PASSWORD"


def test_a_place_that_cannot_be_written_is_named_with_what_to_do(config: Settings, nobody: Users) -> None:
    line = password.announce(config, nobody, True)
    assert str(config.workspace) in line
    assert "set DASHBOARD_PASSWORD" in line
