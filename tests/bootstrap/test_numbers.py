"""PUID and PGID, on a system of their own: a root in which /etc/passwd may be changed."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.settings import APP_DIR
from tests.bootstrap.conftest import IN_A_NAMESPACE, PRIVATE_MOUNTS

PROGRAM = (
    "import sys; sys.path.insert(0, {root!r})\n"
    "from bootstrap import numbers\n"
    "from services.settings import from_environment\n"
    "print(numbers.apply(from_environment()))"
)
USERS = ("SUITE_USER=theirs", "COMFYUI_USER=nodes", "WORKSPACE_GROUP=shared")


@pytest.fixture
def apply() -> Iterator[Callable[..., tuple[str, str]]]:
    """What numbers.apply() says and what /etc/passwd and /etc/group then hold, with /etc a copy for this process."""
    folder = Path(tempfile.mkdtemp(prefix="etc-", dir="/tmp"))

    def run(*settings: str, read_only: bool = False) -> tuple[str, str]:
        etc = folder / "etc"
        shutil.rmtree(etc, ignore_errors=True)
        etc.mkdir()
        (etc / "passwd").write_text(
            "root:x:0:0::/root:/bin/sh\ntheirs:x:901:900::/nonexistent:/bin/false\n"
            "nodes:x:902:900::/nonexistent:/bin/false\n"
        )
        (etc / "group").write_text("root:x:0:\nshared:x:900:\n")
        for name in ("shadow", "gshadow", "login.defs"):
            (etc / name).touch()
        script = f"mount --bind {etc} /etc && " + ("mount -o remount,bind,ro /etc && " if read_only else "")
        python = [sys.executable, "-c", PROGRAM.format(root=str(APP_DIR))]
        command = [*IN_A_NAMESPACE, "sh", "-ec", f'{PRIVATE_MOUNTS}{script} exec "$@"', "sh"]
        command += ["env", *USERS, *settings, *python]
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        return said, (etc / "passwd").read_text() + (etc / "group").read_text()

    yield run
    shutil.rmtree(folder)


def test_the_suites_user_and_group_get_them(apply: Callable[..., tuple[str, str]]) -> None:
    said, users = apply("PUID=1234", "PGID=2345")
    assert said == ""
    assert "theirs:x:1234:2345:" in users
    assert "nodes:x:902:2345:" in users
    assert "shared:x:2345:" in users


def test_nothing_is_changed_unless_asked_for(apply: Callable[..., tuple[str, str]]) -> None:
    said, users = apply()
    assert said == ""
    assert "theirs:x:901:900:" in users


def test_the_number_of_comfyuis_user_is_refused(apply: Callable[..., tuple[str, str]]) -> None:
    said, users = apply("PUID=902")
    assert said == "PUID=902 is the number of nodes, which ComfyUI runs as: choose another"
    assert "theirs:x:901:900:" in users


def test_where_etc_is_read_only_it_says_what_to_do(apply: Callable[..., tuple[str, str]]) -> None:
    said, users = apply("PUID=1234", "PGID=2345", read_only=True)
    assert said.startswith("PUID and PGID cannot be set (")
    assert said.endswith("start it with --user 1234:2345 instead")
    assert "theirs:x:901:900:" in users


def test_where_the_tools_are_missing_it_says_what_to_do(apply: Callable[..., tuple[str, str]]) -> None:
    said, users = apply("PUID=1234", "PATH=/usr/bin")
    assert said == "PUID and PGID cannot be set, there is no usermod here: start it with --user 1234:1234 instead"
    assert "theirs:x:901:900:" in users


def test_who_was_started_as_them_hears_nothing() -> None:
    drop = ["setpriv", "--reuid=777", "--regid=778", "--clear-groups"] if os.geteuid() == 0 else []
    uid, gid = (777, 778) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    command = [*drop, "env", f"PUID={uid}", f"PGID={gid}", sys.executable, "-c", PROGRAM.format(root=str(APP_DIR))]
    assert subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout == "\n"


def test_they_are_for_root_only() -> None:
    drop = ["setpriv", "--reuid=777", "--regid=778", "--clear-groups"] if os.geteuid() == 0 else []
    command = [*drop, "env", "PUID=1234", sys.executable, "-c", PROGRAM.format(root=str(APP_DIR))]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    me = "777:778" if os.geteuid() == 0 else f"{os.geteuid()}:{os.getegid()}"
    assert said == f"PUID and PGID are only for a start as root: all belongs to {me}\n"
