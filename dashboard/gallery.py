"""What ComfyUI made: the files of its output folder, newest first, read again where something changed."""

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from msgspec import Struct

from dashboard.volume import CALL_SECONDS, Volume
from services import log
from services.comfyui import Media, media_of
from services.errors import InvalidName, WorkspaceUnavailable
from services.workspace import check_name, figures_of

MAX_DEPTH = 6
# More than anyone looks through; each takes some three hundred bytes of memory.
MAX_FILES = 200_000
# A file is believed not to change for this long, then looked at again; and no more than this share of the time goes
# into that, where looking takes long.
RESCAN_SECONDS = 60.0
RESCAN_SHARE = 0.02
# A video is written for a while, and the time stamps of folders are coarse.
SETTLED_SECONDS = 60.0
# How long a look at the folder counts as the present, and how long who asks then waits for a new one.
FRESH_SECONDS = 0.1
PATIENCE_SECONDS = 0.05
# How long the first look is waited for.
PART_SECONDS = 1.0
# Searches kept: those of a few people who turn pages.
KEPT = 16

Order = Literal["newest", "oldest"]

_log = log.get("gallery")


class Output(Struct, frozen=True):
    """`path`: below the output folder, as ComfyUI names it. `modified`: Unix seconds."""

    path: str
    url: str
    thumbnail_url: str | None
    filename: str
    media: Media
    size_bytes: int
    modified: float


class OutputQuery(Struct, frozen=True):
    """`search`: words, each of which the path must hold, in any case of letters. `media`: empty for all."""

    media: str = ""
    search: str = ""
    order: Order = "newest"


class MadeFile(Struct, frozen=True, gc=False):
    """What is remembered of each: little, because there are ten thousand."""

    path: str
    media: Media
    size_bytes: int
    mtime_ns: int

    def output(self) -> Output:
        named = quote(self.path)
        # Browsers show a video's first frame by themselves, and audio has none.
        shown = f"/thumbnails/{named}?v={self.mtime_ns}" if self.media == "image" else None
        filename = self.path.rpartition("/")[2]
        return Output(self.path, f"/outputs/{named}", shown, filename, self.media, self.size_bytes, self.mtime_ns / 1e9)


class Found(Struct, frozen=True):
    files: list[MadeFile]
    total_bytes: int

    def page(self, offset: int, limit: int) -> tuple[Output, ...]:
        return tuple(file.output() for file in self.files[offset : offset + limit])


class Collection:
    """All that is there, newest first. `version` grows with every one that differs."""

    def __init__(self, version: int, files: list[MadeFile]) -> None:
        self.version = version
        self.everything = Found(files, sum(file.size_bytes for file in files))
        self._found: dict[OutputQuery, Found] = {OutputQuery(): self.everything}

    async def find(self, query: OutputQuery) -> Found:
        """Each question is answered once, off the loop."""
        if (known := self._found.get(query)) is not None:
            return known
        found = await asyncio.to_thread(self._find, query)
        if len(self._found) >= KEPT:
            self._found.pop(next(iter(self._found)))
        self._found[query] = found
        return found

    def _find(self, query: OutputQuery) -> Found:
        words = query.search.lower().split()
        files = [file for file in self.everything.files if not query.media or file.media == query.media]
        if words:
            files = [file for file in files if all(word in file.path.lower() for word in words)]
        if query.order == "oldest":
            files = files[::-1]
        return Found(files, sum(file.size_bytes for file in files))


class _Listed(Struct):
    """One folder. `checked_at`: when each of its files was looked at last, which took `check_seconds`."""

    mtime_ns: int
    listed_at: float
    checked_at: float
    check_seconds: float
    files: tuple[MadeFile, ...]
    subfolders: tuple[str, ...]

    def is_fresh(self, mtime_ns: int) -> bool:
        youngest = max((file.mtime_ns for file in self.files), default=0)
        return (
            mtime_ns == self.mtime_ns
            and not self.is_to_be_checked()
            and self.listed_at - max(youngest, mtime_ns) / 1e9 > SETTLED_SECONDS
        )

    def is_to_be_checked(self) -> bool:
        return time.time() - self.checked_at > max(RESCAN_SECONDS, self.check_seconds / RESCAN_SHARE)

    def settled(self) -> dict[str, MadeFile]:
        """Those whose figures are believed, by path."""
        if self.is_to_be_checked():
            return {}
        until_ns = int((self.listed_at - SETTLED_SECONDS) * 1e9)
        return {file.path: file for file in self.files if file.mtime_ns < until_ns}


