"""What an install would do, asked of the hosts and of the volume, and the install itself."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from dashboard.library import Library
from dashboard.shelf import Shelf
from dashboard.volume import Volume
from services import log, plans
from services.plans import Models, Plan, Room
from services.presets import Preset
from services.resolver import Described, Fact, Resolver, Trouble
from services.settings import Settings
from services.workspace import Workspace

# How long a plan waits for hosts, and an install, which can do without them.
PLAN_SECONDS = 8.0
INSTALL_SECONDS = 4.0
# Beside what the resolver was told: a volume that hangs keeps the lock from being read.
SPARE_SECONDS = 2.0
THREADS = 4

_log = log.get("planner")


class Planner:
    def __init__(self, settings: Settings, volume: Volume, library: Library, resolver: Resolver) -> None:
        self._settings = settings
        self._workspace = Workspace(settings.workspace)
        self._volume = volume
        self._library = library
        self._resolver = resolver
        # Not the volume's: hosts that do not answer must not keep its threads.
        self._threads = ThreadPoolExecutor(THREADS, "resolve")

    async def known(self, preset: Preset, gpu_bytes: int | None) -> Plan | None:
        """The plan as far as nobody has to be asked for it; None where a host could say more. Raises
        WorkspaceUnavailable."""
        shelf = await self._library.shelf()
        urls = [file.url for file in plans.missing_files(preset, shelf.view)]
        found = await self._volume.run(self._resolver.known, urls)
        return await self._planned(preset, shelf, found, gpu_bytes) if len(found) == len(set(urls)) else None

    async def plan(self, preset: Preset, gpu_bytes: int | None, *, refresh: bool = False) -> Plan:
        """Every file that is not here is asked for. Raises WorkspaceUnavailable."""
        shelf = await self._library.shelf()
        missing = plans.missing_files(preset, shelf.view)
        found = await self._resolve([file.url for file in missing], PLAN_SECONDS, refresh=refresh)
        if any(file.size_bytes is None and isinstance(found.get(file.url), Fact) for file in missing):
            # The catalogue shows what was said.
            self._library.forget()
        return await self._planned(preset, shelf, found, gpu_bytes)

    async def _planned(
        self, preset: Preset, shelf: Shelf, found: Mapping[str, Fact | Trouble], gpu_bytes: int | None
    ) -> Plan:
        known = plans.locked_preset(preset, shelf.view, found)

        def work() -> Plan:
            kept = {file.id: self._library.installs.partial_bytes(file) for file in known.files}
            room = Room(self._workspace.free_bytes(), self._settings.disk_reserve_bytes, gpu_bytes)
            return plans.plan(known, shelf.view, Models(shelf.models, shelf.view), found, kept, room)

        return await self._volume.run(work)

    async def request(self, preset: Preset) -> bool:
        """Records that `preset` is wanted, as its hosts describe it; whether it was already.

        Only files are asked for whose size or digest the preset does not name: a host that is away is no reason not to
        begin, and what it says later counts then.
        Raises Conflict, NotEnoughSpace, WorkspaceUnavailable.
        """
        view = (await self._library.shelf()).view
        missing = plans.missing_files(preset, view)
        urls = [file.url for file in missing if file.size_bytes is None or file.sha256 is None]
        found = await self._resolve(urls, INSTALL_SECONDS)
        return await self._library.request(plans.locked_preset(preset, view, found))

    async def describe(self, url: str) -> Described | Trouble:
        """What could be added as a model from `url`."""
        asked = asyncio.get_running_loop().run_in_executor(self._threads, self._resolver.describe, url)
        try:
            return await asyncio.wait_for(asyncio.shield(asked), PLAN_SECONDS)
        except TimeoutError:
            return Trouble("unreachable", f"the host did not answer within {PLAN_SECONDS:.0f} s")

    def link(self, url: str) -> str:
        """The address of the file itself, without a token in it. Raises InvalidRequest for what is none."""
        return self._resolver.link(url)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _resolve(self, urls: list[str], seconds: float, *, refresh: bool = False) -> dict[str, Fact | Trouble]:
        """Nothing of what does not answer in time."""
        if not urls:
            return {}
        loop = asyncio.get_running_loop()
        asked = loop.run_in_executor(
            self._threads, lambda: self._resolver.resolve(urls, seconds=seconds, refresh=refresh)
        )
        try:
            return await asyncio.wait_for(asyncio.shield(asked), seconds + SPARE_SECONDS)
        except TimeoutError:
            _log.warning("not_resolved", urls=len(urls), seconds=seconds)
            return {}
