"""The volume: where everything on it lies, and the only way from a user's name to a path.

`/workspace` is shared by two users: `suite` (dashboard, workers) and `comfyui`. Folders that both write to belong to
their common group and carry the setgid bit, so that what one makes the other may change.
"""

import contextlib
import errno
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from services.errors import InvalidName, NotEnoughSpace
from services.model_folders import LEGACY_FOLDERS, MODEL_SUFFIXES, is_model

SHARED_MODE = 0o2775
PRIVATE_MODE = 0o700
PUBLIC_MODE = 0o755

# The longest file name of every file system in use, minus room for the suffixes a download adds (`.part.json`).
NAME_MAX_BYTES = 240

_GLOB_CHARACTERS = set("*?[]")
# stat(2) of what is not there for us: missing, below a file, a link in a circle, a folder that is closed. Every other
# error is the volume's.
_NOTHING_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES}


@dataclass(frozen=True)
class Folder:
    """One folder of the tree that bootstrap creates. `owner` is the program user it belongs to."""

    path: str
    owner: Literal["suite", "comfyui"]
    mode: int


_FIXED_FOLDERS = (
    Folder("models", "suite", SHARED_MODE),
    Folder("output", "comfyui", SHARED_MODE),
    Folder("output/images", "comfyui", SHARED_MODE),
    Folder("output/videos", "comfyui", SHARED_MODE),
    Folder("uploads", "suite", SHARED_MODE),
    Folder("uploads/input", "comfyui", SHARED_MODE),
    Folder("uploads/assets", "suite", SHARED_MODE),
    Folder("workflows", "suite", PUBLIC_MODE),
    Folder("workflows/user", "suite", PUBLIC_MODE),
    Folder("workflows/templates", "suite", PUBLIC_MODE),
    Folder("workflows/presets", "suite", PUBLIC_MODE),
    Folder("config", "suite", PUBLIC_MODE),
    Folder("config/installs", "suite", PUBLIC_MODE),
    Folder("config/holds", "suite", PUBLIC_MODE),
    Folder("config/schedule", "suite", PUBLIC_MODE),
    Folder("config/verified", "suite", PUBLIC_MODE),
    Folder("config/uploads", "suite", PUBLIC_MODE),
    Folder("config/adoptions", "suite", PUBLIC_MODE),
    Folder("config/runs", "suite", PRIVATE_MODE),
    Folder("config/runs/prompts", "suite", PRIVATE_MODE),
    Folder("config/secrets", "suite", PRIVATE_MODE),
    Folder("custom_nodes", "comfyui", SHARED_MODE),
    Folder("user", "comfyui", SHARED_MODE),
    Folder("cache", "suite", SHARED_MODE),
    Folder("cache/thumbnails", "suite", PUBLIC_MODE),
    Folder("cache/.cache", "suite", SHARED_MODE),
    Folder("cache/.cache/huggingface", "suite", SHARED_MODE),
    Folder("cache/.cache/pip", "suite", SHARED_MODE),
    Folder("cache/.cache/uv", "suite", SHARED_MODE),
    Folder("logs", "suite", PUBLIC_MODE),
)


class Workspace:
    """Paths of the volume at `root`. Making one touches nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.models = root / "models"
        self.output = root / "output"
        self.input = root / "uploads" / "input"
        self.workflows = root / "workflows"
        self.config = root / "config"
        self.secrets = root / "config" / "secrets"
        self.custom_nodes = root / "custom_nodes"
        self.user = root / "user"
        self.cache = root / "cache" / ".cache"
        self.thumbnails = root / "cache" / "thumbnails"
        self.logs = root / "logs"
        self.model_paths_file = self.config / "extra_model_paths.yaml"
        self.user_presets_file = self.config / "presets.yaml"

    def folders(self, model_folders: tuple[str, ...]) -> tuple[Folder, ...]:
        """The whole tree, parents first."""
        return (*_FIXED_FOLDERS, *(Folder(f"models/{name}", "suite", SHARED_MODE) for name in model_folders))

    def model_file(self, folder: str, name: str, models: Path | None = None) -> Path:
        """Where the model `name` of `folder` lies; `name` may hold sub-folders (`flux/dev.safetensors`).

        `models`: another tree than our own (services/plain_tree.py).
        Raises InvalidName when either could lead out of the models folder or is no model file.
        """
        parts = check_model_name(folder, name)
        return self._inside((models or self.models) / folder, parts)

    def new_model_file(self, folder: str, name: str) -> Path:
        """As `model_file`, for one that is to come: not in a folder with its old name. Raises InvalidName."""
        if folder in LEGACY_FOLDERS:
            raise InvalidName(f"'{folder}' is called '{LEGACY_FOLDERS[folder]}' in ComfyUI today")
        return self.model_file(folder, name)

    def output_file(self, path: str) -> Path:
        """Where the output `path` (as ComfyUI names it, with `/`) lies. Raises InvalidName."""
        return self._inside(self.output, check_relative_path(path))

    def workflow_file(self, source: Literal["user", "templates", "presets"], name: str) -> Path:
        """Where the workflow `name` (without `.json`) lies. Raises InvalidName."""
        return self.workflows / source / f"{check_name(name)}.json"

    def free_bytes(self) -> int:
        """Free space for an ordinary user. Raises OSError when the volume does not answer."""
        return shutil.disk_usage(self.root).free

    @staticmethod
    def _inside(base: Path, parts: tuple[str, ...]) -> Path:
        """`base` may itself be a link (an operator's choice); below it, no link may lead out of it."""
        path = base.joinpath(*parts)
        # realpath gives a link that leads in a circle back as it is.
        if _is_circular(path.parent) or not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(base)):
            raise InvalidName(f"'{'/'.join(parts)}' leads out of {base.name}/ through a link")
        return path


