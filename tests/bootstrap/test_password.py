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
from services.volume import State, VolumeReport
from services.workspace import Workspace
from tests.bootstrap.conftest import MakeSettings

MADE = re.compile(r"([a-z2-9]{4}-){4}[a-z2-9]{4}")


def report(config: Settings, state: State = "ok") -> VolumeReport:
    return VolumeReport(state, str(config.workspace), "")


def new_container(config: Settings) -> None:
    shutil.rmtree(config.state_dir / "secrets")
    (config.state_dir / "secrets").mkdir()


@pytest.fixture
def kept(config: Settings) -> Path:
    """Where the password lies on the volume."""
    file = password_file(Workspace(config.workspace))
    file.parent.mkdir(parents=True)
    return file


def test_a_password_is_made_kept_and_told_once(config: Settings, nobody: Users, kept: Path) -> None:
    first, second = (password.announce(config, nobody, report(config)) for _ in range(2))
    made = MADE.search(first)
    assert made is not None
    assert Password(config).matches(made[0])
    assert made[0] not in second
    assert str(kept) in second


def test_a_new_container_knows_the_password_on_the_volume(config: Settings, nobody: Users, kept: Path) -> None:
    password.announce(config, nobody, report(config))
    known = kept.read_text().strip()
    new_container(config)
    password.announce(config, nobody, report(config))
    assert Password(config).matches(known)


@pytest.mark.parametrize("state", ["read_only", "full"])
def test_a_new_container_knows_the_password_on_a_volume_that_cannot_be_written(
    state: State, config: Settings, nobody: Users, kept: Path
) -> None:
    password.announce(config, nobody, report(config))
    known = kept.read_text().strip()
    new_container(config)
    line = password.announce(config, nobody, report(config, state))
    assert line == f"the one in {kept}"
    assert Password(config).matches(known)
    assert Password(config).source == str(kept)


@pytest.mark.parametrize("state", ["read_only", "full", "hung", "missing"])
def test_the_file_that_holds_the_password_is_named(state: State, config: Settings, nobody: Users) -> None:
    line = password.announce(config, nobody, report(config, state))
    assert Password(config).source == str(local_password_file(config))
    assert Password(config).source in line
    assert password.announce(config, nobody, report(config, state)) == f"the one in {Password(config).source}"


def test_a_password_made_without_a_volume_is_kept_on_it_when_it_is_there(
    config: Settings, nobody: Users, kept: Path
) -> None:
    password.announce(config, nobody, report(config, "hung"))
    made = local_password_file(config).read_text().strip()
    password.announce(config, nobody, report(config))
    assert kept.read_text().strip() == made
    assert Password(config).source == str(kept)


def test_a_password_that_was_deleted_from_the_volume_is_made_anew(config: Settings, nobody: Users, kept: Path) -> None:
    password.announce(config, nobody, report(config))
    before = kept.read_text()
    kept.unlink()
    assert MADE.search(password.announce(config, nobody, report(config)))
    assert kept.read_text() != before


def test_nobody_else_can_read_the_password(config: Settings, nobody: Users, kept: Path) -> None:
    password.announce(config, nobody, report(config))
    for file in (kept, local_password_file(config)):
        assert file.stat().st_mode & 0o777 == 0o600


def test_without_a_volume_the_password_lives_in_the_container(config: Settings, nobody: Users) -> None:
    made = MADE.search(password.announce(config, nobody, report(config, "missing")))
    assert made is not None
    assert Password(config).matches(made[0])
    assert not config.workspace.exists()


def test_the_password_of_the_settings_is_not_told(make_settings: MakeSettings, nobody: Users) -> None:
    config = make_settings(DASHBOARD_PASSWORD="canary")
    line = password.announce(config, nobody, report(config))
    assert "DASHBOARD_PASSWORD" in line
    assert "canary" not in line


def test_a_suite_without_login_says_so(make_settings: MakeSettings, nobody: Users) -> None:
    config = make_settings(AUTH="off")
    assert "AUTH=off" in password.announce(config, nobody, report(config))


def test_a_volume_that_hangs_meanwhile_is_named_with_what_to_do(
    config: Settings, nobody: Users, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(password, "DEADLINE_SECONDS", 0.2)
    # Reading a pipe that nobody writes to hangs as a lost volume does.
    os.mkfifo(kept)
    started = time.monotonic()
    line = password.announce(config, nobody, report(config))
    assert time.monotonic() - started < 10
    assert line == f"could not be read from or written to {kept} (no answer): set DASHBOARD_PASSWORD"


def test_a_place_that_cannot_be_written_is_named_with_what_to_do(config: Settings, nobody: Users) -> None:
    line = password.announce(config, nobody, report(config))
    assert str(config.workspace) in line
    assert "set DASHBOARD_PASSWORD" in line
