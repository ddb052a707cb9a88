import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from bootstrap import ready
from services.errors import Unavailable
from services.processes import Processes
from services.settings import Settings

# The second worker waits to be started.
CONFIGURATION = """
[unix_http_server]
file = {sockets}/supervisor.sock
username = suite
password = let-me-in
[supervisord]
nodaemon = true
logfile = {sockets}/supervisord.log
pidfile = {sockets}/supervisord.pid
childlogdir = {sockets}
{user}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[group:suite]
programs = worker-1, worker-2
[program:worker-1]
command = sleep 1000
startsecs = 0
[program:worker-2]
command = sleep 1000
startsecs = 0
autostart = false
"""


@pytest.fixture
def supervisord(settings: Settings) -> Iterator[Processes]:
    """A real one, beside the Redis of `settings`."""
    user = "user = root" if os.geteuid() == 0 else ""
    file = settings.sockets_dir / "supervisord.conf"
    file.write_text(CONFIGURATION.format(sockets=settings.sockets_dir, user=user))
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(file)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        settings.supervisor_password_file.write_text("let-me-in")
        processes = Processes(settings.supervisor_socket, settings.supervisor_password_file)
        wait_for(lambda: "running" in states(processes), "the first worker")
        yield processes
    finally:
        running.terminate()
        running.wait(10)


def states(processes: Processes) -> list[str]:
    try:
        return [process.state for process in processes.all()]
    except Unavailable:
        return []


def wait_for(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until, f"waited for {what}"
        time.sleep(0.05)


def test_a_redis_that_runs_answers(redis_server: Path) -> None:
    assert ready.redis_answers(redis_server)


def test_a_redis_that_is_not_there_does_not_answer(tmp_path: Path) -> None:
    assert not ready.redis_answers(tmp_path / "redis.sock")


def test_a_redis_that_still_loads_its_data_does_not_count(open_folder: Path) -> None:
    place = open_folder / "redis.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place))
        server.listen()

        def load() -> None:
            line, _ = server.accept()
            with line:
                line.recv(64)
                line.sendall(b"-LOADING Redis is loading the dataset in memory\r\n")

        thread = threading.Thread(target=load)
        thread.start()
        assert not ready.redis_answers(place)
        thread.join()


def test_the_queue_works_while_redis_answers_and_every_worker_runs(settings: Settings, supervisord: Processes) -> None:
    assert not ready.queue_works(settings)
    supervisord.restart("worker-2")
    wait_for(lambda: states(supervisord) == ["running", "running"], "both workers")
    assert ready.queue_works(settings)
    with redis.Redis(unix_socket_path=str(settings.redis_socket)) as client:
        client.shutdown(nosave=True)
    assert not ready.queue_works(settings)


def test_a_queue_without_supervisord_does_not_work(settings: Settings) -> None:
    assert not ready.queue_works(settings)
