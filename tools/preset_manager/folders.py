"""The folders that records are written to, on a volume on which no suite was started yet."""

from services.workspace import Workspace


def make(workspace: Workspace) -> None:
    """What is missing of them; the boot gives the whole tree its owners and modes. Raises OSError."""
    for folder in workspace.folders(()):
        if folder.owner == "suite":
            path = workspace.root / folder.path
            path.mkdir(mode=folder.mode & 0o777, parents=True, exist_ok=True)
