"""Stands where code-server or JupyterLab does: on the unix socket it is told of, answering with what it was sent.

A GET is answered with the path, the headers and who runs it as JSON; a WebSocket sends back what it gets, after the
headers of its handshake. `/page-error` is answered with 502, as a program that is itself a proxy might.
"""

import json
import os
import sys
import threading
from http import HTTPStatus
from pathlib import Path
from typing import Any

from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, unix_serve


def socket_path(arguments: list[str]) -> str:
    """As code-server is told (`--socket PATH`) and as JupyterLab is (`--ServerApp.sock=PATH`)."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument == "--socket":
            return following
        if argument.startswith("--ServerApp.sock="):
            return argument.partition("=")[2]
    raise SystemExit("no socket was named")


def lower(request: Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.raw_items()}


def answer(connection: ServerConnection, request: Request) -> Response | None:
    if "upgrade" in lower(request):
        return None
    status = HTTPStatus.BAD_GATEWAY if request.path == "/page-error" else HTTPStatus.OK
    seen: dict[str, Any] = {
        "path": request.path,
        "headers": lower(request),
        "uid": os.getuid(),
        "environ": dict(os.environ),
        "arguments": sys.argv[1:],
        "folder": str(Path.cwd()),
    }
    response = connection.respond(status, json.dumps(seen))
    response.headers["Set-Cookie"] = "from=dev-tool"
    response.headers["X-Accel-Redirect"] = "/_suite/static/manifest.json"
    return response


def echo(connection: ServerConnection) -> None:
    assert connection.request is not None
    connection.send(json.dumps(lower(connection.request)))
    for message in connection:
        connection.send(message)


def main() -> None:
    path = Path(socket_path(sys.argv[1:]))
    path.unlink(missing_ok=True)
    with unix_serve(echo, str(path), process_request=answer) as server:
        path.chmod(0o660)
        print(f"listens on {path}", flush=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        threading.Event().wait()


if __name__ == "__main__":
    main()
