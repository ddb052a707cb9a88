"""What every command starts from: the settings, the volume as it is now, and whoever else works on it."""

import contextlib
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from msgspec.structs import replace

from services import standing
from services.artifacts import Artifact
from services.catalogue import Catalogue, load_catalogue
from services.errors import InvalidName, NotFound
from services.installs import Installs, View, as_preset
from services.lockfile import Fact, LockFile
from services.models import ModelFile, ModelIndex
from services.presets import Preset
from services.progress import FileProgress
from services.schedule import ScheduleRecords
from services.settings import APP_DIR, Settings
from services.standing import InstallStatus
from services.uploads import UploadBook
from services.verified import VerifiedFiles
from services.workspace import Workspace
from tools.preset_manager.output import Output
from tools.preset_manager.suite import Suite

CURATED: Path = APP_DIR / "presets"
# How many ids are named that may be meant.
SIMILAR = 3


@dataclass(frozen=True)
class Context:
    """Blocking. What is read from the volume is read once, but for `view`."""

    config: Settings
    output: Output

    @cached_property
    def workspace(self) -> Workspace:
        return Workspace(self.config.workspace)

    @cached_property
    def catalogue(self) -> Catalogue:
        return load_catalogue(CURATED, self.workspace)

    @cached_property
    def installs(self) -> Installs:
        return Installs(self.workspace)

    @cached_property
    def verified(self) -> VerifiedFiles:
        return VerifiedFiles(self.workspace)

    @cached_property
    def index(self) -> ModelIndex:
        return ModelIndex(self.workspace, closed=[self.config.state_dir])

    @cached_property
    def models(self) -> Mapping[str, ModelFile]:
        """Every model file on the volume, by id."""
        return self.index.scan()

    @cached_property
    def lock(self) -> LockFile:
        return LockFile(self.workspace)

    @cached_property
    def uploads(self) -> UploadBook:
        return UploadBook(self.workspace, self.config.comfyui_dir, self.config.disk_reserve_bytes)

    @cached_property
    def suite(self) -> Suite:
        return Suite(self.config)

    def preset(self, id_: str) -> Preset:
        """Also one that left the catalogue since it was asked for. Raises NotFound, with what may be meant."""
        try:
            return self.catalogue.get(id_)
        except NotFound as error:
            if (install := self.installs.all().get(id_)) is not None:
                return as_preset(install)
            by_small = {known.lower(): known for known in self.catalogue.presets}
            meant = [by_small[small] for small in difflib.get_close_matches(id_.lower(), by_small, SIMILAR)]
            hint = f"; did you mean {' or '.join(meant)}?" if meant else "; preset-manager list has them all"
            raise NotFound(error.message + hint) from None

    def sized(self, preset: Preset) -> Preset:
        """With the sizes that its hosts have told once, where it names none."""
        said = self.lock.all()
        return replace(preset, files=tuple(_sized(file, said.get(file.url)) for file in preset.files))

    def presets(self, ids: Iterable[str]) -> list[Preset]:
        """Each once. Raises NotFound."""
        found = {preset.id: preset for preset in map(self.preset, ids)}
        return list(found.values())

    def view(self, files: Iterable[Artifact], progress: Mapping[str, FileProgress] | None = None) -> View:
        """What is known of `files` now, and of every file that is wanted. `progress`: None to ask the suite where
        something is under way."""
        wanted = self.installs.all()
        coming = [file for install in wanted.values() if install.completed_at is None for file in install.files]
        if progress is None:
            progress = self.suite.progress() if any(install.is_active for install in wanted.values()) else {}
        verified = self.verified.holding_for({file.id: file for file in (*files, *coming)}.values())
        moving = {id_ for id_, live in progress.items() if live.is_moving}
        return View(
            installs=wanted,
            removed=self.installs.removed(),
            holds=self.installs.holds(),
            verified=verified,
            progress=progress,
            schedule=ScheduleRecords(self.workspace).get(),
            kept=self.kept(file for file in coming if file.id not in verified and file.id not in moving),
            uploading_bytes=self.uploads.promised_bytes(),
        )

    def kept(self, files: Iterable[Artifact]) -> dict[str, int]:
        """The bytes of partial data, by artifact id."""
        found = {}
        for file in files:
            # Of a folder that became a link leading out of the models, nothing counts.
            with contextlib.suppress(InvalidName):
                found[file.id] = self.installs.partial_bytes(file)
        return found

    def whole_view(self) -> View:
        """Of every file that any preset names."""
        return self.view(file for preset in self.catalogue for file in preset.files)

    def status(self, preset: Preset) -> InstallStatus:
        return standing.status(preset, self.view(preset.files))


def _sized(file: Artifact, said: Fact | None) -> Artifact:
    if file.size_bytes is not None or said is None:
        return file
    return replace(file, size_bytes=said.size_bytes)
