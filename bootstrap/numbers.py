"""PUID and PGID: the numbers that the volume's files are to belong to, given to the suite's user and its group."""

import os
import pwd
import shutil
import subprocess

from services.settings import Settings


def apply(settings: Settings) -> str:
    """Changes the system's users; what could not be done and what to do instead, empty when nothing was asked for.

    ComfyUI's user keeps its number: with the suite's, custom nodes could read the suite's secrets.
    """
    puid, pgid = settings.puid, settings.pgid
    if puid is None and pgid is None:
        return ""
    if os.geteuid() != 0:
        if puid in {None, os.geteuid()} and pgid in {None, os.getegid()}:
            return ""
        return f"PUID and PGID are only for a start as root: all belongs to {os.geteuid()}:{os.getegid()}"
    if puid is not None and puid == _uid_of(settings.comfyui_user):
        return f"PUID={puid} is the number of {settings.comfyui_user}, which ComfyUI runs as: choose another"
    instead = f"start it with --user {puid or pgid}:{pgid or puid} instead"
    commands = []
    if pgid is not None:
        commands.append(["groupmod", "--non-unique", "--gid", str(pgid), settings.workspace_group])
    if puid is not None:
        commands.append(["usermod", "--non-unique", "--uid", str(puid), settings.suite_user])
    for command in commands:
        if not shutil.which(command[0]):
            return f"PUID and PGID cannot be set, there is no {command[0]} here: {instead}"
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            return f"PUID and PGID cannot be set ({done.stderr.strip()}): {instead}"
    return ""


def _uid_of(user: str) -> int | None:
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None
