"""The volume as the dashboard may touch it: in threads of its own, with deadlines, watched from outside.

A volume that hangs takes these threads with it and nothing else: pages and the API go on answering.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from services import log, volume
from services.errors import WorkspaceUnavailable
from services.settings import APP_DIR, Settings
from services.volume import VolumeReport

THREADS = 8
CALL_SECONDS = 5.0
PROBE_SECONDS = 6.0
# How often a good volume is probed, and a bad one; and how often a good one is glanced at in between.
GOOD_SECONDS = 60.0
BAD_SECONDS = 5.0
GLANCE_SECONDS = 5.0

T = TypeVar("T")
_log = log.get("volume")


class Volume:
    """`report` is the newest look at the volume; `run` is how everything else gets to it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(THREADS, "volume")
        self._look_again = asyncio.Event()
        # A volume that hung at the boot must not cost the first pages their deadlines.
        unknown = VolumeReport("ok", str(settings.workspace), "not looked at yet")
        self.report = volume.last_report(settings.state_dir) or unknown

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """`work(*arguments)` in a thread. Raises WorkspaceUnavailable when the volume is known to be away, does not
        answer in time or fails; what `work` raises of the suite's own errors passes."""
        return await self.wait_for(self.start(work, *arguments))

    def start(self, work: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
        """`work(*arguments)` in a thread, to be waited for with `wait_for`, more than once if need be.

        Raises WorkspaceUnavailable when the volume is known to be away."""
        if not self.report.readable:
            raise self._unavailable()
        return asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def write(self, work: Callable[..., T], *arguments: object) -> T:
        """As `run`, but refused at once while the volume cannot be written."""
        if not self.report.writable:
            raise self._unavailable()
        return await self.run(work, *arguments)

    async def see_through(self, work: Callable[..., T], *arguments: object, writes: bool = False) -> T:
        """As `run` and `write`, without a deadline: for one who writes again and again, and whose next writing must not
        be undone by this one. Raises WorkspaceUnavailable when it fails."""
        if writes and not self.report.writable:
            raise self._unavailable()
        try:
            return await asyncio.shield(self.start(work, *arguments))
        except OSError as error:
            raise self._failed(error) from None

    async def watch(self) -> None:
        """Looks at the volume for ever."""
        while True:
            before = self.report.state
            self._look_again.clear()
            self.report = await self._probe()
            if self.report.state != before:
                _log.warning("volume_state", state=self.report.state, was=before, message=self.report.message)
            await self._wait_for_trouble(GOOD_SECONDS if self.report.writable else BAD_SECONDS)

    async def _wait_for_trouble(self, seconds: float) -> None:
        """Until the next probe is due, or a glance or anyone's call found the volume away."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._look_again.is_set():
            with contextlib.suppress(WorkspaceUnavailable):
                await self.run(self._settings.workspace.stat)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look_again.wait(), min(GLANCE_SECONDS, seconds))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def wait_for(self, future: asyncio.Future[T]) -> T:
        """Raises WorkspaceUnavailable when it fails or takes longer than CALL_SECONDS; it is not stopped then."""
        try:
            return await asyncio.wait_for(asyncio.shield(future), CALL_SECONDS)
        except TimeoutError:
            self._look_again.set()
            raise WorkspaceUnavailable(
                f"{self._settings.workspace} did not answer within {CALL_SECONDS:.0f} s"
            ) from None
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> WorkspaceUnavailable:
        self._look_again.set()
        return WorkspaceUnavailable(f"{self._settings.workspace}: {error.strerror or error} ({error.filename})")

    def _unavailable(self) -> WorkspaceUnavailable:
        return WorkspaceUnavailable(
            f"{self.report.message}. {self.report.remedy}".strip(),
            {"state": self.report.state, "remedy": self.report.remedy},
        )

    async def _probe(self) -> VolumeReport:
        root = self._settings.workspace
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bootstrap.probe"), cwd=APP_DIR, stdout=asyncio.subprocess.PIPE
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), PROBE_SECONDS)
            return msgspec.json.decode(output, type=VolumeReport)
        except TimeoutError:
            process.kill()
            return volume.hung(root, PROBE_SECONDS)
        except asyncio.CancelledError:
            process.kill()
            raise
        except msgspec.DecodeError:
            return VolumeReport("missing", str(root), f"{root} could not be examined; the dashboard's log says why")
