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
from services.health import ComfyUIHealth, judge
from services.metrics import Sample, Sampler
from services.processes import Process, Processes
from services.settings import Settings

WATCHED_SECONDS = 2.0
# A look by someone who does not watch: at most this old.
FRESH_SECONDS = 1.0
# How often ComfyUI is asked although nobody watches: the pages need to know.
IDLE_SECONDS = 5.0


class SystemFeed:
    def __init__(self, settings: Settings, volume: Volume, comfyui: ComfyUI, hub: Hub) -> None:
        self._settings = settings
        self._volume = volume
        self._comfyui = comfyui
        self._hub = hub
        self._boot = BootRecord(settings.state_dir)
        self._ledger = StartLedger(settings.state_dir)
        self._processes = Processes(settings.supervisor_socket)
        self._sampler: Sampler | None = None
        self._started = time.monotonic()
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._taken_at = -FRESH_SECONDS
        self._status: SystemStatus | None = None

    async def tell(self) -> None:
        """For ever."""
        while True:
            watched = self._hub.is_heard("system")
            status = await self.status()
            if watched:
                self._hub.publish("system", "system", message("system_status", status))
            starting = status.comfyui.state == "starting"
            pause = FRESH_SECONDS if starting else WATCHED_SECONDS if watched else IDLE_SECONDS
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), pause)
            self._changed.clear()

    async def status(self) -> SystemStatus:
        """At most a second old."""
        async with self._lock:
            if self._status is None or time.monotonic() - self._taken_at > FRESH_SECONDS:
                self._status = await self._look()
                self._taken_at = time.monotonic()
            return self._status

    def forget(self) -> None:
        """Something changed: whoever asks next, or watches, gets a new look."""
        self._taken_at = -FRESH_SECONDS
        self._changed.set()

    async def snapshot(self) -> str:
        return message("snapshot", {"channel": "system", "status": await self.status()})

    async def restart(self, name: str, *, safe_mode: bool) -> None:
        """Raises NotFound, Unavailable."""
        if name == "comfyui":
            await asyncio.to_thread(self._ledger.reset, safe_mode=safe_mode)
        await asyncio.to_thread(self._processes.restart, name)
        self.forget()

    async def _look(self) -> SystemStatus:
        (sample, processes), info = await asyncio.gather(asyncio.to_thread(self._measure), self._info())
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
            return await self._comfyui.info()
        except ComfyUIUnavailable:
            return None

    def _judge(self, processes: list[Process], info: ComfyUIInfo | None) -> ComfyUIHealth:
        process = next((process for process in processes if process.name == "comfyui"), None)
        return judge(process, info, self._ledger.read())
