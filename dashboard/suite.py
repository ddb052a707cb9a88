"""Everything the app holds between requests: made in its lifespan, reached as `request.state.suite`."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypedDict

import redis.asyncio
from redis.exceptions import RedisError
from starlette.requests import HTTPConnection

from dashboard.cached import CachedAnswers
from dashboard.checker import Checker
from dashboard.files import ModelFiles
from dashboard.gallery import Gallery
from dashboard.library import Library
from dashboard.live import queue as queue_feed
from dashboard.live.adoption import AdoptionFeed
from dashboard.live.downloads import DownloadsFeed
from dashboard.live.headers import HeadersFeed
from dashboard.live.hub import Hub
from dashboard.live.outputs import OutputsFeed
from dashboard.live.queue import QueueFeed
from dashboard.live.system import SystemFeed
from dashboard.live.uses import UsesFeed
from dashboard.output_desk import OutputDesk
from dashboard.planner import Planner
from dashboard.records import RunKeeper
from dashboard.thumbnails import Thumbnails
from dashboard.uploads import UploadDesk
from dashboard.volume import Volume
from dashboard.workbench import Workbench
from services import connections, log
from services.auth import Brake, Sessions, Tokens
from services.comfyui import ComfyUI
from services.comfyui_starts import StartLedger
from services.credentials import Credentials
from services.errors import Unavailable, WorkspaceUnavailable
from services.hub_accounts import HubAccounts
from services.password import Password
from services.pod import pod_id
from services.progress import STOP_SECONDS, stop_key
from services.proxies import Proxies
from services.resolver import Resolver
from services.runs import Change, Run, RunBook, RunRecords
from services.settings import Settings
from services.sources import Sources
from services.workspace import Workspace

RESTART_SECONDS = 1.0
CANCEL_SECONDS = 0.1
# How long a worker may take to let go of a file, and how often is looked whether it did.
LET_GO_SECONDS = 3.0
LOOK_SECONDS = 0.25

Feed = Callable[[], Coroutine[Any, Any, None]]

_log = log.get("dashboard")


@dataclass(frozen=True)
class Suite:
    settings: Settings
    volume: Volume
    workbench: Workbench
    library: Library
    files: ModelFiles
    planner: Planner
    checker: Checker
    gallery: Gallery
    thumbnails: Thumbnails
    outputs: OutputDesk
    output_feed: OutputsFeed
    comfyui: ComfyUI
    runs: RunBook
    hub: Hub
    downloads: DownloadsFeed
    uploads: UploadDesk
    adoption: AdoptionFeed
    queue: QueueFeed
    system: SystemFeed
    password: Password
    sessions: Sessions
    tokens: Tokens
    credentials: Credentials
    accounts: HubAccounts
    resolver: Resolver
    brake: Brake
    redis: redis.asyncio.Redis
    answers: CachedAnswers = field(default_factory=CachedAnswers)

    async def gpu_bytes(self) -> int | None:
        """The memory of the largest card; None where there is none."""
        sizes = [gpu.memory_total_bytes for gpu in (await self.system.status()).gpus if gpu.memory_total_bytes]
        return max(sizes, default=None)

    async def stop_downloads(self, artifact_ids: list[str]) -> None:
        """Asks the workers; without Redis there are none that could hear, and none that download."""
        with contextlib.suppress(RedisError):
            async with self.redis.pipeline(transaction=False) as pipeline:
                for id_ in artifact_ids:
                    pipeline.set(stop_key(id_), b"1", ex=STOP_SECONDS)
                await pipeline.execute()

    async def let_go(self, artifact_ids: list[str]) -> None:
        """Stops these and waits until no worker holds them: what is being downloaded would come back after it was
        removed."""
        await self.stop_downloads(artifact_ids)
        until = time.monotonic() + LET_GO_SECONDS
        while time.monotonic() < until and any(self.downloads.is_moving(id_) for id_ in artifact_ids):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)

    async def allow_downloads(self, artifact_ids: list[str]) -> None:
        if not artifact_ids:
            return
        with contextlib.suppress(RedisError):
            await self.redis.delete(*(stop_key(id_) for id_ in artifact_ids))


class State(TypedDict):
    suite: Suite


def suite_of(connection: HTTPConnection) -> Suite:
    suite: Suite = connection.state.suite
    return suite


@contextlib.asynccontextmanager
async def open_suite(settings: Settings) -> AsyncIterator[Suite]:
    """Everything connected and every feed running."""
    hub, pool, http = Hub(), connections.async_redis_client(settings), connections.comfyui_client(settings)
    volume, comfyui, queue = Volume(settings), ComfyUI(http), QueueFeed(hub)
    workbench = Workbench()
    downloads = DownloadsFeed(pool, hub)
    library = Library(settings, volume, downloads.progress)
    uses = UsesFeed(volume, library.last_used)
    gallery, thumbnails = Gallery(volume, Workspace(settings.workspace).output), Thumbnails(settings, volume)
    output_feed = OutputsFeed(gallery, hub)

    def heard(change: Change, run: Run | None) -> None:
        queue.heard(change, run)
        uses.heard(change, run, runs)
        output_feed.heard(change, run)

    pod = await asyncio.to_thread(pod_id, settings.state_dir)
    keeper = RunKeeper(volume, RunRecords(Workspace(settings.workspace), pod))
    runs = RunBook(comfyui, heard, keeper, StartLedger(settings.state_dir).last_start, pod)
    system = SystemFeed(settings, volume, comfyui, hub)
    uploads, adoption = UploadDesk(settings, volume), AdoptionFeed(settings, volume, hub)
    workspace, proxies = Workspace(settings.workspace), Proxies.from_settings(settings)
    credentials = Credentials(settings, workspace)
    headers = HeadersFeed(volume)
    resolver = Resolver(lambda: Sources.from_settings(settings, credentials), proxies, library.lock)
    planner = Planner(settings, volume, library, resolver)
    await library.load()
    password = Password(settings)
    suite = Suite(
        settings=settings,
        volume=volume,
        workbench=workbench,
        library=library,
        files=ModelFiles(workspace, volume, library),
        planner=planner,
        checker=Checker(settings, volume, workbench, library, planner, comfyui),
        gallery=gallery,
        thumbnails=thumbnails,
        outputs=OutputDesk(workspace, volume, gallery, thumbnails),
        output_feed=output_feed,
        comfyui=comfyui,
        runs=runs,
        hub=hub,
        downloads=downloads,
        uploads=uploads,
        adoption=adoption,
        queue=queue,
        system=system,
        password=password,
        sessions=await asyncio.to_thread(_sessions, settings, password),
        tokens=Tokens(workspace.secrets / "tokens.json"),
        credentials=credentials,
        accounts=HubAccounts(settings, credentials, proxies),
        resolver=resolver,
        brake=Brake(),
        redis=pool,
    )
    feeds: dict[str, Feed] = {
        "volume": volume.watch,
        "progress": downloads.follow,
        "downloads": lambda: downloads.tell(library),
        "uploads": lambda: uploads.follow(library, downloads),
        "adoption": lambda: adoption.follow(library, downloads),
        "queue": lambda: queue.tell(runs),
        "runs": lambda: keeper.follow(runs),
        "earlier runs": lambda: queue_feed.follow_orphans(settings.comfyui_loopback_port, runs),
        "comfyui": lambda: queue_feed.follow(settings.comfyui_loopback_port, runs, system.forget),
        "system": system.tell,
        "uses": lambda: uses.keep(library),
        "outputs": output_feed.tell,
        "headers": lambda: headers.follow(library),
        "tokens": lambda: _load_tokens(volume, suite.tokens),
    }
    tasks = [asyncio.create_task(_kept_going(name, feed), name=name) for name, feed in feeds.items()]
    try:
        yield suite
    finally:
        await cancel(tasks)
        await thumbnails.close()
        uploads.close()
        adoption.close()
        headers.close()
        planner.close()
        library.close()
        workbench.close()
        volume.close()
        await connections.close(pool, http)


async def cancel(tasks: list[asyncio.Task[None]]) -> None:
    """Until each has ended: a client that is just connecting (redis-py 8.1) may lose the first word of it."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_SECONDS)


def _sessions(settings: Settings, password: Password) -> Sessions:
    try:
        current = password.reveal()
    except Unavailable:
        # Nobody could have signed in with none.
        current = ""
    return Sessions(settings.state_dir / "dashboard" / "sessions.json", current)


async def _kept_going(name: str, feed: Feed) -> None:
    """An error nobody thought of must not end live updates for good, nor go unnoticed."""
    while True:
        try:
            return await feed()
        except Exception:  # noqa: BLE001 (an outer loop)
            _log.exception("feed_failed", feed=name)
            await asyncio.sleep(RESTART_SECONDS)


async def _load_tokens(volume: Volume, tokens: Tokens) -> None:
    """As soon as the volume answers; until then no token is valid."""
    while True:
        try:
            return await volume.run(tokens.load)
        except WorkspaceUnavailable:
            await asyncio.sleep(RESTART_SECONDS)
