"""Stands where ComfyUI's `main.py` does, and misbehaves: what happens then cannot be asked of the real one.

`echo` answers every request with its own headers as JSON; `die SECONDS` ends after so long; `environment` writes what
it can see of the suite's secrets to the output folder and goes on as `echo`. The mode is in the file `mode` beside it.
"""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/system_stats":
            self._answer({"system": {"comfyui_version": "echo", "python_version": "3", "pytorch_version": "0"}})
        elif self.path in {"/queue", "/api/queue"}:
            self._answer({"queue_running": [], "queue_pending": []})
        else:
            self._answer({"path": self.path, "headers": {name.lower(): value for name, value in self.headers.items()}})

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, value: object) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", "from=comfyui")
        self.send_header("X-Accel-Redirect", "/_suite/static/manifest.json")
        self.end_headers()
        self.wfile.write(body)


def look_around(state_dir: Path, workspace: Path) -> dict[str, object]:
    """What a hostile custom node would try."""
    readable = []
    for folder in (state_dir, workspace / "config" / "secrets"):
        for path in folder.rglob("*"):
            try:
                if path.is_file():
                    path.read_bytes()
                    readable.append(str(path))
            except OSError:
                continue
    environments = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and process.name != str(os.getpid()):
            try:
                environments.append((process / "environ").read_bytes().decode(errors="replace"))
            except OSError:
                continue
    return {"environ": dict(os.environ), "readable": readable, "environments": environments, "uid": os.getuid()}


def main() -> None:
    mode, _, amount = (Path(__file__).parent / "mode").read_text().strip().partition(" ")
    options = dict(zip(sys.argv[1:], sys.argv[2:], strict=False))
    print(f"mode {mode}, arguments {sys.argv[1:]}", flush=True)
    if mode == "die":
        time.sleep(float(amount))
        print("this is the last line before the end", flush=True)
        raise SystemExit(3)
    if mode == "environment":
        state_dir = Path(options["--temp-directory"]).parent
        found = look_around(state_dir, Path(options["--output-directory"]).parent)
        (Path(options["--output-directory"]) / "found.json").write_text(json.dumps(found))
    ThreadingHTTPServer(("127.0.0.1", int(options["--port"])), Echo).serve_forever()


if __name__ == "__main__":
    main()
