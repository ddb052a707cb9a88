"""The commands of set-up: which steps each takes, side by side, and what the user sees when one fails."""

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import FrameType

from provision import audit, comfyui, editor, frontend, licences, manager_lists, packages, rivals, suite, users
from provision.commands import Commands
from provision.errors import SetupError, StoppedError
from provision.settings import Settings, from_environment
from provision.step import Step

Action = Callable[[Step], None]
STEPS: dict[str, Action] = {
    "python-packages": lambda step: packages.install(step, {}),
    "packages": lambda step: packages.install(step, packages.RUN_PROGRAMS),
    "test-packages": lambda step: packages.install(step, packages.TEST_PROGRAMS, packages.TEST_FONTS),
    "bench-packages": lambda step: packages.install(step, packages.BENCH_PROGRAMS),
    "bench-downloads-packages": lambda step: packages.install(step, packages.BENCH_DOWNLOADS_PROGRAMS),
    "users": users.create,
    "suite": lambda step: suite.install(step, tests=False),
    "test-suite": lambda step: suite.install(step, tests=True),
    "frontend": frontend.build,
    "comfyui": comfyui.prepare,
    "editor": editor.install,
    "lists": manager_lists.install_if_possible,
    "test-lists": manager_lists.install,
    "rivals": rivals.install,
    "audit": audit.run,
    "licences": licences.write,
}
COMMANDS: dict[str, tuple[str, ...]] = {
    "run": ("packages", "users", "suite", "frontend", "comfyui", "lists"),
    "test": ("test-packages", "users", "test-suite", "frontend", "comfyui", "editor", "test-lists"),
    "conversion-check": ("test-packages", "test-suite", "comfyui", "editor"),
    "bench": ("bench-packages", "users", "test-suite", "frontend", "comfyui"),
    "bench-downloads": ("bench-downloads-packages", "users", "test-suite", "frontend", "comfyui", "rivals"),
    "lint": ("python-packages", "test-suite"),
    "packages": ("packages",),
    "frontend": ("python-packages", "suite", "frontend"),
    "comfyui": ("python-packages", "comfyui"),
    "audit": ("python-packages", "suite", "audit"),
    "licences": ("python-packages", "suite", "licences"),
}
# The front end may need a Node.js from PyPI, which the suite's pip installs; so may npm's audit. It installs
# ComfyUI's editor and ComfyUI-Manager's lists too.
AFTER = {
    "frontend": ("suite", "test-suite"),
    "editor": ("test-suite",),
    "lists": ("suite",),
    "test-lists": ("test-suite",),
    "audit": ("suite",),
    "licences": ("suite",),
}
INTERRUPTED = 130


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        print(f"usage: python3 -m provision {{{','.join(COMMANDS)}}}", file=sys.stderr)
        return 2
    os.umask(0o022)  # as root, other users run what is made here
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _interrupt)
    try:
        settings = from_environment()
        with _only_one(settings.build_dir) as lock:
            _run(Commands(settings.build_dir / "logs", settings.build_dir / "tmp", lock), settings, arguments[0])
    except KeyboardInterrupt:
        print("set-up    stopped; run it again to go on", file=sys.stderr)
        return INTERRUPTED
    except SetupError as error:
        print(f"set-up    {error}", file=sys.stderr)
        return error.exit_status
    except OSError as error:
        print(f"set-up    {_sentence(error)}", file=sys.stderr)
        return 1
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(commands: Commands, settings: Settings, command: str) -> None:
    """Runs the steps in threads; the first error ends them all. Raises SetupError, OSError or KeyboardInterrupt."""
    names = COMMANDS[command]
    pool = ThreadPoolExecutor(len(names))
    running: dict[str, Future[None]] = {}

    def take(name: str) -> None:
        for earlier in AFTER.get(name, ()):
            if earlier in running:
                running[earlier].result()
        STEPS[name](Step(name.split("-")[-1], settings, commands))

    try:
        for name in names:
            running[name] = pool.submit(take, name)
            # The others need git and Python's ensurepip; on a machine that has them they need not wait for apt.
            if name.endswith("packages") and (packages.missing_python_packages() or not shutil.which("git")):
                running[name].result()
        wait(running.values(), return_when=FIRST_EXCEPTION)
        _raise_first(running.values())
    except BaseException:
        commands.stop()
        raise
    finally:
        pool.shutdown()
        shutil.rmtree(settings.build_dir / "tmp", ignore_errors=True)


def _raise_first(running: Iterable[Future[None]]) -> None:
    errors = [error for future in running if future.done() and (error := future.exception())]
    for error in sorted(errors, key=lambda error: isinstance(error, StoppedError)):
        raise error


@contextlib.contextmanager
def _only_one(build_dir: Path) -> Iterator[int]:
    """Two set-ups at once would build the same folders: the second waits. Yields the lock file."""
    build_dir.mkdir(parents=True, exist_ok=True)
    with (build_dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("set-up    waiting for another set-up of this checkout to end", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def _sentence(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "the disk is full: free some space and run this again"
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return f"{error.filename} cannot be written: run this as the user who owns the checkout (or make clean as root)"
    return str(error)
