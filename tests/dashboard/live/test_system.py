"""What is known of ComfyUI while it is too busy to answer."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dashboard.live import system
from dashboard.live.hub import Hub
from dashboard.live.system import SystemFeed
from dashboard.suite import cancel
from dashboard.volume import Volume
from services import connections
from services.comfyui import ComfyUI
from services.settings import Settings

SUPERVISORD = """
[unix_http_server]
file = {socket}
username = suite
password = let-me-in
[supervisord]
nodaemon = true
logfile = {folder}/supervisord.log
pidfile = {folder}/supervisord.pid
childlogdir = {folder}
{user}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[group:suite]
programs = comfyui
[program:comfyui]
command = sleep 1000
startsecs = 0
"""


class Stats(ThreadingHTTPServer):
    """Answers as ComfyUI's `/system_stats`, or not at all while `free` is not set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.free = threading.Event()
        self.free.set()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: Stats

    def do_GET(self) -> None:
        self.server.free.wait(30)
        body = json.dumps({"system": {"comfyui_version": "0.33.0"}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            return

    def log_message(self, *_arguments: object) -> None:
        """Not here."""


@pytest.fixture
def stats() -> Iterator[Stats]:
    server = Stats()
    yield server
    server.free.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def supervised(settings: Settings) -> Iterator[Settings]:
    """A real supervisord that runs something in ComfyUI's place."""
    folder = settings.state_dir
    user = "user = root" if os.geteuid() == 0 else ""
    file = folder / "supervisord.conf"
    settings.supervisor_password_file.write_text("let-me-in")
    file.write_text(SUPERVISORD.format(socket=settings.supervisor_socket, folder=folder, user=user))
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(file)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield settings
    running.terminate()
    running.wait(10)


@pytest.fixture
async def feed(supervised: Settings, stats: Stats, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SystemFeed]:
    monkeypatch.setattr(system, "FRESH_SECONDS", 0.05)
    monkeypatch.setattr(system, "IDLE_SECONDS", 60.0)
    monkeypatch.setattr(system, "ANSWER_SECONDS", 0.2)
    settings = replace(supervised, comfyui_loopback_port=stats.server_address[1])
    volume, http = Volume(settings), connections.comfyui_client(settings)
    made = SystemFeed(settings, volume, ComfyUI(http), Hub())
    telling = asyncio.create_task(made.tell())
    await until(made, lambda: made._answered is not None)
    yield made
    await cancel([telling])
    volume.close()
    await http.aclose()


async def until(feed: SystemFeed, condition: object) -> None:
    assert callable(condition)
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, await feed.status()
        await feed.status()
        await asyncio.sleep(0.02)


async def test_a_comfyui_that_answered_and_is_busy_now_stays_ready(feed: SystemFeed, stats: Stats) -> None:
    stats.free.clear()
    await until(feed, lambda: feed._status is not None and "busy" in feed._status.comfyui.message)
    found = (await feed.status()).comfyui
    assert (found.state, found.version) == ("ready", "0.33.0")
    stats.free.set()
    await until(feed, lambda: feed._status is not None and not feed._status.comfyui.message)


async def test_nobody_waits_for_a_comfyui_that_is_busy(
    feed: SystemFeed, stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    stats.free.clear()
    # Who waited for the look that is under way would do so until ComfyUI answers.
    monkeypatch.setattr(system, "ANSWER_SECONDS", 60.0)
    asked = feed._taken_at
    await until(feed, lambda: feed._taken_at > asked and feed._lock.locked())
    async with asyncio.timeout(10):
        for _ in range(30):
            await feed.status()
    assert feed._lock.locked()


async def test_a_restarted_comfyui_is_starting_although_the_one_before_answered(
    supervised: Settings, feed: SystemFeed, stats: Stats
) -> None:
    stats.free.clear()
    (supervised.state_dir / "comfyui").mkdir()
    await feed.restart("comfyui", safe_mode=False)
    assert (await feed.status()).comfyui.state == "starting"


async def test_who_asks_again_later_is_told_what_is_new(feed: SystemFeed) -> None:
    first = await feed.status()
    await until(feed, lambda: feed._status is not first)
    assert await feed.status() is not first
