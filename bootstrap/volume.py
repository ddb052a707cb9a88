"""Phase 1: is the volume there and writable, and does it hold the folder tree?"""

import contextlib
import os

import msgspec

from bootstrap.deadline import TimedOut, run_within
from bootstrap.users import Users, become
from services import volume
from services.settings import Settings
from services.volume import VolumeReport
from services.workspace import Workspace

# The document allows phase 1 five seconds.
DEADLINE_SECONDS = 4.0


def check(settings: Settings, users: Users, model_folders: tuple[str, ...]) -> VolumeReport:
    """Creates what is missing of the tree, then probes the volume as the user who will write to it. Never raises."""
    workspace = Workspace(settings.workspace)

    def work() -> bytes:
        _create_tree(workspace, users, model_folders)
        become(users.suite)
        return msgspec.json.encode(volume.examine(workspace.root))

    try:
        return msgspec.json.decode(run_within(DEADLINE_SECONDS, work), type=VolumeReport)
    except TimedOut:
        return volume.hung(workspace.root, DEADLINE_SECONDS)
    except (OSError, msgspec.DecodeError) as error:
        return VolumeReport("missing", str(workspace.root), f"{workspace.root} could not be examined ({error})")


def _create_tree(workspace: Workspace, users: Users, model_folders: tuple[str, ...]) -> None:
    """As far as the volume allows: what could not be made shows in the probe, or when it is needed."""
    os.umask(0o002)
    with contextlib.suppress(OSError):
        workspace.root.mkdir(parents=True, exist_ok=True)
    for folder in workspace.folders(model_folders):
        path = workspace.root / folder.path
        # A full or read-only volume may hold the tree from another day.
        with contextlib.suppress(OSError):
            if not path.exists():
                path.mkdir(mode=folder.mode & 0o777)
            figures = path.stat()
            owner = users.owner(folder.owner)
            # Some volumes refuse both; then every user there is the same one anyway.
            if owner is not None and (figures.st_uid, figures.st_gid) != (owner.uid, owner.gid):
                os.chown(path, owner.uid, owner.gid)
            if figures.st_mode & 0o7777 != folder.mode:
                path.chmod(folder.mode)
