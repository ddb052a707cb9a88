"""The dashboard's picture of presets, models and installs: read from the volume at most every few seconds."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from dashboard.volume import Volume
from services import installs, log, standing
from services.artifacts import Artifact
from services.catalogue import Catalogue, load_catalogue
from services.comfyui import Prompt
from services.errors import Conflict, InvalidName, NotFound, WorkspaceUnavailable
from services.installs import Install, Installs, View
from services.models import ModelFile, ModelIndex
from services.presets import Preset
from services.progress import FileProgress
from services.schedule import ScheduleRecords
from services.settings import APP_DIR, Settings
from services.standing import InstallStatus
from services.verified import Verified
from services.workflows import Workflows, WorkflowSummary, check_shape
from services.workspace import Workspace

# What changes without the dashboard's doing (files copied by hand, another pod) shows after this.
FRESH_SECONDS = 3.0

_log = log.get("library")


class Shelf(Struct, frozen=True):
    """One reading of the volume. `version` grows with every one that differs."""

    version: int
    catalogue: Catalogue
    view: View
    models: Mapping[str, ModelFile]
    workflows: tuple[WorkflowSummary, ...]
    user_presets_mtime_ns: int = -1

    def find_models(self, folder: str, search: str) -> list[ModelFile]:
        """Those of `folder` (empty: of all) whose name holds `search`, by folder and name."""
        wanted = search.lower()
        found = [
            file
            for file in self.models.values()
            if (not folder or file.folder == folder) and wanted in file.name.lower()
        ]
        return sorted(found, key=lambda file: (file.folder, file.name.lower()))


def _titled(summary: WorkflowSummary, catalogue: Catalogue) -> WorkflowSummary:
    preset = catalogue.presets.get(summary.name) if summary.source == "presets" else None
    return replace(summary, title=preset.name) if preset else summary


class Library:
    """Blocking work goes through `Volume`; what could not be read stays as it was known last."""

    def __init__(self, settings: Settings, volume: Volume, progress: Mapping[str, FileProgress]) -> None:
        workspace = Workspace(settings.workspace)
        self._settings = settings
        self._workspace = workspace
        self._volume = volume
        self._progress = progress
        self._index = ModelIndex(workspace)
        self._uninstalling: set[str] = set()
        self._lock = asyncio.Lock()
        self._read_at = 0.0
        self._forgotten = True
        self._late: asyncio.Future[Shelf] | None = None
        self.installs = Installs(workspace)
        self.schedule = ScheduleRecords(workspace)
        self.workflows = Workflows(workspace)
        self._shelf = Shelf(0, Catalogue(), View({}, frozenset(), {}, {}, progress), {}, ())

    async def load(self) -> None:
        """The curated presets, which need no volume."""
        catalogue = await asyncio.to_thread(load_catalogue, APP_DIR / "presets", Workspace(Path("/nonexistent")))
        self._shelf = Shelf(0, catalogue, self._shelf.view, {}, ())

    async def shelf(self) -> Shelf:
        """The present picture; the last one known while the volume is away."""
        if self._is_stale():
            async with self._lock:
                if self._late is not None and self._late.done():
                    await self._take(self._late)
                # One look at a time: each holds a thread, and the next would only wait for it.
                if self._late is None and self._is_stale():
                    await self._read()
        return self._shelf

    def forget(self) -> None:
        """Something on the volume changed: the next look is a new one."""
        self._forgotten = True

    async def preset(self, preset_id: str) -> Preset:
        """Raises NotFound."""
        return (await self.shelf()).catalogue.get(preset_id)

    async def status(self, preset: Preset) -> InstallStatus:
        return standing.status(preset, (await self.shelf()).view)

    async def request(self, preset: Preset) -> bool:
        """Records that `preset` is wanted; whether it was already.

        Raises Conflict, NotEnoughSpace, WorkspaceUnavailable.
        """
        if preset.id in self._uninstalling:
            raise Conflict(f"preset '{preset.id}' is being uninstalled: wait until it is gone")
        self.forget()
        shelf = await self.shelf()

        def work() -> bool:
            kept = {file.id: self.installs.partial_bytes(file) for file in preset.files}
            free = self._workspace.free_bytes()
            installs.check_space(preset, shelf.view, free, self._settings.disk_reserve_bytes, kept)
            joined = self.installs.request(preset)
            self.workflows.save_of_preset(preset)
            return joined

        try:
            return await self._volume.write(work)
        finally:
            self.forget()

    async def change(self, work: Callable[..., None], *arguments: object) -> None:
        """What someone wants of the downloads: a method of `installs` or `schedule`.

        Raises NotEnoughSpace, WorkspaceUnavailable.
        """
        try:
            await self._volume.write(work, *arguments)
        finally:
            self.forget()

    async def drop_partials(self, artifacts: Iterable[Artifact]) -> None:
        """Raises WorkspaceUnavailable."""

        def work() -> None:
            for artifact in artifacts:
                self.installs.drop_partial(artifact)

        try:
            await self._volume.run(work)
        finally:
            self.forget()

    async def begin_uninstall(self, preset: Preset) -> None:
        """No longer wanted; from here until `remove_files`, installing it is refused."""
        self._uninstalling.add(preset.id)
        try:
            await self._volume.run(self.installs.remove, preset)
            self.forget()
        except BaseException:
            self._uninstalling.discard(preset.id)
            raise

    async def remove_files(self, preset: Preset, artifacts: list[Artifact]) -> int:
        """The bytes that became free."""

        def work() -> int:
            freed = 0
            for artifact in artifacts:
                self.installs.release(artifact.id)
                freed += self._index.delete_artifact(artifact)
            self.workflows.delete_of_preset(preset)
            return freed

        try:
            return await self._volume.run(work)
        finally:
            self._uninstalling.discard(preset.id)
            self.forget()

    async def delete_models(self, ids: list[str]) -> tuple[list[ModelFile], list[str]]:
        try:
            return await self._volume.run(self._index.delete, ids)
        finally:
            self.forget()

    async def workflow_title(self, name: str) -> str:
        """What people call the workflow `name`: a preset's has the preset's name."""
        shelf = await self.shelf()
        titles = {summary.name: summary.title for summary in shelf.workflows}
        preset = shelf.catalogue.presets.get(name)
        return titles.get(name, preset.name if preset else name)

    async def workflow(self, name: str) -> Prompt:
        """The saved one, else the one that the preset `name` brings: a preset whose files all came with others was
        never asked for, so nothing saved its workflow. Raises NotFound, InvalidName, InvalidRequest."""
        try:
            return await self._volume.run(self.workflows.get, name)
        except NotFound:
            preset = (await self.shelf()).catalogue.presets.get(name)
            if preset is None or preset.workflow is None:
                raise
            return check_shape(preset.workflow)

    async def artifact(self, artifact_id: str) -> Artifact:
        """Of a wanted file. Raises NotFound."""
        for install in (await self.shelf()).view.installs.values():
            for artifact in install.files:
                if artifact.id == artifact_id and install.completed_at is None:
                    return artifact
        raise NotFound(f"there is no download '{artifact_id[:100]}'")

    def _is_stale(self) -> bool:
        return self._forgotten or time.monotonic() - self._read_at > FRESH_SECONDS

    async def _read(self) -> None:
        self._forgotten, self._read_at = False, time.monotonic()
        try:
            look = self._volume.start(self._look, self._shelf)
        except WorkspaceUnavailable as error:
            _log.warning("library_not_read", reason=error.message)
            return
        await self._take(look)

    async def _take(self, look: asyncio.Future[Shelf]) -> None:
        """What `look` found, or it is `_late` and taken when it ends."""
        self._late = look
        try:
            self._shelf = await self._volume.wait_for(look)
        except WorkspaceUnavailable as error:
            _log.warning("library_not_read", reason=error.message)
        finally:
            self._read_at = time.monotonic()
            if look.done():
                self._late = None

    def _look(self, before: Shelf) -> Shelf:
        models = self._index.scan()
        wanted, verified = self.installs.all(), self._index.verified(models)
        view = View(
            installs=wanted,
            removed=self.installs.removed(),
            holds=self.installs.holds(),
            verified=verified,
            progress=self._progress,
            schedule=self.schedule.get(),
            kept=self._kept(wanted.values(), verified),
        )
        mtime_ns, catalogue = self._catalogue(before)
        workflows = tuple(_titled(summary, catalogue) for summary in self.workflows.all())
        after = Shelf(before.version, catalogue, view, models, workflows, mtime_ns)
        return before if after == before else replace(after, version=before.version + 1)

    def _kept(self, wanted: Iterable[Install], verified: Mapping[str, Verified]) -> dict[str, int]:
        """The bytes of partial data, by artifact id, of what is not being downloaded."""
        coming = {file.id: file for install in wanted if install.completed_at is None for file in install.files}
        kept = {}
        for id_, file in coming.items():
            live = self._progress.get(id_)
            if id_ not in verified and (live is None or not live.is_moving):
                with contextlib.suppress(InvalidName):
                    kept[id_] = self.installs.partial_bytes(file)
        return kept

    def _catalogue(self, before: Shelf) -> tuple[int, Catalogue]:
        """The user's file's mtime and what was read then; read again when it changed."""
        try:
            mtime_ns = self._workspace.user_presets_file.stat().st_mtime_ns
        except FileNotFoundError:
            mtime_ns = 0
        if mtime_ns == before.user_presets_mtime_ns:
            return mtime_ns, before.catalogue
        return mtime_ns, load_catalogue(APP_DIR / "presets", self._workspace)
