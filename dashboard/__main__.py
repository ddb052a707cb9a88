"""`python -m dashboard`: serves the app on its unix socket until told to stop."""

import asyncio
import contextlib
import signal
import sys

import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config

from dashboard.app import create_app
from services import log, settings

STOP_SECONDS = 3.0
PING_SECONDS = 20.0


async def _serve(config: settings.Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(create_app(config), _hypercorn(config), shutdown_trigger=stop.wait)  # type: ignore[arg-type]


def _hypercorn(config: settings.Settings) -> Config:
    server = Config()
    server.bind = [f"unix:{config.dashboard_socket}"]
    # nginx may run as another user of the group; the folder of the socket lets in nobody else.
    server.umask = 0o007
    server.backlog = 2048
    server.graceful_timeout = STOP_SECONDS
    server.shutdown_timeout = STOP_SECONDS
    # nginx keeps its connections and closes them itself.
    server.keep_alive_timeout = 75
    server.keep_alive_max_requests = 1_000_000
    server.websocket_ping_interval = PING_SECONDS
    server.websocket_max_message_size = 64 * 1024
    server.include_server_header = False
    server.accesslog = None
    server.errorlog = None
    return server


def main() -> int:
    config = settings.from_environment()
    bridge = {"comfyui_bridge": config.logs_dir / "comfyui_bridge.log"}
    log.configure("dashboard", config.logs_dir / "dashboard.log", config.log_level, bridge)
    with contextlib.suppress(FileNotFoundError):
        # Left over from one that was killed; Hypercorn would refuse to bind.
        config.dashboard_socket.unlink()
    uvloop.run(_serve(config))
    return 0


if __name__ == "__main__":
    sys.exit(main())
