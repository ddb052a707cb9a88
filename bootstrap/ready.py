"""`python -m bootstrap.ready`: waits until everything works, writes phases 3 and 4 of the boot, ends.

Phase 3 is each service's first answer, phase 4 one look at all of them through nginx, as a user comes.
"""

import http.client
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bootstrap.journal import Journal
from services import settings, volume
from services.boot import BootRecord, Step
from services.errors import Unavailable
from services.processes import Processes
from services.settings import Settings

POLL_SECONDS = 0.1
TIMEOUT_SECONDS = 600.0
HEALTH_SECONDS = 30.0
REDIS_SECONDS = 5.0


def main() -> int:
    config = settings.from_environment()
    boot = BootRecord(config.state_dir).read()
    journal = Journal(config.state_dir, boot)
    report = volume.last_report(config.state_dir)
    volume_logs = config.logs_dir if report is None or report.writable else None

    def seconds() -> float:
        return round(time.time() - boot.started_at, 2)

    def note(step: Step, phase: str) -> None:
        journal.note(step, phase)
        journal.save(volume_logs, None)

    checks = _checks(config)
    while checks and seconds() < TIMEOUT_SECONDS:
        for name in [name for name, answers in checks.items() if answers()]:
            del checks[name]
            note(Step(name, "ok", seconds()), "3")
            if name == "Dashboard":
                # Until then, a shell stands where each worker will be (bootstrap/after-dashboard).
                checks["Queue and workers"] = lambda: queue_works(config)
        time.sleep(POLL_SECONDS)
    for name in checks:
        note(Step(name, "failed", seconds(), "no answer"), "3")
    ready = not checks and _becomes_ready(config)
    note(Step("Health checks", "ok" if ready else "failed", seconds()), "4")
    if ready:
        journal.end(seconds())
    return 0 if ready else 1


def _becomes_ready(config: Settings) -> bool:
    """The dashboard looks at the others once a second."""
    until = time.monotonic() + HEALTH_SECONDS
    while time.monotonic() < until:
        if status_of(config.dashboard_port, "/readyz") == 200:
            return True
        time.sleep(POLL_SECONDS)
    return False


def _checks(config: Settings) -> dict[str, Callable[[], bool]]:
    return {
        "nginx": lambda: status_of(config.dashboard_port, "/_suite/starting.css") == 200,
        "Dashboard": lambda: status_of(config.dashboard_port, "/healthz") == 200,
        "ComfyUI": lambda: status_of(config.comfyui_loopback_port, "/system_stats") == 200,
    }


def queue_works(config: Settings) -> bool:
    """Redis answers and every worker runs."""
    try:
        processes = Processes(config.supervisor_socket, config.supervisor_password_file).all()
        found = [process for process in processes if process.name.startswith("worker")]
    except Unavailable:
        return False
    return bool(found) and all(process.state == "running" for process in found) and redis_answers(config.redis_socket)


def redis_answers(redis_socket: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(REDIS_SECONDS)
            line.connect(str(redis_socket))
            line.sendall(b"PING\r\n")
            # It says -LOADING while it reads its data in.
            return line.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def status_of(port: int, path: str) -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
