"""The tokens for the hubs that models come from: what was saved in the dashboard, else what the environment says."""

import contextlib
from typing import Literal

from services import log
from services.cached_file import CachedFile
from services.errors import InvalidRequest, NotFound
from services.settings import Secret, Settings, token
from services.workspace import PRIVATE_MODE, Workspace, write_atomic

Hub = Literal["huggingface", "civitai"]
Source = Literal["settings", "environment"]

HUBS: tuple[Hub, ...] = ("huggingface", "civitai")
# No token is longer, and a header that is gets refused by hosts with words that nobody understands.
MAX_TOKEN_LENGTH = 1000


class Credentials:
    """One token per hub, each in a file of `config/secrets/` that its owner alone can read. Blocking.

    Whoever asks gets what lies there now: a token that was set a moment ago helps the next download.
    """

    def __init__(self, settings: Settings, workspace: Workspace) -> None:
        self._given: dict[Hub, Secret] = {"huggingface": settings.hf_token, "civitai": settings.civitai_token}
        self._files = {hub: CachedFile(workspace.secrets / f"{hub}.token", _read, Secret("")) for hub in HUBS}

    def get(self, hub: Hub) -> Secret:
        """The token to use, empty for none."""
        return self._saved(hub) or self._given[hub]

    def source(self, hub: Hub) -> Source | None:
        """Where the token comes from; None: there is none."""
        if self._saved(hub):
            return "settings"
        return "environment" if self._given[hub] else None

    def put(self, hub: Hub, secret: Secret) -> None:
        """From now on `secret` is used, whatever the environment says. Raises NotEnoughSpace, OSError."""
        file = self._files[hub].file
        file.parent.mkdir(mode=PRIVATE_MODE, parents=True, exist_ok=True)
        write_atomic(file, secret.reveal().encode() + b"\n", mode=0o600)

    def delete(self, hub: Hub) -> None:
        """What the environment says is used again. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            self._files[hub].file.unlink()

    def _saved(self, hub: Hub) -> Secret:
        try:
            return self._files[hub].get()
        except (OSError, ValueError) as error:
            # Downloads go on with the environment's, or without one: the hub then says what it misses.
            reason = "it holds no token" if isinstance(error, ValueError) else str(error)
            log.get("credentials").warning("token_unreadable", file=str(self._files[hub].file), reason=reason)
            return Secret("")


def known_hub(name: str) -> Hub:
    """`name`, if it is that of a hub. Raises NotFound."""
    for hub in HUBS:
        if hub == name:
            return hub
    raise NotFound(f"there is no hub '{name[:40]}' that takes a token; there are {', '.join(HUBS)}")


def checked_token(text: str) -> Secret:
    """The token that someone entered. Raises InvalidRequest, which does not repeat it."""
    try:
        secret = token(text)
    except ValueError as error:
        raise InvalidRequest(str(error)) from None
    if not secret:
        raise InvalidRequest("the token is empty: copy it from the account settings of the hub")
    if len(secret.reveal()) > MAX_TOKEN_LENGTH:
        raise InvalidRequest(f"the token is longer than {MAX_TOKEN_LENGTH} characters, as no token is: copy it anew")
    return secret


def _read(data: bytes) -> Secret:
    """Raises ValueError for what is no token."""
    return token(data.decode("ascii"))
