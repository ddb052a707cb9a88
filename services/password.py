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
    """The copy that bootstrap leaves on the container's own disk: a volume that hangs must not keep its owner out."""
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
        self._kept = password_file(Workspace(settings.workspace))

    @property
    def source(self) -> str:
        """Where the owner finds it."""
        return "DASHBOARD_PASSWORD" if self._given else str(self._kept)

    def matches(self, attempt: str) -> bool:
        """In constant time for whoever measures. Raises Unavailable when there is nothing to hold it against."""
        expected = self._given.reveal() or self._stored()
        return hmac.compare_digest(_digest(attempt), _digest(expected))

    def _stored(self) -> str:
        try:
            stored = self._local.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            stored = ""
        if not stored:
            raise Unavailable(f"{self._local} holds no password: restart the suite, or set DASHBOARD_PASSWORD")
        return stored


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
