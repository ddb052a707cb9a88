"""A whole suite, started as `make run` starts it, for tests to talk to."""

import contextlib
import http.client
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import redis

ROOT = Path(__file__).resolve().parent.parent
PASSWORD = "correct horse battery staple"
START_SECONDS = 120.0
STOP_SECONDS = 30.0
# Not the one that a test may have seeded.
_CHANCE = random.SystemRandom()


class RunningSuite:
    """`settings` are environment variables; COMFYUI_DIR and COMFYUI_PYTHON come from make.

    Everything lies in a new folder below /tmp: sockets need short paths, and the suite's users must get in.
    """

    def __init__(self, **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="suite-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.workspace = self.folder / "workspace"
        self.state = self.folder / "state"
        self.ports = free_ports(3)
        self.settings = {
            "WORKSPACE": str(self.workspace),
            "STATE_DIR": str(self.state),
            "DASHBOARD_PORT": str(self.ports[0]),
            "COMFYUI_PORT": str(self.ports[1]),
            "COMFYUI_LOOPBACK_PORT": str(self.ports[2]),
            "DASHBOARD_PASSWORD": PASSWORD,
            "DOWNLOAD_PRIVATE_HOSTS": "on",
            "DISK_RESERVE_BYTES": "0",
            "LOG_LEVEL": "debug",
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.console = self.folder / "console.log"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def comfyui_address(self) -> str:
        return f"http://127.0.0.1:{self.ports[1]}"

    def start(self) -> "RunningSuite":
        """Returns when the dashboard answers."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
        with self.console.open("ab") as console:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bootstrap"],
                cwd=ROOT,
                env={**environment, **self.settings},
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait_until_answers()
        return self

    def wait_until_answers(self) -> None:
        self.wait_for(lambda: status_of(f"{self.address}/healthz") == 200, "the dashboard")

    def wait_until_ready(self) -> None:
        self.wait_for(lambda: status_of(f"{self.address}/readyz") == 200, "everything to be ready")

    def wait_for(self, condition: Callable[[], Any], what: str, seconds: float = START_SECONDS) -> Any:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"the suite ended while waiting for {what}:\n{self.output()}")
            if result := condition():
                return result
            time.sleep(0.05)
        raise AssertionError(f"waited {seconds:.0f} s for {what}:\n{self.output()}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """The seconds it took."""
        assert self.process is not None
        started = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(STOP_SECONDS)
        return time.monotonic() - started

    def kill_everything(self) -> None:
        """As when a container is lost: nobody gets to say goodbye."""
        assert self.process is not None
        pids = self.pids()
        self.process.kill()
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(STOP_SECONDS)
        self.wait_for_no_process(pids)

    def wait_for_no_process(self, pids: list[int], seconds: float = 30.0) -> None:
        until = time.monotonic() + seconds
        while any(_is_running(pid) for pid in pids):
            assert time.monotonic() < until, f"still there: {[pid for pid in pids if _is_running(pid)]}"
            time.sleep(0.02)

    def remove(self) -> None:
        if self.process is not None and self.process.poll() is None:
            pids = self.pids()
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill_everything()
            self.wait_for_no_process(pids)
        shutil.rmtree(self.folder, ignore_errors=True)

    def pids(self) -> list[int]:
        """supervisord and everything below it."""
        assert self.process is not None
        found = [self.process.pid]
        parents = dict(_parents())
        for _ in range(5):
            found += [pid for pid, parent in parents.items() if parent in found and pid not in found]
        return found

    def pid_of(self, program: str) -> int:
        return int(self.supervisorctl("pid", f"suite:{program}"))

    def supervisorctl(self, *arguments: str) -> str:
        """As in docs/operations.md."""
        command = [
            sys.executable,
            "-m",
            "supervisor.supervisorctl",
            "-c",
            str(self.state / "supervisord.conf"),
            *arguments,
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout.strip()

    def output(self) -> str:
        logs = sorted((self.state / "logs").glob("*.log")) if (self.state / "logs").exists() else []
        tails = [f"== {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs]
        return "\n".join([self.console.read_text(errors="replace")[-3000:], *tails])

    def log_lines(self, name: str) -> list[str]:
        return (self.workspace / "logs" / name).read_text(encoding="utf-8").splitlines()

    @contextlib.contextmanager
    def client(self, *, sign_in: bool = True) -> Iterator[httpx.Client]:
        """A browser's requests: they carry the origin of the dashboard's own pages."""
        with httpx.Client(base_url=self.address, headers={"Origin": self.address}, timeout=30) as client:
            if sign_in:
                answer = client.post("/login", data={"password": self.settings["DASHBOARD_PASSWORD"]})
                assert answer.status_code == 303, answer.text
            yield client

    def redis(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.state / "sockets" / "redis.sock"))

    def add_preset(self, preset: dict[str, Any]) -> None:
        """Into the user's presets.yaml, which the dashboard reads when it changes."""
        file = self.workspace / "config" / "presets.yaml"
        known = msgspec.json.decode(file.read_bytes())["presets"] if file.exists() else []
        presets = [entry for entry in known if entry["id"] != preset["id"]] + [preset]
        file.write_bytes(msgspec.json.encode({"presets": presets}))
        with self.client() as client:
            self.wait_for(lambda: client.get(f"/api/presets/{preset['id']}").status_code == 200, "the preset")


def free_ports(count: int) -> list[int]:
    """Below those that Linux gives to outgoing connections (ip(7), ip_local_port_range): a port from there may belong
    to one by the time someone listens on it."""
    ports: list[int] = []
    with contextlib.ExitStack() as opened:
        while len(ports) < count:
            port = _CHANCE.randrange(10_000, 32_000)
            try:
                opened.enter_context(socket.socket()).bind(("0.0.0.0", port))
            except OSError:
                continue
            ports.append(port)
    return ports


def status_of(url: str) -> int | None:
    """What a GET is answered with; None when nobody answers. Cheap enough to ask all the time."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _parents() -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            yield int(entry.name), int(fields[1])


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return not re.match("[ZX]", state)
