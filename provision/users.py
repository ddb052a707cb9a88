"""The system users that the suite and ComfyUI run as when set-up is run by root."""

import grp
import os
import pwd
import shutil

from provision.errors import SetupError
from provision.step import Step


def create(step: Step) -> None:
    """Creates the group and the users that are missing. Not root: nothing. Raises SetupError."""
    if os.geteuid() != 0:
        return
    settings = step.settings
    group, users = settings.workspace_group, sorted({settings.suite_user, settings.comfyui_user} - {"root"})
    made = []
    if not _group_exists(group):
        _change(step, "groupadd", "--system", group)
        made.append(f"group {group}")
    for user in users:
        if not _user_exists(user):
            nologin = shutil.which("nologin") or "/bin/false"
            home = ("--home-dir", "/nonexistent", "--no-create-home")
            _change(step, "useradd", "--system", *home, "--shell", nologin, "--gid", group, user)
            made.append(f"user {user}")
        elif not _is_member(user, group):
            _change(step, "usermod", "--append", "--groups", group, user)
            made.append(f"{user} into group {group}")
    if made:
        step.say(f"added {', '.join(made)}: ComfyUI must not reach the suite's secrets")


def _change(step: Step, program: str, *arguments: str) -> None:
    if not shutil.which(program):
        raise SetupError(
            f"there is no {program} here: make the users by hand, and name them in SUITE_USER, COMFYUI_USER"
        )
    step.run("making the system users", program, *arguments)


def _group_exists(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _user_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _is_member(user: str, group: str) -> bool:
    return grp.getgrnam(group).gr_gid in os.getgrouplist(user, pwd.getpwnam(user).pw_gid)
