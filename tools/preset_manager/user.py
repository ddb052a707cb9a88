"""Whose files it makes: started as root, it becomes the suite's user first, as everything but ComfyUI does.

The rules are those of the boot (bootstrap/users.py): where root cannot give its rights up, or the suite's user cannot
read the suite, everything runs as root, and so does this.
"""

import grp
import os
import pwd
import sys
from pathlib import Path

from services.settings import APP_DIR, Settings

# What the boot asks of root before it runs anything as others, as bits of CapEff (capabilities(7)): CHOWN,
# DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID.
_NEEDED = sum(1 << bit for bit in (0, 1, 3, 4, 5, 6, 7))


def become_suite(config: Settings) -> None:
    """For the rest of this process. What it makes may be changed by the group, as what the workers make."""
    os.umask(0o002)
    if os.geteuid() != 0 or not _may_become_others():
        return
    try:
        entry, _, _ = (
            pwd.getpwnam(config.suite_user),
            pwd.getpwnam(config.comfyui_user),
            grp.getgrnam(config.workspace_group),
        )
    except KeyError:
        return
    if _can_run_as(entry):
        _become(entry)


def _become(entry: pwd.struct_passwd) -> None:
    os.initgroups(entry.pw_name, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def _may_become_others() -> bool:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    capabilities = int(status.partition("CapEff:")[2].split()[0], 16)
    return capabilities & _NEEDED == _NEEDED


def _can_run_as(entry: pwd.struct_passwd) -> bool:
    """Tried in a child: there is no way back from there."""
    pid = os.fork()
    if pid == 0:
        try:
            _become(entry)
            can = os.access(APP_DIR / "services" / "errors.py", os.R_OK) and os.access(sys.executable, os.X_OK)
            os._exit(0 if can else 1)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0
