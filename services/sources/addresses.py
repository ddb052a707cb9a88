"""Which addresses may be fetched from: the internet's, and those of the own network only where a setting allows it."""

import ipaddress
import re
import socket
from urllib.parse import SplitResult, urlsplit

from services.errors import DownloadFailed
from services.log import redact

PORTS = {"http": 80, "https": 443}

# The only part of IPv6 that is given out to the internet (IANA, "IPv6 Global Unicast Address Space"). What wraps an
# IPv4 address or reaches one through a gateway lies outside of it, but for 6to4 and Teredo.
_INTERNET = ipaddress.ip_network("2000::/3")
_TUNNELS = (ipaddress.ip_network("2002::/16"), ipaddress.ip_network("2001::/32"))

# Names that mean something only on one machine or in one network, whatever a resolver says of them: RFC 6761, 6.3;
# RFC 6762; RFC 8375; ".internal" is what ICANN set aside for this, and where clouds keep their machines' secrets.
_INSIDE = (".localhost", ".local", ".home.arpa", ".internal")

_NAME = re.compile(r"[a-z0-9._-]+")
# A last label like this makes the whole host a number: of an address, or of nothing.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def check(url: str, *, private_hosts: bool) -> tuple[str, int]:
    """Host and port of `url`, in the letters that others get to see. Raises DownloadFailed, permanent, for all that is
    forbidden and shows without DNS."""
    parts = split(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise DownloadFailed(f"'{shown(url)}' is not an http address", permanent=True)
    if parts.scheme == "http" and not private_hosts:
        raise DownloadFailed(
            f"{parts.hostname}: only https is allowed (DOWNLOAD_PRIVATE_HOSTS=on allows http)", permanent=True
        )
    host = _ascii(parts.hostname)
    if not private_hosts:
        _check_is_outside(host)
    return host, parts.port or PORTS[parts.scheme]


def resolve(url: str, *, private_hosts: bool) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    """The addresses that `url` may be fetched from. Raises DownloadFailed: not permanent if the name is not found."""
    host, port = check(url, private_hosts=private_hosts)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise DownloadFailed(f"{host}: the name does not resolve ({error})", permanent=False) from None
    allowed: list[tuple[socket.AddressFamily, tuple[str, int]]] = [
        (family, (str(address[0]), port))
        for family, _, _, _, address in found
        if private_hosts or is_public(str(address[0]))
    ]
    if not allowed:
        raise _internal(host)
    return allowed


def is_public(address: str) -> bool:
    """Whether `address` is one of the public internet, and no private one in disguise."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if not ip.is_global or ip.is_multicast:
        return False
    return ip.version == 4 or (ip in _INTERNET and not any(ip in tunnel for tunnel in _TUNNELS))


def split(url: str) -> SplitResult:
    """The parts of `url`, its port among them. Raises DownloadFailed when it cannot be taken apart."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise DownloadFailed(f"'{shown(url)}' is no address", permanent=True) from None
    return parts


def shown(url: str) -> str:
    """`url` as it may be told: without what may be a secret."""
    return redact(url.partition("#")[0].partition("?")[0])[:300]


def _ascii(host: str) -> str:
    """`host` as resolvers and proxies get to see it: they take other alphabets' digits and dots for ours."""
    if ":" in host:
        return host
    try:
        name = host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        name = ""
    if not _NAME.fullmatch(name):
        raise DownloadFailed(f"'{host[:200]}' cannot be the name of a host", permanent=True)
    return name


def _check_is_outside(host: str) -> None:
    name = host.rstrip(".")
    address = _written_out(name)
    if address is None:
        if "." not in name or name.endswith(_INSIDE):
            raise _internal(host)
    elif not is_public(address):
        raise _internal(host)
    elif ":" not in name and address != name:
        # Some read 010.0.0.1 as 8.0.0.1 and some as 10.0.0.1.
        raise DownloadFailed(f"{host}: write the address as {address}", permanent=True)


def _written_out(name: str) -> str | None:
    """The address that `name` is, also where it is written as one number, in hex or in octal; None for a name."""
    try:
        if ":" in name:
            return str(ipaddress.ip_address(name))
        if _NUMBER.fullmatch(name.rpartition(".")[2]):
            return socket.inet_ntoa(socket.inet_aton(name))
    except (ValueError, OSError):
        raise DownloadFailed(f"'{name[:200]}' cannot be the name of a host", permanent=True) from None
    return None


def _internal(host: str) -> DownloadFailed:
    return DownloadFailed(
        f"{host} is an address of an internal network; DOWNLOAD_PRIVATE_HOSTS=on allows it", permanent=True
    )
