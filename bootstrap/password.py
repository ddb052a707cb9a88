"""The login's password: made once, kept on the volume, told once."""

from pathlib import Path

import msgspec

from bootstrap.deadline import TimedOut, run_within
from bootstrap.users import Users, as_user
from services.password import local_password_file, make_password, password_file
from services.settings import Settings
from services.volume import VolumeReport
from services.workspace import Workspace, write_atomic

DEADLINE_SECONDS = 3.0


def announce(settings: Settings, users: Users, report: VolumeReport) -> str:
    """A line for the console: the new password, or where it is found."""
    if not settings.auth:
        return "none: AUTH=off, whoever reaches the ports may do everything"
    if settings.dashboard_password:
        return "the one in DASHBOARD_PASSWORD"
    kept, local = password_file(Workspace(settings.workspace)), local_password_file(settings)

    def ensure() -> bytes:
        return msgspec.json.encode(_ensure(kept, local, report))

    try:
        answer = run_within(DEADLINE_SECONDS, as_user(users.suite, ensure))
    except (TimedOut, OSError) as error:
        file = kept if report.readable else local
        return f"could not be read from or written to {file} ({error}): set DASHBOARD_PASSWORD"
    made, place = msgspec.json.decode(answer, type=tuple[str, str])
    return f"{made}  (made now, kept in {place})" if made else f"the one in {place}"


def _ensure(kept: Path, local: Path, report: VolumeReport) -> tuple[str, str]:
    """(the password if it was made now, the file that keeps it). `kept`, on the volume, goes before `local`."""
    known = _known_on_volume(kept, report)
    on_volume = bool(known) or report.writable
    if not known:
        own, original = _lines(local)
        # With room on the volume, a copy of what is there no more was deleted to get a new one.
        known = "" if on_volume and original else own
    password = known or make_password()
    if on_volume and report.writable:
        write_atomic(kept, f"{password}\n".encode(), mode=0o600)
    write_atomic(local, f"{password}\n{kept if on_volume else ''}\n".encode(), mode=0o600)
    return "" if known else password, str(kept if on_volume else local)


def _known_on_volume(kept: Path, report: VolumeReport) -> str:
    if not report.readable:
        return ""
    try:
        return _lines(kept)[0]
    except OSError:
        if report.writable:
            raise
        # It cannot be made right: a password of the container's own lets its owner in.
        return ""


def _lines(file: Path) -> tuple[str, str]:
    """The first line and the second, empty where there is none. Raises OSError when the file cannot be read."""
    if not file.exists():
        return "", ""
    first, _, second = file.read_text(encoding="utf-8", errors="replace").partition("\n")
    return first.strip(), second.strip()
