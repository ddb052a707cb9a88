"""Where models come from: which credentials go to which host, which addresses are allowed, what a refusal means."""

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from services.errors import DownloadFailed
from services.log import redact
from services.settings import Secret, Settings

HUGGING_FACE = "https://huggingface.co"
_CIVITAI_HOSTS = frozenset({"civitai.com", "www.civitai.com"})

# The only part of IPv6 that is given out to the internet (IANA, "IPv6 Global Unicast Address Space"). What wraps an
# IPv4 address or reaches one through a gateway lies outside of it, but for 6to4 and Teredo.
_INTERNET = ipaddress.ip_network("2000::/3")
_TUNNELS = (ipaddress.ip_network("2002::/16"), ipaddress.ip_network("2001::/32"))


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
        parts = _split(url)
        if parts.scheme != "https" or not parts.hostname:
            return None
        if parts.hostname in self._hugging_face_hosts:
            return self.hf_token or None
        if parts.hostname in _CIVITAI_HOSTS:
            return self.civitai_token or None
        return None

    @property
    def _hugging_face_hosts(self) -> set[str | None]:
        return {urlsplit(address).hostname for address in (HUGGING_FACE, self.hf_endpoint) if address}

    def resolve(self, url: str) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
        """The addresses that `url` may be fetched from; connect to one of these and to nothing else.

        Raises DownloadFailed: permanent for a forbidden address, not for a name that does not resolve.
        """
        parts = _split(url)
        if parts.scheme not in {"https", "http"} or not parts.hostname:
            raise DownloadFailed(f"'{_short(url)}' is not an http address", permanent=True)
        if parts.scheme == "http" and not self.private_hosts:
            raise DownloadFailed(
                f"{parts.hostname}: only https is allowed (DOWNLOAD_PRIVATE_HOSTS=on allows http)", permanent=True
            )
        if not self.private_hosts and _is_loopback_name(parts.hostname):
            raise _internal(parts.hostname)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        except ValueError:
            raise DownloadFailed(f"'{parts.hostname[:200]}' cannot be the name of a host", permanent=True) from None
        except OSError as error:
            raise DownloadFailed(f"{parts.hostname}: the name does not resolve ({error})", permanent=False) from None
        allowed: list[tuple[socket.AddressFamily, tuple[str, int]]] = [
            (family, (str(address[0]), port))
            for family, _, _, _, address in found
            if self.private_hosts or is_public(str(address[0]))
        ]
        if not allowed:
            raise _internal(parts.hostname)
        return allowed

    def refusal(self, status: int, url: str) -> DownloadFailed:
        """What an answer of `status` means for whoever wants the file at `url`."""
        host = _split(url).hostname or _short(url)
        if status in {401, 403}:
            return DownloadFailed(self._locked(host, status), permanent=True, details={"status": status})
        if status in {404, 410}:
            return DownloadFailed(
                f"{host} has no such file (HTTP {status}): {_short(url)}", permanent=True, details={"status": status}
            )
        temporary = status in {408, 425, 429} or status >= 500
        return DownloadFailed(f"{host} answered HTTP {status}", permanent=not temporary, details={"status": status})

    def _locked(self, host: str, status: int) -> str:
        if host in self._hugging_face_hosts:
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


def _internal(host: str) -> DownloadFailed:
    return DownloadFailed(
        f"{host} is an address of an internal network; DOWNLOAD_PRIVATE_HOSTS=on allows it", permanent=True
    )


def _is_loopback_name(host: str) -> bool:
    """RFC 6761, 6.3: these are this machine, whatever a resolver says of them, or whether it knows them at all."""
    return f".{host.rstrip('.')}".endswith(".localhost")


def is_public(address: str) -> bool:
    """Whether `address` is one of the public internet, and no private one in disguise."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if not ip.is_global or ip.is_multicast:
        return False
    return ip.version == 4 or (ip in _INTERNET and not any(ip in tunnel for tunnel in _TUNNELS))


def _split(url: str) -> SplitResult:
    """The parts of `url`, its port among them. Raises DownloadFailed when it cannot be taken apart."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise DownloadFailed(f"'{_short(url)}' is no address", permanent=True) from None
    return parts


def _short(url: str) -> str:
    """`url` as it may be told: without what may be a secret."""
    return redact(url.partition("#")[0].partition("?")[0])[:300]
