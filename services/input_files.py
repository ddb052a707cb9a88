"""Files for ComfyUI's loading nodes, put into its input folder."""

import filecmp
import os
import secrets
from pathlib import Path
from typing import BinaryIO

from services.errors import Conflict, NotEnoughSpace
from services.links import move
from services.space import no_room
from services.workspace import Workspace, check_name, is_out_of_space, sync_folder

MAX_BYTES = 512 * 1024 * 1024
# Of other files under the same name.
MAX_NAMES = 1000
# ComfyUI is another user of the same group.
_MODE = 0o664


class InputFile:
    """One that is being received. Blocking; each method raises NotEnoughSpace or OSError. `close` in any case."""

    def __init__(self, workspace: Workspace, name: str, size_bytes: int | None, reserve_bytes: int) -> None:
        """`size_bytes`: as announced. Raises InvalidName."""
        self._target = workspace.input / check_name(name)
        self._workspace = workspace
        self._reserve_bytes = reserve_bytes
        self._require_room(size_bytes or 0)
        # Begins with a dot and has no known ending: ComfyUI does not offer it.
        self._temporary = workspace.input / f".{secrets.token_hex(8)}.tmp"
        self._file: BinaryIO = self._temporary.open("xb")

    def write(self, data: bytes) -> None:
        # Others write meanwhile, and not everyone says beforehand how much is to come.
        self._require_room(len(data))
        try:
            self._file.write(data)
        except OSError as error:
            raise _named(error, self._target) from error

    def publish(self) -> str:
        """The name that it has now: another one where a different file has it already. Raises Conflict."""
        try:
            self._file.flush()
            os.fchmod(self._file.fileno(), _MODE)
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _named(error, self._target) from error
        for number in range(MAX_NAMES):
            target = self._target if not number else _numbered(self._target, number)
            try:
                move(self._temporary, target)
            except FileExistsError:
                if not target.is_symlink() and _are_same(self._temporary, target):
                    return target.name
                continue
            sync_folder(target.parent)
            return target.name
        raise Conflict(f"{MAX_NAMES} files are called '{self._target.name}' already; give it another name")

    def close(self) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def _require_room(self, size_bytes: int) -> None:
        free_bytes = self._workspace.free_bytes() - self._reserve_bytes
        if size_bytes > free_bytes:
            raise no_room(f"'{self._target.name}':", size_bytes, max(free_bytes, 0), self._reserve_bytes)


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(check_name(f"{path.stem} ({number}){path.suffix}"))


def _are_same(first: Path, second: Path) -> bool:
    return second.is_file() and filecmp.cmp(first, second, shallow=False)


def _named(error: OSError, target: Path) -> Exception:
    if is_out_of_space(error):
        return NotEnoughSpace(f"no space left for '{target.name}': free some and try again")
    return error
