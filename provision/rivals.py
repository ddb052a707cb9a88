"""The Python downloaders that `make bench-downloads` measures ours against: a virtual environment, `.build/rivals`."""

import os
from pathlib import Path

from provision import stamps, virtualenv
from provision.step import Step

LOCK = Path(__file__).with_name("requirements-rivals.lock")


def install(step: Step) -> None:
    """Raises SetupError."""
    folder, stamp_file = step.settings.build_dir / "rivals", step.settings.build_dir / "rivals.json"
    base = {"folder": str(folder), "python": os.path.realpath(step.settings.python)}
    stamp = base | {"lock": stamps.digest([LOCK], LOCK.parent)}
    python = folder / "bin" / "python"
    if python.exists() and stamps.read(stamp_file) == stamp:
        return
    stamp_file.unlink(missing_ok=True)
    step.say(f"installing {LOCK.name} into {folder.relative_to(step.settings.root)}")
    virtualenv.create(step, folder, step.settings.python)
    virtualenv.install(step, f"installing {LOCK.name}", python, "--require-hashes", "-r", LOCK)
    # Nobody's first run is to compile.
    virtualenv.compile_all(step, python, folder / "lib")
    stamps.write(stamp_file, stamp)