class Gallery:
    """What lies in `root`, ComfyUI's output folder. What could not be read stays as it was known last.

    One look at a time, in a thread of the volume's, for as long as it takes.
    """

    def __init__(self, volume: Volume, root: Path) -> None:
        self._volume = volume
        self._root = root
        self._folders: dict[str, _Listed] = {}
        self._collection = Collection(0, [])
        self._looking: asyncio.Future[list[MadeFile]] | None = None
        self._looking_since = self._looked_at = 0.0
        # How often something changed, and how often it had when the look that was taken last began.
        self._changes, self._changes_seen = 1, 0
        # What the very first look has found so far. Written by its thread.
        self._so_far: list[MadeFile] | None = []

    async def newest(self, limit: int) -> list[Output]:
        return list((await self.collection()).everything.page(0, limit))

    async def collection(self) -> Collection:
        """The present; the last one known while the volume is away or takes its time."""
        changes = self._changes
        while self._changes_seen < changes:
            # After a change, a look that began before it does not count.
            look = self._looking or self._begin()
            if look is None or not await self._is_in_time(look):
                break
        else:
            if time.monotonic() - self._looked_at > FRESH_SECONDS and (look := self._looking or self._begin()):
                await asyncio.wait({look}, timeout=PATIENCE_SECONDS)
        return self._newest()

    def forget(self) -> None:
        """Something changed: whoever asks next is told of it."""
        self._changes += 1

    def _newest(self) -> Collection:
        if self._so_far is not None and len(self._so_far) != len(self._collection.everything.files):
            self._collection = Collection(self._collection.version + 1, _sorted(self._so_far.copy()))
        return self._collection

    def _begin(self) -> asyncio.Future[list[MadeFile]] | None:
        """A look; None while the volume is known to be away."""
        changes = self._changes
        try:
            look = self._volume.start(self._look)
        except WorkspaceUnavailable:
            return None
        self._looking, self._looking_since = look, time.monotonic()
        look.add_done_callback(lambda done: self._take(done, changes))
        return look

    def _take(self, look: asyncio.Future[list[MadeFile]], changes: int) -> None:
        self._looking, self._looked_at, self._changes_seen = None, time.monotonic(), changes
        if look.cancelled():
            return
        if (error := look.exception()) is not None:
            _log.warning("outputs_not_read", reason=str(error), exc_info=None if isinstance(error, OSError) else error)
            return
        self._so_far = None
        if (files := look.result()) != self._collection.everything.files:
            self._collection = Collection(self._collection.version + 1, files)

    async def _is_in_time(self, look: asyncio.Future[list[MadeFile]]) -> bool:
        """Waits for `look`: once, if it is late; the first is shown as far as it is."""
        patience = CALL_SECONDS if self._so_far is None else PART_SECONDS
        left = self._looking_since + patience - time.monotonic()
        if left <= 0:
            return False
        await asyncio.wait({look}, timeout=left)
        if not look.done():
            return False
        with contextlib.suppress(WorkspaceUnavailable):
            # A volume that failed is examined.
            await self._volume.wait_for(look)
        return True

    def _look(self) -> list[MadeFile]:
        """In a thread, one at a time. Raises OSError when the volume is the reason."""
        folders: dict[str, _Listed] = {}
        files: list[MadeFile] = []
        if self._so_far is not None:
            self._so_far = []
        for below, listed in self._walk("", 0):
            folders[below] = listed
            files += listed.files
            if len(files) > MAX_FILES:
                _log.warning("too_many_outputs", shown=MAX_FILES)
                del files[MAX_FILES:]
                break
        self._folders = folders
        return _sorted(files)

    def _walk(self, below: str, depth: int) -> Iterator[tuple[str, _Listed]]:
        try:
            mtime_ns = (self._root / below).stat().st_mtime_ns
            listed = self._folders.get(below)
            if listed is None or not listed.is_fresh(mtime_ns):
                listed = self._list_folder(below, mtime_ns, listed)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            if not below:
                # The volume is away: that is no reason to forget what lies there.
                raise
            return
        yield below, listed
        if depth < MAX_DEPTH:
            for name in listed.subfolders:
                yield from self._walk(f"{below}{name}/", depth + 1)

    def _list_folder(self, below: str, mtime_ns: int, before: _Listed | None) -> _Listed:
        """Of what is known already only the names are read: on a slow volume each look at a file takes its time."""
        known = before.settled() if before else {}
        files, subfolders, started = [], [], time.time()
        with os.scandir(self._root / below) as entries:
            for entry in entries:
                if (file := known.get(below + entry.name)) is not None:
                    files.append(file)
                elif not _can_be_opened(entry.name):
                    continue
                elif entry.is_dir(follow_symlinks=False):
                    subfolders.append(entry.name)
                elif entry.is_file(follow_symlinks=False) and (file := _made_file(below + entry.name, entry.path)):
                    files.append(file)
                    if self._so_far is not None:
                        self._so_far.append(file)
        checked_at, seconds = started, time.time() - started
        if before is not None and not before.is_to_be_checked():
            checked_at, seconds = before.checked_at, before.check_seconds
        return _Listed(mtime_ns, started, checked_at, seconds, tuple(files), tuple(subfolders))


def _sorted(files: list[MadeFile]) -> list[MadeFile]:
    # Twice, because ten thousand pairs as keys would have the garbage collector look at everything.
    files.sort(key=lambda file: file.path, reverse=True)
    files.sort(key=lambda file: file.mtime_ns, reverse=True)
    return files


def _made_file(path: str, place: str) -> MadeFile | None:
    media = media_of(path)
    figures = None if media == "other" else figures_of(place)
    return MadeFile(path, media, figures.st_size, figures.st_mtime_ns) if figures else None


def _can_be_opened(name: str) -> bool:
    """As `/outputs/` judges it."""
    try:
        check_name(name)
    except InvalidName:
        return False
    return True
