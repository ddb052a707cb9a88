"""`python -m bootstrap.ready`: waits until everything works, writes phases 3 and 4 of the boot, ends.

Phase 3 is each service's first answer, phase 4 one look at all of them through nginx, as a user comes.
"""

import http.client
import sys
import time
from collections.abc import Callable

from services import settings
from services.boot import Boot, BootRecord, Step, log_line
from services.errors import Unavailable
from services.processes import Processes
from services.settings import Settings

POLL_SECONDS = 0.1
TIMEOUT_SECONDS = 600.0
HEALTH_SECONDS = 30.0


def main() -> int:
    config = settings.from_environment()
    record = BootRecord(config.state_dir)
    boot = record.read()
    checks = _checks(config)
    while checks and time.time() - boot.started_at < TIMEOUT_SECONDS:
        for name in [name for name, answers in checks.items() if answers()]:
            del checks[name]
            boot = _note(config, record, boot, Step(name, "ok", _since(boot)), "3")
        time.sleep(POLL_SECONDS)
    for name in checks:
        boot = _note(config, record, boot, Step(name, "failed", _since(boot), "no answer"), "3")
    ready = not checks and _becomes_ready(config)
    boot = _note(config, record, boot, Step("Health checks", "ok" if ready else "failed", _since(boot)), "4")
    if ready:
        record.write(Boot(boot.started_at, boot.steps, ready_seconds=_since(boot)))
    return 0 if ready else 1


def _becomes_ready(config: Settings) -> bool:
    """The dashboard looks at the others once a second."""
    until = time.monotonic() + HEALTH_SECONDS
    while time.monotonic() < until:
        if _status(config.dashboard_port, "/readyz") == 200:
            return True
        time.sleep(POLL_SECONDS)
    return False


def _checks(config: Settings) -> dict[str, Callable[[], bool]]:
    processes = Processes(config.supervisor_socket)

    def workers_run() -> bool:
        try:
            found = [process for process in processes.all() if process.name.startswith("worker")]
        except Unavailable:
            return False
        return bool(found) and all(process.state == "running" for process in found)

    return {
        "nginx": lambda: _status(config.dashboard_port, "/_suite/starting.css") == 200,
        "Dashboard": lambda: _status(config.dashboard_port, "/healthz") == 200,
        "Queue and workers": workers_run,
        "ComfyUI": lambda: _status(config.comfyui_loopback_port, "/system_stats") == 200,
    }


def _status(port: int, path: str) -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _note(config: Settings, record: BootRecord, boot: Boot, step: Step, phase: str) -> Boot:
    boot = Boot(boot.started_at, (*boot.steps, step))
    record.write(boot)
    line = log_line(step, phase)
    for folder in (config.state_dir / "logs", config.logs_dir):
        try:
            with (folder / "startup.log").open("ab") as file:
                file.write(line)
        except OSError as error:
            print(f"{folder}/startup.log: {error.strerror}", flush=True)
    return boot


def _since(boot: Boot) -> float:
    return round(time.time() - boot.started_at, 2)


if __name__ == "__main__":
    sys.exit(main())
