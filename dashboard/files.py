"""What may be done to the model files: delete, link, move, make one of several."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from dashboard.library import Library
from dashboard.volume import Volume
from services import journal, log, removals
from services.artifacts import Artifact
from services.errors import Conflict, NotFound
from services.model_places import OURS
from services.models import ModelFile
from services.placing import How, Placing
from services.presets import Preset
from services.removals import Removal
from services.workspace import Workspace, figures_of

T = TypeVar("T")
_log = log.get("files")


class ModelFiles:
    """By the library's picture of them, which is looked at anew before anything is done."""

    def __init__(self, workspace: Workspace, volume: Volume, library: Library) -> None:
        self._workspace = workspace
        self._volume = volume
        self._library = library
        self._placing = Placing(workspace)

    async def removal_of(self, preset: Preset) -> Removal:
        """What uninstalling `preset` would do."""
        shelf = await self._library.shelf()
        return removals.of_preset(preset, shelf.catalogue, shelf.view, shelf.models, shelf.references)

    async def removal(self, ids: Iterable[str], *, force: bool) -> tuple[Removal, list[ModelFile], list[str]]:
        """What deleting `ids` would do, the files that would go, and the ids that are no model's. Raises
        WorkspaceUnavailable, also while it is not known yet what needs them."""
        shelf = await self._library.current()
        wanted = list(dict.fromkeys(ids))
        files = [shelf.models[id_] for id_ in wanted if id_ in shelf.models]
        found = removals.of_models(files, shelf.catalogue, shelf.view, shelf.references, force=force)
        leaving = [file for file in files if file.id in found.leaving]
        return found, leaving, [id_ for id_ in wanted if id_ not in shelf.models]

    async def delete(self, files: Iterable[ModelFile], *, forced: bool = False) -> list[ModelFile]:
        """Those that were removed. `forced`: also what others need. Raises WorkspaceUnavailable."""
        known = self._library.newest().models.values()
        removed, _ = await self._library.delete_models([file.id for file in files])
        _log.info(
            "models_deleted",
            ids=[file.id for file in removed],
            names=[f"{file.folder}/{file.name}" for file in removed],
            freed_bytes=removals.freed_bytes(removed, known),
            forced=forced,
        )
        return removed

    async def here(self, artifacts: Iterable[Artifact]) -> dict[str, int]:
        """By id, what would be free without each of `artifacts` of which there is something on the volume, if only
        partial data. Raises WorkspaceUnavailable."""
        artifacts = list(artifacts)

        def work() -> dict[str, int]:
            found = {}
            for artifact in artifacts:
                target = self._workspace.model_file(artifact.folder, artifact.name)
                parts = [file for file in (target, journal.part_file(target)) if os.path.lexists(file)]
                if parts:
                    found[artifact.id] = sum(map(_freed_by, parts))
            return found

        return await self._volume.run(work)

    async def place(self, id_: str, folder: str, name: str, how: How) -> None:
        """Raises NotFound, InvalidName, Conflict, NotEnoughSpace, WorkspaceUnavailable."""
        shelf = await self._library.current()
        file = shelf.models.get(id_)
        if file is None:
            raise NotFound(f"there is no model '{id_[:100]}'")
        if how == "move":
            found = removals.of_models([file], shelf.catalogue, shelf.view, shelf.references)
            if found.kept:
                raise Conflict(f"{file.folder}/{file.name}: {found.kept[0].reason}; link it instead")
        record = shelf.view.verified.get(id_)
        await self._change(lambda: self._placing.place(file, record, folder, name, how))
        _log.info("model_placed", id=id_, source=f"{file.folder}/{file.name}", folder=folder, name=name, how=how)

    async def unite(self, sha256: str) -> int:
        """Makes all files with this digest one; the bytes that became free.

        Raises InvalidRequest, Conflict, NotEnoughSpace, WorkspaceUnavailable.
        """
        shelf = await self._library.current()
        same = [
            (file, record)
            for id_, record in shelf.view.verified.items()
            if record.sha256 == sha256 and (file := shelf.models.get(id_)) is not None and file.root == OURS
        ]
        freed = await self._change(lambda: self._placing.unite(same))
        _log.info("duplicates_united", sha256=sha256, freed_bytes=freed)
        return freed

    async def _change(self, work: Callable[[], T]) -> T:
        try:
            return await self._volume.write(work)
        finally:
            self._library.forget()


def _freed_by(file: Path) -> int:
    figures = None if file.is_symlink() else figures_of(file)
    return figures.st_size if figures is not None and figures.st_nlink == 1 else 0
