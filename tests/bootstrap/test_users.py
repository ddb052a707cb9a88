import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from bootstrap import users
from bootstrap.deadline import run_within
from bootstrap.users import User, Users, as_user
from services.settings import APP_DIR
from tests.bootstrap.conftest import MakeSettings


def test_without_users_of_its_own_the_suite_runs_as_whoever_started_it(make_settings: MakeSettings) -> None:
    found = users.find(make_settings(SUITE_USER="nosuchuser"), Path(sys.executable))
    assert (found.suite, found.comfyui) == (None, None)
    (reason,) = found.missing
    assert ("nosuchuser" in reason) if os.geteuid() == 0 else ("not started as root" in reason)


def test_a_group_that_is_missing_is_named(make_settings: MakeSettings) -> None:
    me = pwd.getpwuid(os.geteuid()).pw_name
    settings = make_settings(SUITE_USER=me, COMFYUI_USER=me, WORKSPACE_GROUP="nosuchgroup")
    (reason,) = users.find(settings, Path(sys.executable)).missing
    assert ("nosuchgroup" in reason) if os.geteuid() == 0 else ("not started as root" in reason)


@pytest.mark.parametrize("who", ["suite", "comfyui"])
def test_each_program_has_its_owner(who: str) -> None:
    suite, comfyui = User("suite", 1, 1), User("comfyui", 2, 2)
    assert Users(suite, comfyui, "g", ()).owner(who) == {"suite": suite, "comfyui": comfyui}[who]  # type: ignore[arg-type]


def test_work_without_a_user_is_done_as_oneself() -> None:
    assert run_within(20, as_user(None, lambda: str(os.geteuid()).encode())) == str(os.geteuid()).encode()


def test_work_as_oneself_by_name_is_allowed_to_root_and_refused_to_others() -> None:
    entry = pwd.getpwnam("nobody")
    user = User("nobody", entry.pw_uid, entry.pw_gid)
    work = as_user(user, lambda: f"{os.geteuid()} {os.getegid()}".encode())
    if os.geteuid() != 0:
        with pytest.raises(OSError, match="status"):
            run_within(20, work)
    else:
        assert run_within(20, work) == f"{user.uid} {user.gid}".encode()


def test_root_without_capabilities_is_told_which_it_needs() -> None:
    code = (
        "import sys; from bootstrap import users; from services.settings import load; "
        "print(users.find(load({}), sys.executable).missing)"
    )
    drop = ["setpriv", "--bounding-set=-kill,-setuid", "--inh-caps=-kill,-setuid"] if os.geteuid() == 0 else []
    said = subprocess.run(
        [*drop, sys.executable, "-c", code], cwd=APP_DIR, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    assert ("lacks the capabilities KILL, SETUID" in said) if os.geteuid() == 0 else ("not started as root" in said)
