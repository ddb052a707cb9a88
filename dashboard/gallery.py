"""What ComfyUI made, newest first."""

import heapq
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from msgspec import Struct

from dashboard.volume import Volume
from services.comfyui import Media, media_of
from services.errors import InvalidName, WorkspaceUnavailable
from services.workspace import check_name, figures_of

MAX_DEPTH = 6
# A folder that did not change is believed for this long, then its files are looked at again one by one.
RESCAN_SECONDS = 60.0
# A video is written for a while, and the time stamps of folders are coarse.
SETTLED_SECONDS = 60.0


class Output(Struct, frozen=True):
    url: str
    filename: str
    media: Media
    size_bytes: int
    modified: float


class _Listed(Struct):
    mtime_ns: int
    listed_at: float
    outputs: tuple[Output, ...]
    subfolders: tuple[str, ...]

    def is_fresh(self, mtime_ns: int) -> bool:
        youngest = max((output.modified for output in self.outputs), default=0.0)
        return (
            mtime_ns == self.mtime_ns
            and time.time() - self.listed_at < RESCAN_SECONDS
            and self.listed_at - max(youngest, mtime_ns / 1e9) > SETTLED_SECONDS
        )


class Gallery:
    """What lies in `root`, ComfyUI's output folder."""

    def __init__(self, volume: Volume, root: Path) -> None:
        self._volume = volume
        self._root = root
        self._folders: dict[str, _Listed] = {}
        self._lock = threading.Lock()

    async def newest(self, limit: int) -> list[Output]:
        """Empty while the volume is away."""
        try:
            return await self._volume.run(self._newest, limit)
        except WorkspaceUnavailable:
            return []

    def _newest(self, limit: int) -> list[Output]:
        with self._lock:
            return heapq.nlargest(limit, self._walk("", 0), key=lambda output: output.modified)

    def _walk(self, below: str, depth: int) -> Iterator[Output]:
        try:
            mtime_ns = (self._root / below).stat().st_mtime_ns
            listed = self._folders.get(below)
            if listed is None or not listed.is_fresh(mtime_ns):
                listed = self._folders[below] = _list_folder(self._root, below, mtime_ns)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return
        yield from listed.outputs
        if depth < MAX_DEPTH:
            for name in listed.subfolders:
                yield from self._walk(f"{below}{name}/", depth + 1)


def _list_folder(root: Path, below: str, mtime_ns: int) -> _Listed:
    outputs, subfolders, listed_at = [], [], time.time()
    with os.scandir(root / below) as entries:
        for entry in entries:
            if not _can_be_opened(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                subfolders.append(entry.name)
            elif (
                entry.is_file(follow_symlinks=False)
                and (media := media_of(entry.name)) != "other"
                and (figures := figures_of(entry.path))
            ):
                url = f"/outputs/{quote(below + entry.name)}"
                outputs.append(Output(url, entry.name, media, figures.st_size, figures.st_mtime))
    return _Listed(mtime_ns, listed_at, tuple(outputs), tuple(subfolders))


def _can_be_opened(name: str) -> bool:
    """As `/outputs/` judges it."""
    try:
        check_name(name)
    except InvalidName:
        return False
    return True