def check_name(name: str) -> str:
    """`name`, if it can only mean one file in one folder. Raises InvalidName."""
    if problem := _problem_of(name):
        raise InvalidName(f"the name {name[:80]!r} {problem}")
    return name


def check_model_name(folder: str, name: str) -> tuple[str, ...]:
    """The parts of `name`, if it can only mean a model file in `folder`. Raises InvalidName."""
    check_name(folder)
    parts = check_relative_path(name)
    if not is_model(folder, parts[-1]):
        raise InvalidName(f"'{name}' is not a model file: its name must end in {', '.join(sorted(MODEL_SUFFIXES))}")
    return parts


def check_relative_path(path: str) -> tuple[str, ...]:
    """The parts of `path`, each a proper name. Raises InvalidName."""
    parts = tuple(path.split("/"))
    if len(parts) > 8:
        raise InvalidName(f"the path {path[:80]!r} is nested too deep")
    for part in parts:
        if problem := _problem_of(part):
            which = f" cannot be used: {part[:80]!r}" if len(parts) > 1 else ""
            raise InvalidName(f"the name {path[:200]!r}{which} {problem}")
    return parts


def _problem_of(name: str) -> str | None:
    """What keeps `name` from being that of one file in one folder."""
    if not name or name in {".", ".."}:
        return "is empty or a dot"
    if unicodedata.normalize("NFKC", name) != name:
        return "holds characters that look like others"
    if "/" in name or "\\" in name:
        return "holds a slash"
    if name.startswith(".") or name.endswith((".", " ")) or name.startswith((" ", "-")):
        return "starts or ends with a dot, a space or a dash"
    if not name.isprintable() or not _GLOB_CHARACTERS.isdisjoint(name):
        return "holds control or wildcard characters"
    if len(name.encode()) > NAME_MAX_BYTES:
        return f"is longer than {NAME_MAX_BYTES} bytes"
    return None


def write_atomic(path: Path, data: bytes, mode: int = 0o644) -> None:
    """`path` holds all of `data` or what it held before, also after a power cut.

    Raises NotEnoughSpace when the volume is full, OSError otherwise.
    """
    try:
        _write_and_rename(path, data, mode)
    except OSError as error:
        if is_out_of_space(error):
            raise NotEnoughSpace(f"no space left on {path.parent}: free some and try again") from error
        raise
    sync_folder(path.parent)


def _write_and_rename(path: Path, data: bytes, mode: int) -> None:
    # Not the file's own name: with a suffix, the longest allowed one would be too long.
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def sync_folder(folder: Path) -> None:
    """Makes a rename in `folder` survive a power cut; file systems that cannot are left as they are."""
    with contextlib.suppress(OSError), _open_folder(folder) as descriptor:
        os.fsync(descriptor)


@contextlib.contextmanager
def _open_folder(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def figures_of(path: Path | str) -> os.stat_result | None:
    """What stat says of `path`; None when nothing is there to be read. Raises OSError when the volume is the reason."""
    try:
        return os.stat(path)
    except OSError as error:
        if error.errno in _NOTHING_THERE:
            return None
        raise


def _is_circular(path: Path) -> bool:
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def is_out_of_space(error: OSError) -> bool:
    return error.errno in {errno.ENOSPC, errno.EDQUOT}
