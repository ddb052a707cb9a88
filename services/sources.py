"""Where models come from: which credentials go to which host, which addresses are allowed, what a refusal means."""

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from services.errors import DownloadFailed
from services.settings import Secret, Settings

HUGGING_FACE = "https://huggingface.co"
_CIVITAI_HOSTS = frozenset({"civitai.com", "www.civitai.com"})

# Wrap an IPv4 address, or reach one through a gateway; `is_global` says yes to all but the first two.
_DISGUISES = tuple(
    ipaddress.ip_network(text)
    for text in (
        "::ffff:0:0/96",
        "100.64.0.0/10",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2002::/16",
        "2001::/32",
        "fec0::/10",
    )
)


@dataclass(frozen=True)
class Sources:
    """Rules for one fetch. Tokens leave only for the host they belong to, and only over TLS."""

    hf_token: Secret
    civitai_token: Secret
    hf_endpoint: str
    private_hosts: bool

    @classmethod
    def from_settings(cls, settings: Settings) -> "Sources":
        return cls(
            hf_token=settings.hf_token,
            civitai_token=settings.civitai_token,
            hf_endpoint=settings.hf_endpoint,
            private_hosts=settings.download_private_hosts,
        )

    def address(self, url: str) -> str:
        """`url`, at the mirror set by HF_ENDPOINT if it is Hugging Face's."""
        if self.hf_endpoint and url.startswith(HUGGING_FACE + "/"):
            return self.hf_endpoint + url.removeprefix(HUGGING_FACE)
        return url

    def headers(self, url: str) -> dict[str, str]:
        """The credentials for `url`. Asked anew for every hop of a redirect."""
        token = self._token(url)
        return {"Authorization": f"Bearer {token.reveal()}"} if token else {}

    def _token(self, url: str) -> Secret | None:
        parts = urlsplit(url)
        if parts.scheme != "https":
            return None
        if parts.hostname in {urlsplit(HUGGING_FACE).hostname, urlsplit(self.hf_endpoint).hostname}:
            return self.hf_token or None
        if parts.hostname in _CIVITAI_HOSTS:
            return self.civitai_token or None
        return None

    def resolve(self, url: str) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
        """The addresses that `url` may be fetched from; connect to one of these and to nothing else.

        Raises DownloadFailed: permanent for a forbidden address, not for a name that does not resolve.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"https", "http"} or not parts.hostname:
            raise DownloadFailed(f"'{url[:200]}' is not an http address", permanent=True)
        if parts.scheme == "http" and not self.private_hosts:
            raise DownloadFailed(
                f"{parts.hostname}: only https is allowed (DOWNLOAD_PRIVATE_HOSTS=on allows http)", permanent=True
            )
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        except ValueError:
            raise DownloadFailed(f"'{url[:200]}' has no valid port", permanent=True) from None
        except OSError as error:
            raise DownloadFailed(f"{parts.hostname}: the name does not resolve ({error})", permanent=False) from None
        allowed: list[tuple[socket.AddressFamily, tuple[str, int]]] = [
            (family, (str(address[0]), port))
            for family, _, _, _, address in found
            if self.private_hosts or is_public(str(address[0]))
        ]
        if not allowed:
            raise DownloadFailed(
                f"{parts.hostname} is an address of an internal network; DOWNLOAD_PRIVATE_HOSTS=on allows it",
                permanent=True,
            )
        return allowed

    def refusal(self, status: int, url: str) -> DownloadFailed:
        """What an answer of `status` means for whoever wants the file at `url`."""
        host = urlsplit(url).hostname or url
        if status in {401, 403}:
            return DownloadFailed(self._locked(host, status), permanent=True, details={"status": status})
        if status in {404, 410}:
            return DownloadFailed(
                f"{host} has no such file (HTTP {status}): {_short(url)}", permanent=True, details={"status": status}
            )
        temporary = status in {408, 425, 429} or status >= 500
        return DownloadFailed(f"{host} answered HTTP {status}", permanent=not temporary, details={"status": status})

    def _locked(self, host: str, status: int) -> str:
        if "huggingface" in host or host == urlsplit(self.hf_endpoint).hostname:
            if not self.hf_token:
                return (
                    f"{host} asks for a token (HTTP {status}): accept the licence on the model's page and set HF_TOKEN"
                )
            return (
                f"{host} refused HF_TOKEN (HTTP {status}): accept the licence on the model's page; "
                "or there is no such file"
            )
        if host in _CIVITAI_HOSTS and not self.civitai_token:
            return f"{host} asks for a token (HTTP {status}): set CIVITAI_TOKEN"
        return f"{host} does not allow this download (HTTP {status})"


def is_public(address: str) -> bool:
    """Whether `address` is one of the public internet, and no private one in disguise."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    return (
        ip.is_global and not ip.is_multicast and not any(ip in net for net in _DISGUISES if net.version == ip.version)
    )


def _short(url: str) -> str:
    return urlsplit(url)._replace(query="", fragment="").geturl()[:300]
