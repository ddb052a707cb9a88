"""A ComfyUI that lay on the volume before the suite came: `ComfyUI/models/`, as many templates of pods leave it, and
folders with their old names in our own `models/` (`unet`, `clip`).

Its files are used where they lie. Nothing is ever written, moved or deleted there.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from services.errors import InvalidName
from services.model_folders import LEGACY_FOLDERS
from services.workspace import Workspace, figures_of

# Relative to the volume.
ROOT = "ComfyUI/models"


def models_of(workspace: Workspace) -> Path | None:
    """Its models, None where there is none that we may read. A link is none: LEGACY_SYMLINKS makes one that leads to
    our own models.

    Raises OSError when the volume does not answer.
    """
    path = workspace.root / ROOT
    figures = figures_of(path)
    if figures is None or not stat.S_ISDIR(figures.st_mode) or path.is_symlink() or path.parent.is_symlink():
        return None
    return path if os.access(path, os.R_OK | os.X_OK) else None


def folders(workspace: Workspace, model_folders: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Model folder -> the names it has in the tree, the old spellings too. Raises OSError."""
    models = models_of(workspace)
    return {} if models is None else _present(models, {folder: _spellings(folder) for folder in model_folders})


def old_folders(workspace: Workspace) -> dict[str, tuple[str, ...]]:
    """Model folder -> the old names it has in our own tree. Raises OSError."""
    return _present(workspace.models, {folder: _old_spellings(folder) for folder in LEGACY_FOLDERS.values()})


def _present(models: Path, names: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    try:
        present = {entry.name for entry in os.scandir(models) if entry.is_dir(follow_symlinks=False)}
    except FileNotFoundError:
        return {}
    return {folder: found for folder in names if (found := tuple(name for name in names[folder] if name in present))}


def _spellings(folder: str) -> tuple[str, ...]:
    return (folder, *_old_spellings(folder))


def _old_spellings(folder: str) -> tuple[str, ...]:
    return tuple(old for old, new in LEGACY_FOLDERS.items() if new == folder)


def find(workspace: Workspace, folder: str, name: str) -> Path | None:
    """Where the model `name` of `folder` lies in the tree, if we may read it there. Raises OSError when the volume does
    not answer."""
    plain = models_of(workspace)
    places = [(plain, spelling) for spelling in _spellings(folder)] if plain else []
    places += [(workspace.models, spelling) for spelling in _old_spellings(folder)]
    for models, spelling in places:
        try:
            path = workspace.model_file(spelling, name, models=models)
        except InvalidName:
            continue
        is_there = figures_of(path) is not None and not (models / spelling).is_symlink()
        if is_there and is_on_volume(workspace.root, path) and os.access(path, os.R_OK):
            return path
    return None


def is_on_volume(root: Path, path: Path | str) -> bool:
    """Whether `path` leads to something below `root`, through whatever links."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))
