"""The password of the login: the one of the settings, else one that is made at the first start and kept."""

import hashlib
import hmac
import secrets
from pathlib import Path

from services.errors import Unavailable
from services.settings import Settings
from services.workspace import Workspace


def password_file(workspace: Workspace) -> Path:
    return workspace.secrets / "dashboard_password"


def local_password_file(settings: Settings) -> Path:
    """The copy that bootstrap leaves on the container's own disk: a volume that hangs must not keep its owner out.

    The password, and in a second line the file on the volume that it was copied from, if it was.
    """
    return settings.state_dir / "secrets" / "dashboard_password"


def make_password() -> str:
    """Five groups of four letters and digits that are hard to mistake for one another: 96 bits."""
    alphabet = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(alphabet) for _ in range(4)) for _ in range(5))


class Password:
    """The one of the settings, else the one that bootstrap made."""

    def __init__(self, settings: Settings) -> None:
        self._given = settings.dashboard_password
        self._local = local_password_file(settings)

    @property
    def source(self) -> str:
        """Where the owner finds it."""
        if self._given:
            return "DASHBOARD_PASSWORD"
        _, original = self._lines()
        return original or str(self._local)

    def matches(self, attempt: str) -> bool:
        """In constant time for whoever measures. Raises Unavailable when there is nothing to hold it against."""
        return hmac.compare_digest(_digest(attempt), _digest(self.reveal()))

    def reveal(self) -> str:
        """Raises Unavailable when there is none."""
        if self._given:
            return self._given.reveal()
        stored, _ = self._lines()
        if not stored:
            raise Unavailable(f"{self._local} holds no password: restart the suite, or set DASHBOARD_PASSWORD")
        return stored

    def _lines(self) -> tuple[str, str]:
        """(password, the file it was copied from), each empty when there is none."""
        try:
            stored, _, original = self._local.read_text(encoding="utf-8").partition("\n")
        except (OSError, UnicodeDecodeError):
            return "", ""
        return stored.strip(), original.strip()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
