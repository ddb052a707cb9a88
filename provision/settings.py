"""What the user may choose, read from the environment once, and where set-up keeps its things."""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from provision.errors import SetupError


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`comfyui_dir` and `comfyui_python` name a ComfyUI of the user's own: it is used as it is, never changed."""

    root: Path
    python: Path
    comfyui_base_python: Path
    comfyui_dir: Path | None
    comfyui_python: Path | None
    suite_user: str
    comfyui_user: str
    workspace_group: str

    @property
    def build_dir(self) -> Path:
        return self.root / ".build"


def from_environment() -> Settings:
    """Raises SetupError when a path that was given does not exist."""
    return load(os.environ, root=Path(__file__).resolve().parent.parent)


def load(environ: Mapping[str, str], root: Path) -> Settings:
    """Settings from `environ`; an empty value counts as not set. Raises SetupError."""
    python = Path(sys.executable)
    return Settings(
        root=root,
        python=python,
        comfyui_base_python=_program("COMFYUI_BASE_PYTHON", environ) or python,
        comfyui_dir=_comfyui("COMFYUI_DIR", environ),
        comfyui_python=_program("COMFYUI_PYTHON", environ),
        suite_user=environ.get("SUITE_USER") or "suite",
        comfyui_user=environ.get("COMFYUI_USER") or "comfyui",
        workspace_group=environ.get("WORKSPACE_GROUP") or "workspace",
    )


def _comfyui(name: str, environ: Mapping[str, str]) -> Path | None:
    if not environ.get(name):
        return None
    folder = Path(environ[name]).expanduser().absolute()
    for member in ("main.py", "requirements.txt"):
        if not (folder / member).is_file():
            raise SetupError(f"{name}={environ[name]} is not ComfyUI: there is no {member} in that folder")
    return folder


def _program(name: str, environ: Mapping[str, str]) -> Path | None:
    if not environ.get(name):
        return None
    found = shutil.which(Path(environ[name]).expanduser())
    if not found:
        raise SetupError(f"{name}={environ[name]}: there is no such program")
    return Path(found).absolute()
