"""A ComfyUI that lay on the volume before the suite came: `ComfyUI/models/`, as many templates of pods leave it.

Its files are used where they lie. Nothing is ever written, moved or deleted there.
"""

import os
from pathlib import Path

from services.errors import InvalidName
from services.model_folders import LEGACY_FOLDERS
from services.workspace import Workspace, figures_of

# Relative to the volume.
ROOT = "ComfyUI/models"


def models_of(workspace: Workspace) -> Path | None:
    """Its models, None where there is none. A link is none: LEGACY_SYMLINKS makes one that leads to our own models.

    Raises OSError when the volume does not answer.
    """
    path = workspace.root / ROOT
    is_there = path.is_dir() and not path.is_symlink() and not path.parent.is_symlink()
    return path if is_there else None


def folders(workspace: Workspace, model_folders: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Model folder -> the names it has in the tree, the old spellings too. Raises OSError."""
    models = models_of(workspace)
    if models is None:
        return {}
    present = {entry.name for entry in os.scandir(models) if entry.is_dir(follow_symlinks=False)}
    return {folder: names for folder in model_folders if (names := tuple(n for n in spellings(folder) if n in present))}


def spellings(folder: str) -> tuple[str, ...]:
    return (folder, *(old for old, new in LEGACY_FOLDERS.items() if new == folder))


def find(workspace: Workspace, folder: str, name: str) -> Path | None:
    """Where the model `name` of `folder` lies in the tree. Raises OSError when the volume does not answer."""
    models = models_of(workspace)
    for spelling in spellings(folder) if models is not None else ():
        try:
            path = workspace.model_file(spelling, name, models=models)
        except InvalidName:
            continue
        if figures_of(path) is not None:
            return path
    return None
