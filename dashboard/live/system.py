"""What the machine and the processes do: sampled while someone looks, and once in a while for the next one."""

import asyncio
import contextlib
import time

from dashboard.live.hub import Hub, message
from dashboard.messages import Disk, SystemStatus, WorkspaceState
from dashboard.volume import Volume
from services.boot import BootRecord
from services.comfyui import ComfyUI, ComfyUIInfo
from services.comfyui_starts import StartLedger
from services.errors import ComfyUIUnavailable, Unavailable
from services.health import Answered, ComfyUIHealth, judge
from services.metrics import Sample, Sampler
from services.processes import Process, Processes
from services.settings import Settings

WATCHED_SECONDS = 2.0
# An older look is renewed as soon as someone asks; who asks is given the old one.
FRESH_SECONDS = 1.0
# How often ComfyUI is asked although nobody watches: the pages need to know.
IDLE_SECONDS = 5.0
# How long an answer of ComfyUI is waited for, once it is known to be there: it may only be busy.
ANSWER_SECONDS = 1.0


class SystemFeed:
    def __init__(self, settings: Settings, volume: Volume, comfyui: ComfyUI, hub: Hub) -> None:
        self._settings = settings
        self._volume = volume
        self._comfyui = comfyui
        self._hub = hub
        self._boot = BootRecord(settings.state_dir)
        self._ledger = StartLedger(settings.state_dir)
        self._processes = Processes(settings.supervisor_socket, settings.supervisor_password_file)
        self._sampler: Sampler | None = None
        self._started = time.monotonic()
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._taken_at = -FRESH_SECONDS
        self._status: SystemStatus | None = None
        self._answered: Answered | None = None

    async def tell(self) -> None:
        """For ever."""
        while True:
            self._changed.clear()
            watched = self._hub.is_heard("system")
            async with self._lock:
                status = await self._renewed()
            if watched:
                self._hub.publish("system", "system", message("system_status", status))
            starting = status.comfyui.state == "starting"
            pause = FRESH_SECONDS if starting else WATCHED_SECONDS if watched else IDLE_SECONDS
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), pause)

    async def status(self) -> SystemStatus:
        """The last look, at once; only the very first is waited for. Someone has to `tell`."""
        known = self._status
        if known is None:
            async with self._lock:
                return self._status or await self._renewed()
        if time.monotonic() - self._taken_at > FRESH_SECONDS:
            self._changed.set()
        return known

    def forget(self) -> None:
        """Something changed: time for a new look."""
        self._changed.set()

    async def snapshot(self) -> str:
        return message("snapshot", {"channel": "system", "status": await self.status()})

    async def restart(self, name: str, *, safe_mode: bool) -> None:
        """Raises Conflict, NotFound, Unavailable."""
        if name == "comfyui":
            await asyncio.to_thread(self._ledger.reset, safe_mode=safe_mode)
        await asyncio.to_thread(self._processes.restart, name)
        async with self._lock:
            # Whoever was answered must not find the old process.
            await self._renewed()
        self.forget()

    async def _renewed(self) -> SystemStatus:
        # Counted from its beginning: who asks while it lasts starts no second one.
        self._taken_at = time.monotonic()
        self._status = await self._look()
        return self._status

    async def _look(self) -> SystemStatus:
        # In this order: an answer that comes after the list is the listed process's, or a later one's.
        sample, processes = await asyncio.to_thread(self._measure)
        info = await self._info()
        boot = self._boot.read()
        report = self._volume.report
        total, free = report.total_bytes, report.free_bytes
        return SystemStatus(
            cpu=sample.cpu,
            memory=sample.memory,
            gpus=sample.gpus,
            network=sample.network,
            disk=Disk(
                path=report.path,
                used_bytes=total - free if total is not None and free is not None else None,
                free_bytes=free,
                total_bytes=total,
                filesystem=report.filesystem,
            ),
            processes=tuple(processes),
            comfyui=self._judge(processes, info),
            workspace=WorkspaceState(report.state, report.message, report.remedy),
            boot=boot.steps,
            ready_seconds=boot.ready_seconds,
            uptime_seconds=round(time.monotonic() - self._started, 1),
        )

    def _measure(self) -> tuple[Sample, list[Process]]:
        if self._sampler is None:
            # NVML takes its time to start, and must not delay the first page.
            self._sampler = Sampler()
        try:
            processes = self._processes.all()
        except Unavailable:
            processes = []
        return self._sampler.sample(), processes

    async def _info(self) -> ComfyUIInfo | None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS if self._answered else None):
                return await self._comfyui.info()
        except (ComfyUIUnavailable, TimeoutError):
            return None

    def _judge(self, processes: list[Process], info: ComfyUIInfo | None) -> ComfyUIHealth:
        process = next((process for process in processes if process.name == "comfyui"), None)
        if info is not None and process is not None:
            self._answered = Answered(process.pid, info)
        return judge(process, info, self._ledger.read(), self._answered)
