"""Whose the tokens are: asked of each hub with a call that needs one, and remembered as long as the process runs."""

import http.client
import queue
import threading
from typing import Literal

import msgspec
from msgspec import Struct

from services.credentials import HUBS, Credentials, Hub, Source
from services.errors import DownloadFailed
from services.http_stream import Client
from services.proxies import Proxies
from services.resolver import cause_of
from services.settings import Secret, Settings
from services.sources import Sources
from services.sources.civitai import SITE as CIVITAI
from services.sources.hugging_face import SITE as HUGGING_FACE

CHECK_SECONDS = 5.0
_ANSWER_BYTES = 64 * 1024

TITLES: dict[Hub, str] = {"huggingface": "Hugging Face", "civitai": "Civitai"}


class Checked(Struct, frozen=True):
    """What the hub said of a token. `account`: the name it belongs to there."""

    state: Literal["valid", "refused", "not_checked"]
    account: str | None = None
    message: str = ""


class Credential(Struct, frozen=True):
    """What may be told of the token for one hub: never the token. `source`: where it was set."""

    name: Hub
    set: bool
    source: Source | None
    state: Literal["valid", "refused", "not_checked"]
    account: str | None
    message: str


class _Account(Struct, frozen=True):
    """https://huggingface.co/api/whoami-v2 and https://civitai.com/api/v1/me, each by its own word."""

    name: str | None = None
    username: str | None = None


_decode = msgspec.json.Decoder(_Account).decode
_UNKNOWN = Checked("not_checked")


class HubAccounts:
    """Blocking: reading the tokens waits for the volume, `check` for the hub."""

    def __init__(self, settings: Settings, credentials: Credentials, proxies: Proxies) -> None:
        self._settings = settings
        self._credentials = credentials
        self._proxies = proxies
        self._known: dict[Hub, tuple[Secret, Checked]] = {}

    def credentials(self) -> tuple[Credential, ...]:
        return tuple(self.credential(hub) for hub in HUBS)

    def credential(self, hub: Hub) -> Credential:
        """With what was heard of this very token; nobody is asked."""
        secret, source = self._credentials.get(hub), self._credentials.source(hub)
        token, known = self._known.get(hub, (Secret(""), _UNKNOWN))
        said = known if secret and token == secret else _UNKNOWN
        return Credential(hub, bool(secret), source, said.state, said.account, said.message)

    def check(self, hub: Hub, secret: Secret) -> Checked:
        """What `hub` says of `secret`, within CHECK_SECONDS; it goes to that hub and nowhere else."""
        none = Secret("")
        sources = Sources(
            hf_token=secret if hub == "huggingface" else none,
            civitai_token=secret if hub == "civitai" else none,
            hf_endpoint=self._settings.hf_endpoint,
            private_hosts=self._settings.download_private_hosts,
        )
        return _within(CHECK_SECONDS, hub, Client(sources, self._proxies), sources)

    def remember(self, hub: Hub, secret: Secret, checked: Checked) -> None:
        """What was heard of the token that is used now."""
        self._known[hub] = (secret, checked)


def _within(seconds: float, hub: Hub, client: Client, sources: Sources) -> Checked:
    """A host that hangs must keep neither who asks nor the program's end."""
    answers: queue.SimpleQueue[Checked] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(_ask(hub, client, sources)), name="hub account", daemon=True).start()
    try:
        return answers.get(timeout=seconds)
    except queue.Empty:
        client.abort()
        return Checked("not_checked", message=f"{TITLES[hub]} did not answer within {seconds:.0f} s: check again later")


def _ask(hub: Hub, client: Client, sources: Sources) -> Checked:
    url = f"{CIVITAI}/api/v1/me" if hub == "civitai" else sources.address(f"{HUGGING_FACE}/api/whoami-v2")
    if not sources.headers(url):
        return Checked("not_checked", message="HF_ENDPOINT does not speak https, and tokens are not sent there")
    try:
        with client, client.get(url, {}) as stream:
            body = memoryview(bytearray(_ANSWER_BYTES))
            status, is_own, said = (
                stream.status,
                bool(sources.headers(stream.url)),
                bytes(body[: stream.read_into(body)]),
            )
    except DownloadFailed as failure:
        return Checked("not_checked", message=failure.message)
    except (OSError, http.client.HTTPException) as error:
        text = f"{TITLES[hub]} could not be reached ({cause_of(error)}): check again later"
        return Checked("not_checked", message=text)
    if status == 401 and is_own:
        return Checked("refused", message=f"{TITLES[hub]} does not know this token: copy it anew, or make a new one")
    account = _account(said) if status == 200 and is_own else None
    if account is None:
        return Checked("not_checked", message=f"{TITLES[hub]} answered HTTP {status}: check again later")
    return Checked("valid", account)


def _account(body: bytes) -> str | None:
    try:
        said = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    name = said.name or said.username or ""
    return "".join(filter(str.isprintable, name))[:100] or None
