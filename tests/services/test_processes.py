import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.errors import Conflict, NotFound, Unavailable
from services.processes import Processes

CONFIGURATION = """
[unix_http_server]
file = {folder}/s.sock
[supervisord]
nodaemon = true
logfile = {folder}/supervisord.log
pidfile = {folder}/supervisord.pid
childlogdir = {folder}
{user}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[group:suite]
programs = steady, idle, once, missing
[program:steady]
command = sleep 1000
startsecs = 0
[program:idle]
command = sleep 1000
autostart = false
startsecs = 0
[program:once]
command = sh -c "exit 3"
startsecs = 0
autorestart = false
[program:missing]
command = /nonexistent/program
startretries = 0
"""


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """A real supervisord."""
    with tempfile.TemporaryDirectory(prefix="sv-", dir="/tmp") as name:
        folder = Path(name)
        user = "user = root" if os.geteuid() == 0 else ""
        (folder / "s.conf").write_text(CONFIGURATION.format(folder=folder, user=user))
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(folder / "s.conf")]
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            made = Processes(folder / "s.sock")
            wait_for(made, "steady", "running")
            wait_for(made, "once", "exited")
            wait_for(made, "missing", "fatal")
            yield made
        finally:
            running.terminate()
            running.wait(10)


def wait_for(processes: Processes, name: str, state: str) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            if {known.name: known.state for known in processes.all()}[name] == state:
                return
        except Unavailable:
            pass
        time.sleep(0.05)
    raise AssertionError(f"{name} is not {state}: {processes.all()}")


def pid_of(processes: Processes, name: str) -> int | None:
    return next(known.pid for known in processes.all() if known.name == name)


def test_every_process_is_listed_with_its_state(processes: Processes) -> None:
    states = {known.name: known.state for known in processes.all()}
    assert states == {"steady": "running", "idle": "stopped", "once": "exited", "missing": "fatal"}


def test_only_what_runs_has_a_pid_and_an_uptime(processes: Processes) -> None:
    for known in processes.all():
        assert (known.pid is not None) is (known.name == "steady"), known
        assert (known.uptime_seconds is not None) is (known.name == "steady"), known


def test_what_could_not_be_started_says_why(processes: Processes) -> None:
    messages = {known.name: known.message for known in processes.all()}
    assert "/nonexistent/program" in messages["missing"]


def test_a_restart_gives_a_new_process(processes: Processes) -> None:
    before = pid_of(processes, "steady")
    processes.restart("steady")
    wait_for(processes, "steady", "running")
    assert pid_of(processes, "steady") not in {before, None}


@pytest.mark.parametrize("name", ["dashboard", "nginx"])
def test_what_carries_the_request_is_refused_with_the_command_that_works(name: str, processes: Processes) -> None:
    with pytest.raises(Conflict, match=f"supervisorctl restart suite:{name}"):
        processes.restart(name)


@pytest.mark.parametrize("name", ["nope", "", "*", "../steady", "suite:steady", "steady suite:idle"])
def test_a_process_nobody_knows_is_not_found(name: str, processes: Processes) -> None:
    with pytest.raises(NotFound):
        processes.restart(name)


def test_what_is_stopped_can_be_restarted_too(processes: Processes) -> None:
    processes.restart("idle")
    wait_for(processes, "idle", "running")


def test_a_supervisord_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="supervisord does not answer"):
        Processes(tmp_path / "nowhere.sock").all()
