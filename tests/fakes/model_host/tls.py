"""Certificates from a small authority of the tests' own, and what can be wrong with TLS."""

import atexit
import functools
import shutil
import socket
import ssl
import subprocess
import tempfile
from enum import StrEnum
from pathlib import Path

OWN_NAMES = ("localhost", "127.0.0.1")

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_VALID = ("-days", "30")
_EXPIRED = ("-startdate", "20200101000000Z", "-enddate", "20200102000000Z")
# `openssl ca`, unlike `openssl x509`, can make a certificate that is over already.
_CONFIGURATION = """
[ca]
default_ca = tests
[tests]
database = index
new_certs_dir = .
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any_name
copy_extensions = copy
x509_extensions = host
[any_name]
commonName = supplied
[host]
basicConstraints = critical, CA:false
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


class TlsFault(StrEnum):
    EXPIRED = "expired"
    WRONG_NAME = "wrong-name"
    SELF_SIGNED = "self-signed"
    # Closes the connection when the client has said hello.
    HANG_UP = "hang-up"
    # Answers the client's hello in HTTP.
    PLAIN_TEXT = "plain-text"


class Authority:
    """Issues certificates, each a file with its key. `file` is what a client has to trust."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.file = folder / "authority.crt"
        (folder / "index").touch()
        (folder / "configuration").write_text(_CONFIGURATION)
        self._openssl(
            *("req", "-x509", *_NEW_KEY, *_VALID, "-subj", "/CN=The authority of the tests"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", "authority.key", "-out", self.file.name),
        )

    @functools.cache  # noqa: B019 - there is one authority, and it lives as long as the process
    def certificate(self, names: tuple[str, ...], *, is_expired: bool = False, is_self_signed: bool = False) -> Path:
        """A certificate with its key, for host names and addresses."""
        stem = f"host-{len(list(self._folder.glob('host-*.pem')))}"
        about = ("-subj", f"/CN={names[0]}", "-addext", f"subjectAltName={','.join(map(_alternative, names))}")
        request = ("req", *_NEW_KEY, *about, "-keyout", f"{stem}.key")
        if is_self_signed:
            self._openssl(*request, "-x509", *_VALID, "-out", f"{stem}.crt")
        else:
            self._openssl(*request, "-new", "-out", f"{stem}.csr")
            issue = ("ca", "-batch", "-notext", "-config", "configuration", "-cert", self.file.name)
            period = _EXPIRED if is_expired else _VALID
            self._openssl(*issue, "-keyfile", "authority.key", "-in", f"{stem}.csr", "-out", f"{stem}.crt", *period)
        made = self._folder / f"{stem}.pem"
        made.write_bytes(b"".join((self._folder / f"{stem}.{end}").read_bytes() for end in ("key", "crt")))
        return made

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, check=True, capture_output=True)


@functools.cache
def authority() -> Authority:
    """The one of this process, so that a client can trust several hosts with one file."""
    folder = Path(tempfile.mkdtemp(prefix="authority-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Authority(folder)


class Tls:
    """The server's side of TLS for hosts that are called `names`."""

    def __init__(self, names: tuple[str, ...], fault: TlsFault | None) -> None:
        self._fault = fault
        called = ("elsewhere.invalid",) if fault is TlsFault.WRONG_NAME else names
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(
            authority().certificate(
                called, is_expired=fault is TlsFault.EXPIRED, is_self_signed=fault is TlsFault.SELF_SIGNED
            )
        )

    @property
    def ca_file(self) -> Path:
        return authority().file

    def begin(self, line: socket.socket) -> socket.socket | None:
        """The encrypted line; None when there is none, and the plain one is to be closed."""
        try:
            if self._fault is TlsFault.HANG_UP:
                line.recv(4096)
            elif self._fault is TlsFault.PLAIN_TEXT:
                line.recv(4096)
                line.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            else:
                return self._context.wrap_socket(line, server_side=True)
        except OSError:
            pass  # the client did not like the certificate, or is gone
        return None


def _alternative(name: str) -> str:
    is_address = name.replace(".", "").isdigit() or ":" in name
    return f"{'IP' if is_address else 'DNS'}:{name}"
