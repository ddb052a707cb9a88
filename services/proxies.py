"""Which proxy leads to an address, by the rules that curl has made common."""

import base64
import ipaddress
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from services.settings import Secret, Settings
from services.sources.addresses import PORTS, split


@dataclass(frozen=True)
class Proxy:
    """A proxy that is spoken to in plain http. `credentials`: user:password, empty where it asks for none."""

    scheme: str
    host: str
    port: int
    credentials: Secret

    def headers(self) -> dict[str, str]:
        """What the proxy itself wants to see: in CONNECT, or in a request that it forwards; never for the host."""
        if not self.credentials:
            return {}
        text = base64.b64encode(self.credentials.reveal().encode()).decode("ascii")
        return {"Proxy-Authorization": f"Basic {text}"}


@dataclass(frozen=True)
class Proxies:
    """The proxy of each scheme, and what is reached without one."""

    http: Proxy | None
    https: Proxy | None
    exempt: tuple[str, ...] = ()

    @classmethod
    def from_settings(cls, settings: Settings) -> "Proxies":
        return cls(
            http=_proxy(settings.http_proxy or settings.all_proxy),
            https=_proxy(settings.https_proxy or settings.all_proxy),
            exempt=settings.no_proxy,
        )

    def for_url(self, url: str) -> Proxy | None:
        """The proxy to reach `url` by; None: without one. Raises DownloadFailed for what is no address."""
        parts = split(url)
        proxy = {"http": self.http, "https": self.https}.get(parts.scheme)
        return None if proxy is None or self._is_exempt(parts) else proxy

    def _is_exempt(self, parts: SplitResult) -> bool:
        host, port = (parts.hostname or "").rstrip("."), parts.port or PORTS[parts.scheme]
        return any(entry == "*" or _covers(entry.lower(), host, port) for entry in self.exempt)


# No proxy for anything.
DIRECT = Proxies(None, None)


def _proxy(address: Secret) -> Proxy | None:
    """The proxy at `address`, which the settings have checked."""
    if not address:
        return None
    parts = urlsplit(address.reveal())
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Proxy(
        scheme=parts.scheme,
        host=parts.hostname or "",
        port=parts.port or PORTS["http"],
        credentials=Secret(f"{user}:{password}" if user or password else ""),
    )


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether `entry` of NO_PROXY means `host` at `port`. Names are compared as names: nothing is resolved."""
    name, wanted_port = _apart(entry)
    if wanted_port is not None and wanted_port != port:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        domain = name.strip(".")
        return bool(domain) and f".{host}".endswith(f".{domain}")
    try:
        return address in ipaddress.ip_network(name, strict=False)
    except ValueError:
        return False


def _apart(entry: str) -> tuple[str, int | None]:
    """(host, port) of `entry`. More than one colon is an IPv6 address, which has a port only behind brackets."""
    name, colon, port = entry.rpartition(":")
    if colon and port.isascii() and port.isdigit() and (name.endswith("]") or ":" not in name):
        return name.strip("[]"), int(port)
    return entry.strip("[]"), None
