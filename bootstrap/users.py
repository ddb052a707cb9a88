"""Which user runs what, and what of that separation this machine cannot give."""

import grp
import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bootstrap.deadline import TimedOut, run_within
from services.settings import APP_DIR, Settings

LOOK_SECONDS = 5.0
# What root needs to run programs as others, by the bit in CapEff (capabilities(7)). FSETID: without it, the bit that
# hands a folder's group down is lost.
CAPABILITIES = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6, "SETUID": 7}


@dataclass(frozen=True)
class User:
    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Users:
    """`suite` runs everything but ComfyUI. None: as whoever started the suite. `missing` says what is off, and why."""

    suite: User | None
    comfyui: User | None
    group: str | None
    missing: tuple[str, ...]

    def owner(self, of: Literal["suite", "comfyui"]) -> User | None:
        return self.suite if of == "suite" else self.comfyui


def find(settings: Settings, python: Path) -> Users:
    """The users to run as. Not root: everything runs as the one who started it."""
    if os.geteuid() != 0:
        return Users(
            None,
            None,
            None,
            ("not started as root: ComfyUI and its custom nodes run as the same user as the dashboard",),
        )
    if lacking := [name for name, bit in CAPABILITIES.items() if not _capabilities() >> bit & 1]:
        return Users(
            None,
            None,
            None,
            (
                f"root lacks the capabilities {', '.join(lacking)}: everything runs as it. For users of their own add "
                "them (--cap-add); to be sure of the volume's owner start with --user UID:GID",
            ),
        )
    try:
        suite, comfyui = _user(settings.suite_user), _user(settings.comfyui_user)
        group = grp.getgrnam(settings.workspace_group).gr_name
    except KeyError as error:
        return Users(None, None, None, (f"{error.args[0]}, so everything runs as root",))
    problem = _cannot(suite, [APP_DIR / "services" / "errors.py"], python)
    if problem:
        return Users(None, None, group, (f"user {suite.name} {problem}: everything runs as root",))
    problem = _cannot(comfyui, [settings.comfyui_dir / "main.py"], settings.comfyui_python)
    if problem:
        return Users(suite, suite, group, (f"user {comfyui.name} {problem}: ComfyUI runs as {suite.name}",))
    return Users(suite, comfyui, group, ())


def become(user: User | None) -> None:
    """Gives up root for `user` in this process; for children only."""
    if user is not None:
        os.initgroups(user.name, user.gid)
        os.setgid(user.gid)
        os.setuid(user.uid)


def as_user(user: User | None, work: Callable[[], bytes]) -> Callable[[], bytes]:
    def run() -> bytes:
        become(user)
        return work()

    return run


def _capabilities() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("CapEff:")[2].split()[0], 16)


def _user(name: str) -> User:
    entry = pwd.getpwnam(name)
    return User(name, entry.pw_uid, entry.pw_gid)


def _cannot(user: User, files: list[Path], python: Path) -> str:
    """What `user` may not do that it must; empty when nothing."""

    def look() -> bytes:
        for file in files:
            if file.exists() and not os.access(file, os.R_OK):
                return f"cannot read {file}".encode()
            if not file.exists() and not _can_enter(file.parent):
                return f"cannot enter {file.parent}".encode()
        if not os.access(python, os.X_OK):
            return f"cannot run {python}".encode()
        return b""

    try:
        return run_within(LOOK_SECONDS, as_user(user, look)).decode()
    except (TimedOut, OSError) as error:
        return f"could not be tried ({error})"


def _can_enter(folder: Path) -> bool:
    return os.access(folder, os.X_OK)
