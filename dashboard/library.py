"""The dashboard's picture of presets, models and installs: read from the volume at most every few seconds."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from dashboard.listing import Listing
from dashboard.shelf import FileVersion, Shelf
from dashboard.volume import CALL_SECONDS, Volume
from services import installs, log, standing
from services.artifacts import Artifact
from services.catalogue import Catalogue, load_shipped, with_users
from services.errors import Conflict, InvalidName, NotFound, WorkspaceUnavailable
from services.installs import Install, Installs, View
from services.last_used import LastUsed
from services.lockfile import Fact, LockFile
from services.model_facts import ModelFacts
from services.models import ModelFile, ModelIndex
from services.presets import Preset
from services.progress import FileProgress
from services.references import References, SavedWorkflows
from services.schedule import ScheduleRecords
from services.settings import APP_DIR, Settings
from services.standing import InstallStatus
from services.templates import Templates, TemplateSummary
from services.uploads import UploadBook
from services.verified import Verified
from services.workflows import SavedWorkflow, Workflows
from services.workflows.document import Document, from_value, plain_of, read_document
from services.workspace import Workspace, figures_of

# What changes without the dashboard's doing (files copied by hand, another pod) shows after this.
FRESH_SECONDS = 3.0
# How long whoever finds the picture older than that waits for a new one, before the old one is shown. A look that finds
# nothing new takes a few milliseconds; one at a slow volume may take minutes.
PATIENCE_SECONDS = 0.05
# The first picture is shown in parts after this, and from then on this often.
PART_SECONDS = 1.0

_log = log.get("library")


def _template(name: str) -> Document:
    return read_document(Templates().graph(name))


def _path(file: Artifact) -> str:
    return f"{file.folder}/{file.name}"


def _titled(saved: SavedWorkflow, catalogue: Catalogue) -> SavedWorkflow:
    preset = catalogue.presets.get(saved.name) if saved.source == "presets" else None
    return replace(saved, title=preset.name) if preset else saved


def _next(before: Shelf, after: Shelf) -> Shelf:
    """`after` with its version; `before` itself where that is the same."""
    same = replace(after, version=before.version)
    return before if same == before else replace(after, version=before.version + 1)


class Library:
    """Blocking work goes through `Volume`; what could not be read stays as it was known last.

    One look at the volume at a time, in a thread, for as long as it takes: a request waits for it only where the one
    who asks has just changed something.
    """

    def __init__(self, settings: Settings, volume: Volume, progress: Mapping[str, FileProgress]) -> None:
        workspace = Workspace(settings.workspace)
        self._settings = settings
        self._workspace = workspace
        self._volume = volume
        self._progress = progress
        self._index = ModelIndex(workspace, closed=[settings.state_dir])
        self._saved = SavedWorkflows(workspace)
        self._uploads = UploadBook(workspace, settings.comfyui_dir, settings.disk_reserve_bytes)
        self._uninstalling: set[str] = set()
        self._requesting = asyncio.Lock()
        self._looking: asyncio.Future[Shelf] | None = None
        self._looking_since = 0.0
        self._read_at = 0.0
        # How often something changed, how often it had when the look that was taken last began, and the one that was
        # taken last and found something out.
        self._changes, self._changes_seen, self._changes_shown = 1, 0, 0
        # What the look that is under way knows so far. Written by its thread.
        self._part: Shelf | None = None
        self._shipped = Catalogue()
        self.installs = Installs(workspace)
        self.schedule = ScheduleRecords(workspace)
        self.workflows = Workflows(workspace)
        self.facts = ModelFacts(workspace)
        self.last_used = LastUsed(workspace)
        self.lock = LockFile(workspace)
        # What the hosts had said when the catalogue was put together.
        self._facts: Mapping[str, Fact] = {}
        view = View({}, frozenset(), {}, {}, progress)
        self._shelf = Shelf(0, self._shipped, view, {}, (), References(), {}, is_complete=False)
        self._listing = Listing(self._shelf)
        self._templates: tuple[TemplateSummary, ...] | None = None

    async def load(self) -> None:
        """The presets that need no volume; the models are looked for meanwhile, and not waited for."""
        with contextlib.suppress(WorkspaceUnavailable):
            self._volume.start(self._index.prepare)
        self._shipped = await asyncio.to_thread(load_shipped, APP_DIR / "presets")
        self._shelf = replace(self._shelf, catalogue=self._shipped)

    def keep(self) -> None:
        """What is read once and for all: the heads of the models, the records of their digests. Blocking.

        Raises OSError when the volume does not answer.
        """
        self.facts.save()
        self._index.keep_summary()

    def close(self) -> None:
        """A look that is under way ends soon."""
        self._index.close()

    async def shelf(self) -> Shelf:
        """The present picture; the last one known while the volume is away or takes its time."""
        changes = self._changes
        while self._changes_seen < changes:
            look = self._looking or self._begin()
            if look is None or not await self._is_in_time(look):
                break
        else:
            # Only who starts it waits: everyone else is answered at once.
            if self._looking is None and time.monotonic() - self._read_at > FRESH_SECONDS and (look := self._begin()):
                await asyncio.wait({look}, timeout=PATIENCE_SECONDS)
        return self.newest()

    async def current(self) -> Shelf:
        """The whole picture as it is now, for what cannot be taken back. Raises WorkspaceUnavailable."""
        self.forget()
        changes = self._changes
        shelf = await self.shelf()
        if self._changes_shown < changes or not shelf.is_complete:
            raise WorkspaceUnavailable("the volume is still being looked at: try again in a moment")
        return shelf

    def newest(self) -> Shelf:
        """What is known, without a look."""
        if (part := self._part) is not None and part.version > self._shelf.version:
            self._shelf = part
        return self._shelf

    @property
    def is_current(self) -> bool:
        """Whether the picture knows all that was said to have changed; the volume may be away, or take its time."""
        return self._changes_shown >= self._changes

    async def listing(self) -> Listing:
        """The models of the present picture."""
        shelf = await self.shelf()
        if self._listing.shelf is not shelf:
            self._listing = Listing(shelf)
        return self._listing

    def forget(self) -> None:
        """Something on the volume changed: the next look is a new one."""
        self._changes += 1

    async def preset(self, preset_id: str) -> Preset:
        """Also one that was installed and has left the catalogue. Raises NotFound."""
        shelf = await self.shelf()
        if (install := shelf.view.installs.get(preset_id)) is not None and not shelf.catalogue.knows(preset_id):
            return installs.as_preset(install)
        return shelf.catalogue.get(preset_id)

    async def status(self, preset: Preset) -> InstallStatus:
        return standing.status(preset, (await self.shelf()).view)

    async def request(self, preset: Preset) -> bool:
        """Records that `preset` is wanted; whether it was already.

        Raises Conflict, NotEnoughSpace, WorkspaceUnavailable.
        """
        # One at a time: the next has to do with the space that this one leaves.
        async with self._requesting:
            self.forget()
            shelf = await self.shelf()
            if preset.id in self._uninstalling:
                raise Conflict(f"preset '{preset.id}' is being uninstalled: wait until it is gone")
            try:
                joined = await self._volume.write(self._record, preset, shelf.view)
            finally:
                self.forget()
        fetch = [_path(file) for file in preset.files if not shelf.view.is_present(file)]
        _log.info("install_requested", preset_id=preset.id, joined=joined, fetch=fetch)
        return joined

    def _record(self, preset: Preset, view: View) -> bool:
        """In a thread. Raises NotEnoughSpace, OSError."""
        kept = {file.id: self.installs.partial_bytes(file) for file in preset.files}
        free = self._workspace.free_bytes()
        installs.check_space(preset, view, free, self._settings.disk_reserve_bytes, kept)
        joined = self.installs.request(preset)
        self.workflows.save_of_preset(preset)
        return joined

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

        artifacts = list(artifacts)

        def work() -> None:
            for artifact in artifacts:
                self.installs.drop_partial(artifact)

        try:
            await self._volume.run(work)
        finally:
            self.forget()
        _log.info("partial_data_dropped", files=[_path(artifact) for artifact in artifacts])

    @contextlib.asynccontextmanager
    async def uninstalling(self, preset: Preset) -> AsyncIterator[None]:
        """No longer wanted; within, installing it is refused. Raises WorkspaceUnavailable."""
        self._uninstalling.add(preset.id)
        try:
            await self._volume.run(self.installs.remove, preset)
            self.forget()
            yield
        finally:
            self._uninstalling.discard(preset.id)

    async def remove_files(self, preset: Preset, artifacts: list[Artifact]) -> int:
        """The bytes that became free. Of a file in a tree that is never changed, only what was verified of it goes."""

        removed: list[str] = []

        def work() -> int:
            freed = 0
            for artifact in artifacts:
                is_here = os.path.lexists(self._workspace.model_file(artifact.folder, artifact.name))
                self.installs.release(artifact.id)
                freed += self._index.delete_artifact(artifact)
                removed.extend([_path(artifact)] if is_here else [])
            self.workflows.delete_of_preset(preset)
            return freed

        models = self._shelf.models
        try:
            freed = await self._volume.run(work)
        finally:
            self.forget()
        kept = [path for file in preset.files if file.id in models and (path := _path(file)) not in removed]
        _log.info("preset_uninstalled", preset_id=preset.id, removed=removed, kept=kept, freed_bytes=freed)
        return freed

    async def delete_models(self, ids: list[str]) -> tuple[list[ModelFile], list[str]]:
        try:
            return await self._volume.run(self._index.delete, ids)
        finally:
            self.forget()

    async def templates(self) -> tuple[TemplateSummary, ...]:
        """ComfyUI's own, what is used most first."""
        if self._templates is None:
            self._templates = await asyncio.to_thread(Templates().summaries)
        return self._templates

    async def workflow_title(self, name: str) -> str:
        """What people call the workflow `name`: a preset's has the preset's name."""
        shelf = await self.shelf()
        titles = {template.name: template.title for template in await self.templates()}
        if (preset := shelf.catalogue.presets.get(name)) is not None:
            titles[name] = preset.name
        return {**titles, **{saved.name: saved.title for saved in shelf.workflows}}.get(name, name)

    async def document(self, name: str) -> Document:
        """The saved one; else the one that the preset `name` brings: a preset whose files all came with others was
        never asked for, so nothing saved its workflow; else the official template's.

        Raises NotFound, InvalidName, InvalidRequest, WorkspaceUnavailable."""
        try:
            return await self._volume.run(self.workflows.get, name)
        except NotFound:
            preset = (await self.shelf()).catalogue.presets.get(name)
            if preset is not None and preset.workflow is not None:
                return from_value(preset.workflow)
        try:
            return await asyncio.to_thread(_template, name)
        except NotFound:
            raise NotFound(f"there is no workflow '{name[:100]}'") from None

    async def saved_workflow(self, name: str) -> dict[str, Any]:
        """As `document`, as it is saved: the graph if there is one."""
        return plain_of(await self.document(name))

    async def artifact(self, artifact_id: str) -> Artifact:
        """Of a wanted file. Raises NotFound."""
        for install in (await self.shelf()).view.installs.values():
            for artifact in install.files:
                if artifact.id == artifact_id and install.completed_at is None:
                    return artifact
        raise NotFound(f"there is no download '{artifact_id[:100]}'")

    def _begin(self) -> asyncio.Future[Shelf] | None:
        """A look; None while the volume is known to be away."""
        changes, self._read_at = self._changes, time.monotonic()
        try:
            look = self._volume.start(self._look, self.newest())
        except WorkspaceUnavailable as error:
            _log.warning("library_not_read", reason=error.message)
            self._changes_seen = changes
            return None
        self._looking, self._looking_since = look, self._read_at
        look.add_done_callback(lambda done: self._take(done, changes))
        return look

    def _take(self, look: asyncio.Future[Shelf], changes: int) -> None:
        self._looking, self._part = None, None
        self._read_at, self._changes_seen = time.monotonic(), changes
        if look.cancelled():
            return
        if (error := look.exception()) is None:
            self._shelf, self._changes_shown = look.result(), changes
        else:
            _log.warning("library_not_read", reason=str(error), exc_info=None if isinstance(error, OSError) else error)

    async def _is_in_time(self, look: asyncio.Future[Shelf]) -> bool:
        """Waits for `look`: once, if it is late, and only until there is something to show, if it is the first."""
        until = self._looking_since + CALL_SECONDS
        while not look.done():
            left = until - time.monotonic()
            if left <= 0 or self._part is not None:
                return False
            await asyncio.wait({look}, timeout=min(left, PART_SECONDS))
        with contextlib.suppress(WorkspaceUnavailable):
            # A volume that failed is examined.
            await self._volume.wait_for(look)
        return True

    def _look(self, before: Shelf) -> Shelf:
        """In a thread. What is shown in parts says nothing yet of what was verified: that is one record per model."""
        version, catalogue = self._catalogue(before)
        wanted = self.installs.all()
        base = replace(
            before,
            catalogue=catalogue,
            user_presets_version=version,
            workflows=tuple(_titled(saved, catalogue) for saved in self.workflows.all()),
            references=self._saved.references(),
            last_used=self.last_used.all(),
            view=replace(
                before.view,
                installs=wanted,
                removed=self.installs.removed(),
                holds=self.installs.holds(),
                schedule=self.schedule.get(),
                uploading_bytes=self._uploads.promised_bytes(),
            ),
        )
        newest, shown_at = before, time.monotonic()

        def show() -> None:
            nonlocal newest, shown_at
            if not before.is_complete and time.monotonic() - shown_at > PART_SECONDS:
                newest = self._part = _next(newest, replace(base, models=self._index.so_far()))
                shown_at = time.monotonic()

        models = self._index.scan(show)
        verified = self._index.verified(models)
        view = replace(base.view, verified=verified, kept=self._kept(wanted.values(), verified))
        return _next(newest, replace(base, view=view, models=models, is_complete=True))

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

    def _catalogue(self, before: Shelf) -> tuple[FileVersion, Catalogue]:
        """The user's file's version and what was read then; read again when it, or what the hosts said, changed."""
        figures, facts = figures_of(self._workspace.user_presets_file), self.lock.all()
        # The change time tells of who may read it.
        version = (figures.st_ino, figures.st_mtime_ns, figures.st_ctime_ns, figures.st_size) if figures else ()
        if version == before.user_presets_version and facts == self._facts:
            return version, before.catalogue
        self._facts = facts
        sizes = {url: fact.size_bytes for url, fact in facts.items() if fact.size_bytes is not None}
        return version, with_users(self._shipped, self._workspace).sized(sizes)
