"""Phase 1: is the volume there and writable, and does it hold the folder tree?"""

import contextlib
import os
from pathlib import Path

import msgspec

from bootstrap.deadline import TimedOut, run_within
from bootstrap.folders import make_folder
from bootstrap.model_paths import LEGACY_FOLDER
from bootstrap.users import Users, become
from services import plain_tree, volume
from services.boot import StepState
from services.settings import DEFAULT_WORKSPACE, Settings
from services.volume import VolumeReport
from services.workspace import PUBLIC_MODE, Folder, Workspace

# The document allows phase 1 five seconds.
DEADLINE_SECONDS = 4.0


def check(settings: Settings, users: Users, model_folders: tuple[str, ...]) -> VolumeReport:
    """Creates what is missing of the tree, then probes the volume as the user who will write to it. Never raises."""
    workspace = Workspace(settings.workspace)
    folders = workspace.folders(model_folders)
    if settings.legacy_symlinks:
        # The suite's user makes the links in it, and the volume itself may well be root's.
        folders += (Folder(LEGACY_FOLDER, "suite", PUBLIC_MODE),)

    def work() -> bytes:
        _create_tree(workspace.root, users, folders)
        become(users.suite)
        _create_behind_links(workspace.root, folders)
        report = volume.examine(workspace.root)
        found = report.readable and plain_tree.models_of(workspace) is not None
        return msgspec.json.encode(msgspec.structs.replace(report, plain_comfyui=found))

    try:
        return msgspec.json.decode(run_within(DEADLINE_SECONDS, work), type=VolumeReport)
    except TimedOut:
        return volume.hung(workspace.root, DEADLINE_SECONDS)
    except (OSError, msgspec.DecodeError) as error:
        return VolumeReport("missing", str(workspace.root), f"{workspace.root} could not be examined ({error})")


def verdict(settings: Settings, report: VolumeReport) -> tuple[StepState, str]:
    """How the boot's step went, and what it says."""
    if not report.writable:
        return "failed", f"{report.message}. {report.remedy}"
    if not report.mounted and str(settings.workspace) == DEFAULT_WORKSPACE:
        return (
            "warning",
            f"nothing is mounted at {report.path}: models are lost with this container. Mount a volume there",
        )
    free = "free space unknown" if report.free_bytes is None else f"{report.free_bytes / 1e9:.0f} GB free"
    kind = "a volume" if report.mounted else "a folder"
    plain = f", models of {plain_tree.ROOT} used in place" if report.plain_comfyui else ""
    return "ok", f"{report.path}, {kind} on {report.filesystem or 'an unknown file system'}, {free}{plain}"


def _create_tree(root: Path, users: Users, folders: tuple[Folder, ...]) -> None:
    """As far as the volume allows: what could not be made shows in the probe, or when it is needed."""
    os.umask(0o002)
    with contextlib.suppress(OSError):
        root.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        # A full or read-only volume may hold the tree from another day. Some volumes refuse another owner or mode;
        # then every user there is the same one anyway.
        with contextlib.suppress(OSError):
            make_folder(root, folder.path, users.owner(folder.owner), folder.mode)


def _create_behind_links(root: Path, folders: tuple[Folder, ...]) -> None:
    """What is missing below a folder that the operator replaced by a link; no business of root's."""
    for folder in folders:
        with contextlib.suppress(OSError):
            (root / folder.path).mkdir(mode=folder.mode & 0o777)
