"""Two processes that do the same to one volume at the same time."""

import subprocess
import sys

from services.settings import APP_DIR
from services.workspace import Workspace


def run_twice_at_once(code: str, workspace: Workspace) -> None:
    """Runs `code` twice, with the volume and a name (`a`, `b`) as arguments. It prints `ready`, and begins when it is
    sent a line."""
    both = [
        subprocess.Popen(
            (sys.executable, "-c", code, str(workspace.root), name),
            cwd=APP_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in both:
        process.communicate(timeout=60)
        assert process.returncode == 0
