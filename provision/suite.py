"""The suite's own virtual environment, `.build/venv`, from the hashed locks."""

import compileall
import hashlib
import os
from pathlib import Path

from provision import stamps, virtualenv
from provision.settings import Settings
from provision.step import Step

CODE = ("bootstrap", "dashboard", "services", "worker")


def python(settings: Settings) -> Path:
    return settings.build_dir / "venv" / "bin" / "python"


def install(step: Step, tests: bool) -> None:
    """Installs requirements.lock, with `tests` requirements-dev.lock, which holds all of the first. Raises SetupError.

    What the tests need stays once it is there: `make run` does not take it away again.
    """
    settings = step.settings
    folder, stamp_file = settings.build_dir / "venv", settings.build_dir / "venv.json"
    stamp = stamps.read(stamp_file)
    base = {"folder": str(folder), "python": os.path.realpath(settings.python)}
    run, dev = (_hash(settings.root / name) for name in ("requirements.lock", "requirements-dev.lock"))
    usable = python(settings).exists() and base.items() <= stamp.items()
    if usable and run == stamp.get("run") and stamp.get("dev", "") in {dev, "" if not tests else dev}:
        _compile(settings.root)
        return
    tests = tests or bool(stamp.get("dev"))
    add = usable and run == stamp.get("run") and not stamp.get("dev")
    stamp_file.unlink(missing_ok=True)
    lock = "requirements-dev.lock" if tests else "requirements.lock"
    step.say(f"installing {lock} into {folder.relative_to(settings.root)}")
    if not add:
        virtualenv.create(step, folder, settings.python)
    locked = ("--require-hashes", "-r", settings.root / lock)
    virtualenv.install(step, f"installing {lock}", python(settings), *locked)
    virtualenv.compile_all(step, python(settings), folder / "lib")
    stamps.write(stamp_file, base | {"run": run} | ({"dev": dev} if tests else {}))
    _compile(settings.root)


def _hash(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def _compile(root: Path) -> None:
    """As root the programs run as users that may not write here: without this, each start compiles the code again."""
    for name in CODE:
        if (root / name).is_dir():
            compileall.compile_dir(root / name, quiet=2)
