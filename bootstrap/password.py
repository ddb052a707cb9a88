"""The login's password: made once, kept on the volume, told once."""

from bootstrap.deadline import TimedOut, run_within
from bootstrap.users import Users, as_user
from services.password import local_password_file, make_password, password_file
from services.settings import Settings
from services.workspace import Workspace, write_atomic

DEADLINE_SECONDS = 3.0


def announce(settings: Settings, users: Users, volume_writable: bool) -> str:
    """A line for the console: the new password, or where it is found."""
    if not settings.auth:
        return "none: AUTH=off, whoever reaches the ports may do everything"
    if settings.dashboard_password:
        return "the one in DASHBOARD_PASSWORD"
    local = local_password_file(settings)
    kept = password_file(Workspace(settings.workspace)) if volume_writable else local

    def ensure() -> bytes:
        known = kept.read_bytes().strip() if kept.exists() else b""
        password = known or make_password().encode()
        for file in (kept, local):
            write_atomic(file, password + b"\n", mode=0o600)
        return b"" if known else password

    try:
        password = run_within(DEADLINE_SECONDS, as_user(users.suite, ensure)).decode()
    except (TimedOut, OSError) as error:
        return f"could not be written to {kept} ({error}): set DASHBOARD_PASSWORD"
    return f"{password}  (made now, kept in {kept})" if password else f"the one in {kept}"
