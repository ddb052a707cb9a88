"""What supervisord runs, asked over its own socket; only the suite's own programs can be named."""

import http.client
import socket
import xmlrpc.client
from pathlib import Path
from typing import Any

from msgspec import Struct

from services.errors import Conflict, NotFound, Unavailable

GROUP = "suite"
# A restart asked for over these would cut off its own answer; of the dashboard only the stop would be sent.
CARRIERS = frozenset({"dashboard", "nginx"})
TIMEOUT_SECONDS = 12.0
_SHUTDOWN_STATE = 6  # supervisor.xmlrpc.Faults.SHUTDOWN_STATE
_NOT_RUNNING = 70  # supervisor.xmlrpc.Faults.NOT_RUNNING
_ALREADY_STARTED = 60  # supervisor.xmlrpc.Faults.ALREADY_STARTED


class Process(Struct, frozen=True):
    """`state` is supervisord's word in lower case: running, starting, backoff, stopping, stopped, exited, fatal."""

    name: str
    state: str
    pid: int | None
    uptime_seconds: float | None
    message: str


class Processes:
    """Blocking: each call is a round trip to supervisord. `password_file`: None for one that asks for none."""

    def __init__(self, supervisor_socket: Path, password_file: Path | None = None) -> None:
        self._socket = supervisor_socket
        self._password_file = password_file

    def all(self) -> list[Process]:
        """Raises Unavailable when supervisord does not answer."""
        return [_process(info) for info in self._call("getAllProcessInfo")]

    def restart(self, name: str) -> None:
        """Raises Conflict, NotFound, Unavailable."""
        if name in CARRIERS:
            raise Conflict(
                f"'{name}' carries this very request; restart it in a shell: supervisorctl restart {GROUP}:{name}"
            )
        # To supervisord `suite:*` means all of them.
        if name not in {process.name for process in self.all()}:
            raise NotFound(f"there is no process '{name[:60]}'")
        self._control("stopProcess", name, wait=True, ignore=_NOT_RUNNING)
        self._control("startProcess", name, wait=False, ignore=_ALREADY_STARTED)

    def _control(self, method: str, name: str, *, wait: bool, ignore: int) -> None:
        try:
            self._call(method, f"{GROUP}:{name}", wait)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != ignore:
                raise Unavailable(f"{name}: supervisord says {fault.faultString}") from None

    def _call(self, method: str, *arguments: Any) -> Any:
        # One connection per call: calls come from several threads at once.
        transport = _UnixTransport(self._socket)
        try:
            login = f"suite:{self._password_file.read_text(encoding='utf-8')}@" if self._password_file else ""
            with xmlrpc.client.ServerProxy(f"http://{login}supervisord", transport=transport) as proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == _SHUTDOWN_STATE:
                raise Unavailable("supervisord is stopping the suite") from None
            raise
        except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
            raise Unavailable(f"supervisord does not answer ({error})") from None


def _process(info: dict[str, Any]) -> Process:
    running = info["statename"] in {"RUNNING", "STARTING", "STOPPING"} and info["pid"]
    return Process(
        name=str(info["name"]),
        state=str(info["statename"]).lower(),
        pid=int(info["pid"]) if running else None,
        uptime_seconds=float(max(info["now"] - info["start"], 0)) if running else None,
        message=str(info["spawnerr"] or info["description"]),
    )


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("supervisord", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_SECONDS)
        self.sock.connect(str(self._path))


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        _, self._extra_headers, _ = self.get_host_info(host)
        connection = _UnixConnection(self._path)
        # Where `close()` looks for it.
        self._connection = host, connection
        return connection
