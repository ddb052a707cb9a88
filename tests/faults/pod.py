"""Redis, download workers and reconciler, kept running as supervisord keeps them; everything else of a pod is left out,
so that a hundred kills take minutes."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from services import settings
from services.artifacts import Artifact
from services.doorbell import ring
from services.installs import Installs
from services.model_folders import KNOWN_FOLDERS
from services.presets import Preset
from services.workspace import Workspace
from tests.running import ROOT

# As soon as supervisord does.
RESTART_SECONDS = 0.2


class Pod:
    """One pod on the volume at `root`; several may share it."""

    def __init__(self, root: Path, workers: int = 1) -> None:
        self.workspace = Workspace(root)
        self.state = Path(tempfile.mkdtemp(prefix="pod-", dir="/tmp"))
        for folder in self.workspace.folders(KNOWN_FOLDERS):
            (root / folder.path).mkdir(parents=True, exist_ok=True)
        self._environment = {
            **os.environ,
            "WORKSPACE": str(root),
            "STATE_DIR": str(self.state),
            "DOWNLOAD_PRIVATE_HOSTS": "on",
            "DISK_RESERVE_BYTES": "0",
        }
        self.config = settings.load(self._environment)
        self._commands = {
            "redis": [
                *("redis-server", "--port", "0", "--unixsocket", str(self.config.redis_socket), "--save", ""),
                *("--dir", str(self.state / "redis"), "--appendonly", "yes", "--appendfsync", "everysec"),
            ],
            **{f"worker-{n}": [sys.executable, "-m", "worker", str(n)] for n in range(1, workers + 1)},
            "reconciler": [sys.executable, "-m", "worker.reconciler"],
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> "Pod":
        self._make_folders()
        self._keeper.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            print(self.words(), file=sys.stderr)
        self._over.set()
        self._keeper.join()
        with self._lock:
            for process in reversed(self._running.values()):
                process.terminate()
            for process in self._running.values():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                process.kill()
        shutil.rmtree(self.state)

    def words(self) -> str:
        """The last of what the programs said."""
        lines = (self.config.logs_dir / "downloads.log").read_text(encoding="utf-8").splitlines()
        return "\n".join(lines[-40:])

    def ask_for(self, preset: Preset) -> None:
        """As a click does."""
        Installs(self.workspace).request(preset)
        ring(self.config.doorbell_socket)

    def file_of(self, artifact: Artifact) -> Path:
        return self.workspace.model_file(artifact.folder, artifact.name)

    def pid_of(self, program: str) -> int:
        with self._lock:
            return self._running[program].pid

    def job_pids(self) -> list[int]:
        """The processes that the workers have forked for jobs."""
        with self._lock:
            workers = {process.pid for name, process in self._running.items() if name.startswith("worker")}
        return [pid for pid, parent in _parents() if parent in workers]

    def kill_job(self) -> bool:
        """Whether there was one."""
        pids = self.job_pids()
        for pid in pids:
            _kill(pid)
        return bool(pids)

    def kill(self, program: str, number: signal.Signals = signal.SIGKILL) -> None:
        with self._lock:
            self._running[program].send_signal(number)

    def kill_all(self) -> None:
        """At once, as when a container is killed; it is started again."""
        with self._lock:
            for process in self._running.values():
                process.kill()
            for process in self._running.values():
                process.wait()

    def replace(self) -> None:
        """Another container takes over the volume: what lay in this one's own folders is gone."""
        self.kill_all()
        with self._lock:
            shutil.rmtree(self.state)
            self._make_folders()

    def lose_redis_data(self) -> None:
        with self._lock:
            self._running["redis"].kill()
            self._running["redis"].wait()
            shutil.rmtree(self.state / "redis")
            (self.state / "redis").mkdir()

    def _make_folders(self) -> None:
        for folder in (self.config.sockets_dir, self.state / "redis", self.config.logs_dir):
            folder.mkdir(parents=True, exist_ok=True)

    def _keep(self) -> None:
        with open(os.devnull, "ab") as output:
            while not self._over.wait(RESTART_SECONDS):
                with self._lock:
                    for name, command in self._commands.items():
                        if name not in self._running or self._running[name].poll() is not None:
                            self._running[name] = subprocess.Popen(
                                command, cwd=ROOT, env=self._environment, stdout=output, stderr=output
                            )


def wait_for(condition: Callable[[], bool], what: str, seconds: float) -> float:
    """How long it took. Raises AssertionError when it does not come true."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.02)
    return time.monotonic() - begun


def content(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def _parents() -> list[tuple[int, int]]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
                found.append((int(entry.name), int(stat.rpartition(")")[2].split()[1])))
    return found


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
