"""Where models lie: the trees on the volume, and the folders in them."""

import os
from dataclasses import dataclass
from pathlib import Path

from services.link_targets import LinkTargets
from services.model_folders import LEGACY_FOLDERS

# The tree that the suite writes to, relative to the volume.
OURS = "models"


@dataclass(frozen=True)
class Tree:
    """`root`, relative to the volume: our own models, or those of a plain ComfyUI."""

    volume: Path
    targets: LinkTargets
    root: str = OURS

    @property
    def models(self) -> Path:
        return self.volume / self.root

    @property
    def is_ours(self) -> bool:
        return self.root == OURS

    def has_folder(self, entry: os.DirEntry[str]) -> bool:
        """In our own, a link to one counts, if an operator may have put it there."""
        if not entry.is_symlink():
            return entry.is_dir()
        try:
            return self.is_ours and self.targets.takes_folder(entry.path)
        except OSError:
            # Of what it leads to, and not of the volume.
            return False

    def linked_file(self, path: str) -> os.stat_result | None:
        """What stat says of a file behind a link; None where it is not taken."""
        try:
            figures, target = os.stat(path), os.path.realpath(path)
        except OSError:
            return None
        is_taken = self.targets.takes_file(figures, target, is_plain=not self.is_ours)
        return figures if is_taken else None


class Place:
    """A folder of a tree: `below` is the path from the model folder, with a `/` at its end; `lies_in`, where the model
    folder lies on the volume, under the name it has there; `is_linked`: through a link."""

    def __init__(self, tree: Tree, folder: str, below: str = "", *, is_linked: bool = False) -> None:
        self.tree = tree
        self.folder = folder
        self.below = below
        self.is_linked = is_linked
        self.known_as = LEGACY_FOLDERS.get(folder, folder)
        self.lies_in = f"{tree.root}/{folder}"
        self.root = self.lies_in if tree.is_ours and self.known_as != folder else tree.root
        self.path = f"{tree.volume}/{self.lies_in}/{below}"

    def sub(self, name: str) -> "Place":
        return Place(self.tree, self.folder, f"{self.below}{name}/", is_linked=self.is_linked)
