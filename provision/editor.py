"""ComfyUI's own front end, `.build/editor`: the judge of our conversion of workflows.

Pinned by itself. What ComfyUI's requirements bring along changes with ComfyUI's version, and the verdicts would too.
"""

import shutil
from pathlib import Path

from provision import stamps, suite, virtualenv
from provision.step import Step

LOCK = Path(__file__).with_name("requirements-editor.lock")


def static_folder(build_dir: Path) -> Path:
    """What ComfyUI takes as `--front-end-root`."""
    return build_dir / "editor" / "comfyui_frontend_package" / "static"


def install(step: Step) -> None:
    """By the pip and uv of the suite's environment. Raises SetupError."""
    build_dir = step.settings.build_dir
    folder, stamp_file = build_dir / "editor", build_dir / "editor.json"
    stamp = {"lock": stamps.digest([LOCK], LOCK.parent)}
    if (static_folder(build_dir) / "index.html").is_file() and stamps.read(stamp_file) == stamp:
        return
    stamp_file.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    step.say(f"installing {LOCK.name} into {folder.relative_to(step.settings.root)}")
    python = suite.python(step.settings)
    virtualenv.install(step, f"installing {LOCK.name}", python, "--target", folder, "--require-hashes", "-r", LOCK)
    stamps.write(stamp_file, stamp)
