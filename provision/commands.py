"""Child processes of set-up: their output goes to a log per step, and all of them can be ended at once."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from provision.errors import CommandError, StoppedError

# pip and npm obey these; nothing that the caller's own Python or shell set up may leak into the new environments.
CHILD_ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "PIP_PROGRESS_BAR": "off",
    "PIP_ROOT_USER_ACTION": "ignore",
    "PIP_USER": "0",
    "PYTHONUNBUFFERED": "1",
}
DROPPED = ("PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "VIRTUAL_ENV", "NODE_ENV", "MAKEFLAGS", "MAKELEVEL")


class Commands:
    """Runs programs for the steps, which are threads.

    They hold the open file `lock` too: after a kill -9 of set-up, the next one waits for what still runs.
    """

    def __init__(self, logs: Path, temporary: Path, lock: int) -> None:
        self._logs = logs
        self._temporary = temporary
        self._lock_file = lock
        self._begun: set[str] = set()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopping = False

    def run(
        self,
        step: str,
        what: str,
        arguments: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
        uninterrupted: bool = False,
    ) -> str:
        """The output of a program that ended well. Raises CommandError, or StoppedError after `stop()`.

        `what` says in the user's words what it is for. `stop()` neither ends nor prevents an `uninterrupted` one.
        """
        log = self._logs / f"{step}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        self._temporary.mkdir(parents=True, exist_ok=True)
        child_environment = {name: value for name, value in os.environ.items() if name not in DROPPED}
        # The wheels of a CUDA torch are larger than many a /tmp.
        child_environment |= CHILD_ENVIRONMENT | {"TMPDIR": str(self._temporary)} | dict(environment or {})
        with log.open("ab" if step in self._begun else "wb") as stream:
            self._begun.add(step)
            stream.write(f"$ {' '.join(map(str, arguments))}\n".encode())
            stream.flush()
            start = stream.tell()
            began = time.monotonic()
            code = self._wait(arguments, stream.fileno(), cwd, child_environment, timeout_seconds, uninterrupted)
        with log.open("r+b") as stream:
            stream.seek(start)
            output = stream.read().decode(errors="replace")
            stream.write(f"# exit {code} after {time.monotonic() - began:.1f} s\n".encode())
        if self._stopping and not uninterrupted:
            raise StoppedError(f"{what}: stopped")
        if code is None:
            raise CommandError(what, f"{output}\nerror: timed out after {timeout_seconds:.0f} s", log)
        if code != 0:
            raise CommandError(what, output, log)
        return output

    def stop(self) -> None:
        """Ends every program but the uninterrupted ones; programs asked for later do not start."""
        with self._lock:
            self._stopping = True
            for child in self._running:
                _end(child)

    def _wait(
        self,
        arguments: Sequence[str | Path],
        output: int,
        cwd: Path | None,
        environment: Mapping[str, str],
        timeout_seconds: float | None,
        uninterrupted: bool,
    ) -> int | None:
        """The exit status, None past the timeout."""
        with self._lock:
            if self._stopping and not uninterrupted:
                raise StoppedError("stopped")
            child = subprocess.Popen(
                arguments,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(self._lock_file,),
                start_new_session=True,  # a Ctrl-C must not cut dpkg off halfway: stop() decides
            )
            if not uninterrupted:
                self._running.add(child)
        try:
            return child.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            _end(child)
            child.wait()
            return None
        finally:
            with self._lock:
                self._running.discard(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    """At once: nothing of its work is kept, and npm takes ten seconds to heed SIGTERM."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
