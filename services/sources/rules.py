"""The rules of one fetch: credentials, links, and what an answer means that is not the file."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import services.sources.addresses as addresses
import services.sources.civitai as civitai
import services.sources.hugging_face as hugging_face
from services.credentials import Credentials
from services.errors import DownloadFailed
from services.settings import Secret, Settings
from services.sources.addresses import PORTS, shown, split
from services.sources.hugging_face import Promise
from services.sources.troubles import Kind, Trouble

# What no model is sent as.
_PAGES = frozenset({"text/html", "application/xhtml+xml", "application/json", "application/xml", "text/xml"})


@dataclass(frozen=True)
class Sources:
    """Rules for one fetch. Tokens leave only for the host they belong to, and only over TLS."""

    hf_token: Secret
    civitai_token: Secret
    hf_endpoint: str
    private_hosts: bool

    @classmethod
    def from_settings(cls, settings: Settings, credentials: Credentials) -> "Sources":
        """With the tokens of this moment: blocking."""
        return cls(
            hf_token=credentials.get("huggingface"),
            civitai_token=credentials.get("civitai"),
            hf_endpoint=settings.hf_endpoint,
            private_hosts=settings.download_private_hosts,
        )

    def address(self, url: str) -> str:
        """Where the file is asked for that `url` means: a page's file, and Hugging Face's at the mirror.

        Raises DownloadFailed, permanent, for a page that does not say which file.
        """
        url = self.link(url)
        if self.hf_endpoint and url.startswith(hugging_face.SITE + "/"):
            return self.hf_endpoint + url.removeprefix(hugging_face.SITE)
        return url

    def link(self, url: str) -> str:
        """The address of the file itself, also where `url` is that of its page; no mirror in it.

        Raises DownloadFailed, permanent, for a page that does not say which file.
        """
        return hugging_face.link(civitai.link(url))

    def is_hugging_face(self, url: str) -> bool:
        """Whether the hub or its mirror answers at `url`. Raises DownloadFailed for what is no address."""
        return self._is_hugging_face(split(url))

    def headers(self, url: str) -> dict[str, str]:
        """The credentials for `url`. Asked anew for every hop of a redirect."""
        token = self._token(url)
        return {"Authorization": f"Bearer {token.reveal()}"} if token else {}

    def check(self, url: str) -> str:
        """All that `resolve` checks but DNS, for a proxy that resolves the name itself: it is asked for exactly the
        `host:port` that comes back.

        Raises DownloadFailed, permanent.
        """
        host, port = addresses.check(url, private_hosts=self.private_hosts)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def resolve(self, url: str) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
        """The addresses that `url` may be fetched from; connect to one of these and to nothing else.

        Raises DownloadFailed: permanent for a forbidden address, not for a name that does not resolve.
        """
        return addresses.resolve(url, private_hosts=self.private_hosts)

    def promised(self, url: str, headers: Mapping[str, str]) -> Promise:
        """What the answer of `url` says of the file, by its lower-case headers; nothing if it is not Hugging Face's.

        Hugging Face says it in the redirect to its store, not in what the store answers.
        """
        return hugging_face.promise(headers) if self._is_hugging_face(split(url)) else Promise()

    def refusal(
        self, status: int, url: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> DownloadFailed:
        """What an answer of `status` means for whoever wants the file at `url`, and what to do.

        `headers`: lower-case. `body`: its first few thousand bytes, if they are at hand; Civitai says why only there.
        """
        if civitai.is_login(split(url)):
            return self._login(status)
        temporary = status in {408, 425, 429} or status >= 500
        trouble = self._own_words(status, url, headers or {}, body) or self._plain_words(status, url)
        return trouble.failure(permanent=not temporary, status=status)

    def not_the_file(self, url: str, content_type: str) -> DownloadFailed | None:
        """What it means when `url`, where the redirects led, answers 200 with `content_type`; None for a file."""
        kind, parts = content_type.partition(";")[0].strip().lower(), split(url)
        if kind not in _PAGES:
            return None
        if civitai.is_login(parts):
            return self._login(200)
        if parts.hostname in civitai.HOSTS:
            trouble = civitai.explain_page(url)
        elif self._is_hugging_face(parts):
            text = "take the file's own link, which has /resolve/ in it"
            trouble = Trouble("not_a_file", f"{parts.hostname} sent a page ({kind}) instead of the file: {text}")
        else:
            text = "is a login or a licence needed?"
            trouble = Trouble("not_a_file", f"{parts.hostname} sent a page ({kind}) instead of the file: {text}")
        return trouble.failure(permanent=True, status=200)

    def _login(self, status: int) -> DownloadFailed:
        """Whatever the login answers, the file is not there."""
        trouble = civitai.explain_login(has_token=bool(self.civitai_token))
        return trouble.failure(permanent=True, status=status)

    def _token(self, url: str) -> Secret | None:
        parts = split(url)
        if parts.scheme != "https" or not parts.hostname:
            return None
        # Another port is another program, which need not be the hub's.
        if _origin(parts) in {_origin(urlsplit(site)) for site in (hugging_face.SITE, self.hf_endpoint)}:
            return self.hf_token or None
        if parts.hostname in civitai.HOSTS and _origin(parts)[1] == PORTS["https"]:
            return self.civitai_token or None
        return None

    def _is_hugging_face(self, parts: SplitResult) -> bool:
        sites = (hugging_face.SITE, self.hf_endpoint)
        return parts.hostname is not None and parts.hostname in {urlsplit(site).hostname for site in sites}

    def _own_words(self, status: int, url: str, headers: Mapping[str, str], body: bytes) -> Trouble | None:
        """What the host means, where it is one whose ways are known."""
        parts = split(url)
        if self._is_hugging_face(parts):
            return hugging_face.explain(status, url, headers, has_token=bool(self.hf_token))
        if parts.hostname in civitai.HOSTS:
            return civitai.explain(status, url, body, has_token=bool(self.civitai_token))
        return None

    def _plain_words(self, status: int, url: str) -> Trouble:
        """What the status means on any host."""
        host = split(url).hostname or shown(url)
        if status in {401, 403}:
            kind: Kind = "unauthorized" if status == 401 else "forbidden"
            return Trouble(kind, f"{host} does not allow this download (HTTP {status})")
        if status in {404, 410}:
            return Trouble("missing", f"{host} has no such file (HTTP {status}): {shown(url)}")
        if status == 429:
            is_anonymous = self._is_hugging_face(split(url)) and not self.hf_token
            more = "; it takes more with HF_TOKEN" if is_anonymous else ""
            text = f"{host} takes no more requests for now (HTTP 429){more}"
            return Trouble("unreachable", text, token="HF_TOKEN" if is_anonymous else None)
        return Trouble("unreachable", f"{host} answered HTTP {status}")


def _origin(parts: SplitResult) -> tuple[str | None, int | None]:
    """(host, port) of an https address."""
    return parts.hostname, parts.port or PORTS["https"]
