"""Phase 2: the file that tells ComfyUI where the models lie, and the optional links to the old places."""

from pathlib import Path

from bootstrap.deadline import TimedOut, run_within
from bootstrap.users import User, as_user
from services import plain_tree, yaml_files
from services.errors import SuiteError
from services.settings import Settings
from services.volume import VolumeReport
from services.workspace import Workspace, write_atomic

# The document allows phase 2 three seconds.
DEADLINE_SECONDS = 3.0
SECTION = "workspace"
PLAIN_SECTION = "plain_comfyui"
_HEADER = b"# Written at every start: changes are lost. ComfyUI reads it through --extra-model-paths-config.\n"

# What the image's users know from plain ComfyUI, and where it is now.
LEGACY_FOLDER = "ComfyUI"
Section = dict[str, str | bool]
LEGACY_LINKS = {"models": "models", "output": "output", "input": "uploads/input"}


def local_file(settings: Settings) -> Path:
    """Where the file goes when the volume cannot be written."""
    return settings.state_dir / "comfyui" / "extra_model_paths.yaml"


def write(
    file: Path, settings: Settings, writer: User | None, model_folders: tuple[str, ...], report: VolumeReport
) -> str:
    """Writes the file, holds what ComfyUI will read against what was meant, makes the links.

    Says what the problem is; nothing when there is none.
    """
    workspace = Workspace(settings.workspace)

    def work() -> bytes:
        try:
            write_atomic(file, content(workspace, model_folders, report), mode=0o644)
            if yaml_files.read(file) != _sections(workspace, model_folders, report):
                return f"{file} reads back differently from what was written".encode()
            if settings.legacy_symlinks and report.writable:
                link_legacy_places(workspace)
        except (OSError, SuiteError) as error:
            return str(error).encode()
        return b""

    try:
        return run_within(DEADLINE_SECONDS, as_user(writer, work)).decode()
    except TimedOut:
        return f"{file} could not be written within {DEADLINE_SECONDS:.0f} s"


def content(workspace: Workspace, model_folders: tuple[str, ...], report: VolumeReport) -> bytes:
    return _HEADER + yaml_files.dump(_sections(workspace, model_folders, report))


def _sections(workspace: Workspace, model_folders: tuple[str, ...], report: VolumeReport) -> dict[str, Section]:
    plain = plain_tree.folders(workspace, model_folders) if report.readable else {}
    sections = {SECTION: _section(workspace, model_folders, report)}
    if plain:
        # Several folders of one kind stand in one text, a line each.
        lines: Section = {folder: "\n".join(names) for folder, names in plain.items()}
        sections[PLAIN_SECTION] = {"base_path": str(workspace.root / plain_tree.ROOT), **lines}
    return sections


def _section(workspace: Workspace, model_folders: tuple[str, ...], report: VolumeReport) -> Section:
    """`output` and `input` do not belong here (ComfyUI would take them for kinds of models), a list as a value makes
    it crash, and so does a `custom_nodes` folder that does not exist."""
    section: Section = {"base_path": str(workspace.root), "is_default": True}
    if not report.readable:
        # ComfyUI would hang with the volume.
        return section
    old = plain_tree.old_folders(workspace)
    for name in model_folders:
        section[name] = "\n".join(f"models/{spelling}" for spelling in (name, *old.get(name, ())))
    if workspace.custom_nodes.is_dir():
        section["custom_nodes"] = "custom_nodes"
    return section


def link_legacy_places(workspace: Workspace) -> None:
    """`/workspace/ComfyUI/models` and the like, for scripts that know only those. Real folders are left alone."""
    old = workspace.root / LEGACY_FOLDER
    old.mkdir(exist_ok=True)
    for name, target in LEGACY_LINKS.items():
        link = old / name
        if not link.exists() and not link.is_symlink():
            link.symlink_to(Path("..") / target)
