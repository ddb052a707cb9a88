"""Small pictures of the pictures: each is made once, by `dashboard.thumbnailer` in a process of its own, and kept."""

import asyncio
import contextlib
import hashlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import msgspec
from msgspec import Struct

from dashboard.volume import Volume
from services import log
from services.errors import NotFound, SuiteError, Unavailable
from services.settings import APP_DIR, Settings
from services.workspace import Workspace

# Two at most: the machine has other things to do.
PROCESSES = min(2, os.cpu_count() or 1)
# A process without work ends after this.
IDLE_SECONDS = 20.0
# One picture; the process limits the time that it computes, and a volume may hang.
PICTURE_SECONDS = 30.0
PRUNE_SECONDS = 120.0
# A process that was told to end is waited for so long: it may hang with the volume.
END_SECONDS = 1.0
# After so many new ones is looked whether there are too many.
PRUNE_EVERY = 500
# Files remembered that are no pictures that can be shown.
BAD_KEPT = 10_000
SUFFIX = ".webp"

_log = log.get("thumbnails")


class ThumbnailFailed(Unavailable):
    """It could not be made now; another time it may."""

    type = "thumbnail_failed"


class _Task(Struct, frozen=True):
    """What `dashboard.thumbnailer` reads. Not its own type: this process does not load Pillow."""

    source: str
    size_bytes: int
    mtime_ns: int
    targets: tuple[str, ...]


class _Result(Struct, frozen=True):
    state: str
    target: str = ""
    reason: str = ""


class _Source(Struct, frozen=True):
    path: Path
    size_bytes: int
    mtime_ns: int
    key: str


class _Job:
    """A picture that someone waits for."""

    def __init__(self, source: _Source) -> None:
        self.source = source
        self.waiting = 0
        self.done: asyncio.Future[Path] = asyncio.get_running_loop().create_future()


