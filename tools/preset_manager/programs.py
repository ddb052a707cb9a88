"""Which of the suite's programs answer, for `preset-manager doctor`."""

import http.client
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from services.errors import Unavailable
from services.processes import Process, Processes
from services.settings import Settings
from tools.preset_manager.checks import Check
from tools.preset_manager.context import Context

COMFYUI_SECONDS = 5.0
_UP = frozenset({"running", "starting"})
_COMFYUI = "comfyui"
# It waits for the others once, and ends.
_ENDS = "ready"


def of_programs(context: Context) -> Iterator[Check]:
    """A suite that does not run at all is no fault: presets can be installed without it."""
    suite, processes = context.suite, _processes(context)
    answers = {"redis": suite.has_redis(), "reconciler": suite.has_reconciler()}
    if not processes and not any(answers.values()):
        yield Check("suite", "note", "does not run; preset-manager install fetches by itself")
        return
    for name, is_there in answers.items():
        yield _answer(context.config, name, is_there)
    for process in processes:
        if process.name not in answers and process.name not in {_COMFYUI, _ENDS}:
            yield _of_process(context.config, process)
    yield _comfyui(context, next((process for process in processes if process.name == _COMFYUI), None))


def _processes(context: Context) -> list[Process]:
    config = context.config
    try:
        return Processes(config.supervisor_socket, config.supervisor_password_file).all()
    except (Unavailable, OSError):
        return []


def _answer(config: Settings, name: str, is_there: bool) -> Check:
    if is_there:
        return Check(name, "ok", "answers")
    remedy = _restart(config, name)
    return Check(name, "problem", "does not answer, so nothing is downloaded by the suite", remedy)


def _of_process(config: Settings, process: Process) -> Check:
    if process.state in _UP:
        return Check(process.name, "ok", process.state)
    message = f"{process.state}{f' ({process.message})' if process.message else ''}"
    return Check(process.name, "problem", message, _restart(config, process.name))


def _restart(config: Settings, name: str) -> str:
    """In the image supervisorctl finds its file by itself; in a checkout it has to be told, and is on no PATH."""
    program = "supervisorctl"
    if not os.path.lexists(Path(sys.prefix) / "etc" / "supervisord.conf"):
        file = config.state_dir / "supervisord.conf"
        program = f"{quote(str(Path(sys.prefix) / 'bin' / program))} -c {quote(str(file))}"
    return f"Look into its log, then: {program} restart suite:{name}"


def _comfyui(context: Context, process: Process | None) -> Check:
    """By what it answers: its process may run for minutes before it does."""
    status = _comfyui_status(context)
    if status == http.client.OK:
        return Check(_COMFYUI, "ok", "answers")
    if status is not None:
        return Check(_COMFYUI, "problem", f"answers HTTP {status}", "Home in the dashboard has Restart.")
    if process is not None and process.state not in _UP:
        return _of_process(context.config, process)
    return Check(
        _COMFYUI, "warning", "does not answer", "It may be loading still; Home in the dashboard shows its log."
    )


def _comfyui_status(context: Context) -> int | None:
    """None: it does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", context.config.comfyui_loopback_port, timeout=COMFYUI_SECONDS)
    try:
        connection.request("GET", "/system_stats")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