class Thumbnails:
    """Kept below the volume's `cache/thumbnails/`, or beside the dashboard's own state where that cannot be written."""

    def __init__(self, settings: Settings, volume: Volume) -> None:
        self._workspace = Workspace(settings.workspace)
        self._volume = volume
        self.kept = self._workspace.thumbnails
        self.kept_locally = settings.state_dir / "dashboard" / "thumbnails"
        self._jobs: dict[str, _Job] = {}
        self._wanted: asyncio.Queue[_Job] = asyncio.Queue()
        self._makers: set[asyncio.Task[None]] = set()
        self._idle = 0
        self._made = 0
        self._bad: dict[str, None] = {}

    async def of(self, path: Path) -> Path:
        """The small picture of the picture `path`. Cancelling it takes the wish back.

        Raises NotFound where there is none or it cannot be shown, ThumbnailFailed, WorkspaceUnavailable."""
        source, made = await self._volume.run(self._find, path)
        if made is not None:
            return made
        if source is None or source.key in self._bad:
            raise _no_picture(path)
        job = self._jobs.get(source.key) or self._ask(source)
        job.waiting += 1
        try:
            return await asyncio.shield(job.done)
        finally:
            job.waiting -= 1

    def forget(self, path: Path, figures: os.stat_result) -> None:
        """The picture is gone, and so is what was made of it. Blocking."""
        name = _kept_name(_key(self._workspace, path, figures))
        for folder in (self.kept, self.kept_locally):
            with contextlib.suppress(OSError):
                (folder / name).unlink(missing_ok=True)

    async def close(self) -> None:
        for maker in self._makers:
            maker.cancel()
        await asyncio.gather(*self._makers, return_exceptions=True)
        for job in self._jobs.values():
            job.done.cancel()

    def _find(self, path: Path) -> tuple[_Source | None, Path | None]:
        """In a thread: what `path` is now, and what was made of it before."""
        try:
            figures = os.stat(path, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None, None
        key = _key(self._workspace, path, figures)
        for folder in (self.kept, self.kept_locally):
            made = folder / _kept_name(key)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                # An empty one is what a power cut left.
                if made.stat().st_size:
                    return None, made
        return _Source(path, figures.st_size, figures.st_mtime_ns, key), None

    def _ask(self, source: _Source) -> _Job:
        job = self._jobs[source.key] = _Job(source)
        self._wanted.put_nowait(job)
        if self._wanted.qsize() > self._idle and len(self._makers) < PROCESSES:
            maker = asyncio.create_task(self._make_all(), name="thumbnails")
            self._makers.add(maker)
            maker.add_done_callback(self._makers.discard)
        return job

    async def _make_all(self) -> None:
        """What there is to make, until there was nothing for a while."""
        async with _Maker() as maker:
            while (job := await self._next()) is not None:
                try:
                    await self._make(maker, job)
                finally:
                    # Whatever happened, nobody waits for ever.
                    self._jobs.pop(job.source.key, None)
                    job.done.cancel()

    async def _make(self, maker: "_Maker", job: _Job) -> None:
        try:
            job.done.set_result(self._judged(job.source, await maker.make(self._task(job.source), PICTURE_SECONDS)))
        except SuiteError as error:
            job.done.set_exception(error)
            # Everyone who waited may be gone.
            job.done.exception()
        self._made += 1
        if self._made % PRUNE_EVERY == 1:
            with contextlib.suppress(ThumbnailFailed):
                await maker.make(_Task("", 0, 0, tuple(map(str, self._folders()))), PRUNE_SECONDS)

    async def _next(self) -> _Job | None:
        """The next that someone still waits for."""
        self._idle += 1
        try:
            while True:
                job = await asyncio.wait_for(self._wanted.get(), IDLE_SECONDS)
                if job.waiting:
                    return job
                self._jobs.pop(job.source.key)
        except TimeoutError:
            return None
        finally:
            self._idle -= 1

    def _folders(self) -> tuple[Path, ...]:
        return (self.kept, self.kept_locally) if self._volume.report.writable else (self.kept_locally,)

    def _task(self, source: _Source) -> _Task:
        targets = tuple(str(folder / _kept_name(source.key)) for folder in self._folders())
        return _Task(str(source.path), source.size_bytes, source.mtime_ns, targets)

    def _judged(self, source: _Source, result: _Result) -> Path:
        """Raises NotFound, ThumbnailFailed."""
        if result.state == "made":
            return Path(result.target)
        if result.state == "not_kept":
            raise ThumbnailFailed(f"the small picture of '{source.path.name}' could not be kept: {result.reason}")
        if result.state == "bad":
            _log.info("picture_not_shown", path=str(source.path), reason=result.reason)
            self._bad[source.key] = None
            if len(self._bad) > BAD_KEPT:
                self._bad.pop(next(iter(self._bad)))
        raise _no_picture(source.path)


class _Maker:
    """The process that makes them; a new one after it ended over a picture."""

    def __init__(self) -> None:
        self._process: Process | None = None
        # It has not made a picture yet.
        self._is_fresh = True

    async def __aenter__(self) -> "_Maker":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    async def make(self, task: _Task, seconds: float) -> _Result:
        """Raises ThumbnailFailed when it cannot be made now."""
        try:
            async with asyncio.timeout(seconds):
                return await self._told(task)
        except TimeoutError:
            await self._end()
            raise ThumbnailFailed(f"no small picture of '{task.source}' within {seconds:.0f} s") from None

    async def _told(self, task: _Task) -> _Result:
        if self._process is None:
            self._process, self._is_fresh = await _start(), True
        process = self._process
        assert process.stdin is not None  # noqa: S101 (asked for)
        assert process.stdout is not None  # noqa: S101
        try:
            process.stdin.write(msgspec.json.encode(task) + b"\n")
            await process.stdin.drain()
            line = await process.stdout.readline()
        except (BrokenPipeError, ConnectionResetError):
            line = b""
        if line:
            self._is_fresh = False
            return msgspec.json.decode(line, type=_Result)
        self._process = None
        if not self._is_fresh:
            # It may have ended for another reason than this picture.
            await process.wait()
            return await self._told(task)
        if (code := await process.wait()) >= 0:
            raise ThumbnailFailed(f"what makes small pictures ended ({code}); logs/dashboard.log says why")
        return _Result("bad", reason=f"it took too much memory or time ({signal.Signals(-code).name})")

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), END_SECONDS)


async def _start() -> Process:
    """Raises ThumbnailFailed."""
    try:
        command = (sys.executable, "-m", "dashboard.thumbnailer")
        return await asyncio.create_subprocess_exec(*command, cwd=APP_DIR, stdin=PIPE, stdout=PIPE)
    except OSError as error:
        raise ThumbnailFailed(f"small pictures cannot be made now: {error}") from None


def _no_picture(path: Path) -> NotFound:
    return NotFound(f"there is no small picture of '{path.name[:200]}'")


def _key(workspace: Workspace, path: Path, figures: os.stat_result) -> str:
    # Of the place within the volume, which may be mounted elsewhere next time.
    place = path.relative_to(workspace.root) if path.is_relative_to(workspace.root) else path
    return hashlib.sha256(f"{place}\0{figures.st_size}\0{figures.st_mtime_ns}".encode()).hexdigest()


def _kept_name(key: str) -> str:
    """In folders of two letters, so that none holds very many."""
    return f"{key[:2]}/{key[2:40]}{SUFFIX}"
