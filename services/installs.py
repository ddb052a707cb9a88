"""What was asked for, kept on the volume, and how far it is.

An install record says that a preset is wanted; the reconciler turns what is missing into jobs. A hold says why a file
is not being fetched although it is wanted: it failed, there was no room for it, or someone paused or cancelled it. Both
survive everything but the volume.
"""

import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from services import journal, plain_tree
from services.artifacts import Artifact
from services.errors import DownloadFailed, NotEnoughSpace
from services.presets import Preset
from services.progress import FileProgress
from services.records import RecordFolder
from services.schedule import Schedule, ScheduleRecords
from services.space import no_room
from services.verified import Verified
from services.workspace import Workspace, figures_of

# A download that gave up on a host that does not answer, or found no room, is tried again after this.
RETRY_SECONDS = 60.0
# What the id of an install begins with that is no preset: a single file, and what a workflow lacks.
ADDED = "url-"
OF_WORKFLOW = "workflow-"


class Install(Struct, frozen=True):
    """A wanted preset. `completed_at` is set once every file was there: what is deleted later stays deleted.

    `removed_at`: it was uninstalled. That is remembered, because its files may all be here still, for other presets.
    `cancelled_at`, `paused_at`: it waits until someone asks again; files that other presets want come in all the same.
    `renewed_at`: when someone last wanted it to go on.
    """

    preset_id: str
    name: str
    requested_at: float
    files: tuple[Artifact, ...]
    completed_at: float | None = None
    removed_at: float | None = None
    cancelled_at: float | None = None
    paused_at: float | None = None
    renewed_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether its missing files are to be fetched, now or when it is resumed."""
        return self.completed_at is None and self.cancelled_at is None and self.removed_at is None

    @property
    def is_active(self) -> bool:
        """Whether its missing files are to be fetched."""
        return self.is_open and self.paused_at is None

    @property
    def asked_at(self) -> float:
        return max(self.requested_at, self.renewed_at or 0.0)


class Hold(Struct, frozen=True):
    """Why a wanted file is left alone. `until` is when it may be tried again by itself; None: when someone asks."""

    reason: Literal["failed", "paused", "cancelled"]
    message: str
    at: float
    until: float | None = None

    @property
    def is_by_someone(self) -> bool:
        """Not by what happened to the download."""
        return self.reason == "cancelled" or (self.reason == "paused" and self.until is None)


class View(Struct, frozen=True):
    """One moment's knowledge. `verified`: only what still holds. `kept`: bytes
    of partial data, of those files that are not being downloaded. `uploading_bytes`: still to come of uploads."""

    installs: Mapping[str, Install]
    removed: frozenset[str]
    holds: Mapping[str, Hold]
    verified: Mapping[str, Verified]
    progress: Mapping[str, FileProgress]
    schedule: Schedule = Schedule()
    kept: Mapping[str, int] = {}
    uploading_bytes: int = 0

    def is_present(self, artifact: Artifact) -> bool:
        record = self.verified.get(artifact.id)
        return record is not None and artifact.sha256 in {None, record.sha256}

    def is_another(self, artifact: Artifact, size_bytes: int) -> bool:
        """Whether the file of `size_bytes` that has the name of `artifact` is certainly not the one that is meant."""
        if artifact.id in self.verified:
            return not self.is_present(artifact)
        return artifact.size_bytes not in {None, size_bytes}


class Installs:
    """The install records and holds of one workspace. Blocking."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._records = RecordFolder(workspace.config / "installs", Install)
        self._holds = RecordFolder(workspace.config / "holds", Hold)
        self._schedule = ScheduleRecords(workspace)

    def all(self) -> dict[str, Install]:
        """What is wanted."""
        return {id_: install for id_, install in self._records.all().items() if install.removed_at is None}

    def removed(self) -> frozenset[str]:
        """Ids of the presets that were uninstalled and not asked for since."""
        return frozenset(id_ for id_, install in self._records.all().items() if install.removed_at is not None)

    def holds(self) -> dict[str, Hold]:
        return self._holds.all()

    def hold(self, artifact_id: str) -> Hold | None:
        return self._holds.get(artifact_id)

    def is_due(self, artifact_id: str) -> bool:
        """Whether a worker may begin with it: someone waits for it, nothing holds it, not everything is paused.

        Raises OSError.
        """
        is_wanted = any(
            install.is_active and any(file.id == artifact_id for file in install.files)
            for install in self.all().values()
        )
        return is_wanted and self.hold(artifact_id) is None and not self._schedule.get().is_paused

    def request(self, preset: Preset) -> bool:
        """Records that `preset` is wanted and lets its held files go; whether it was wanted already.

        Raises NotEnoughSpace, OSError.
        """
        all_held = self.holds()
        held = [file.id for file in preset.files if file.id in all_held]
        known = self.all().get(preset.id)
        joined = known is not None and known.is_active and not held
        if not joined:
            self._records.put(preset.id, Install(preset.id, preset.name, time.time(), preset.files))
        # After the record: a volume that has no room for it leaves everything as it was.
        for artifact_id in held:
            self._holds.delete(artifact_id)
        return joined

    def remove(self, preset: Preset) -> None:
        """`preset` is no longer wanted."""
        now = time.time()
        try:
            self._records.put(preset.id, Install(preset.id, preset.name, now, preset.files, removed_at=now))
        except NotEnoughSpace:
            # A full volume is why presets are removed.
            self._records.delete(preset.id)

    def complete(self, install: Install) -> None:
        """Unless it was asked for anew or uninstalled since `install` was read."""
        if self._records.get(install.preset_id) == install:
            done = replace(install, completed_at=time.time(), cancelled_at=None, paused_at=None)
            self._records.put(install.preset_id, done)

    def cancel(self, preset_id: str) -> None:
        """Unless it is complete. Raises NotEnoughSpace, OSError."""
        known = self._records.get(preset_id)
        if known is not None and known.is_open:
            self._records.put(preset_id, replace(known, cancelled_at=time.time(), paused_at=None))

    def cancel_file(self, artifact_id: str) -> None:
        """For every preset that wants it. Raises NotEnoughSpace, OSError."""
        self._holds.put(artifact_id, Hold("cancelled", "cancelled", time.time()))

    def forget(self, preset_id: str) -> None:
        """As if it had never been asked for, if it was cancelled. Raises OSError."""
        known = self._records.get(preset_id)
        if known is not None and known.cancelled_at is not None:
            self._records.delete(preset_id)

    def pause(self, preset_id: str) -> None:
        """If it is under way. Raises NotEnoughSpace, OSError."""
        known = self._records.get(preset_id)
        if known is not None and known.is_active:
            self._records.put(preset_id, replace(known, paused_at=time.time()))

    def pause_file(self, artifact_id: str) -> None:
        """For every preset that wants it; what failed for good or was cancelled waits for someone anyway.

        Raises NotEnoughSpace, OSError.
        """
        hold = self.hold(artifact_id)
        if hold is None or hold.until is not None:
            self._holds.put(artifact_id, Hold("paused", "paused", time.time()))

    def resume(self, preset_id: str) -> None:
        """Lets it go on, with those of its files that someone paused or cancelled. Raises NotEnoughSpace, OSError."""
        self._renew(preset_id, lambda hold: hold.is_by_someone, resumes=True)

    def resume_file(self, artifact_id: str) -> None:
        """Raises NotEnoughSpace, OSError."""
        self._renew_file(artifact_id, lambda hold: hold.is_by_someone)

    def retry(self, preset_id: str) -> None:
        """Those of its files that failed are tried again now. Raises NotEnoughSpace, OSError."""
        self._renew(preset_id, lambda hold: not hold.is_by_someone, resumes=False)

    def retry_file(self, artifact_id: str) -> None:
        """Raises NotEnoughSpace, OSError."""
        self._renew_file(artifact_id, lambda hold: not hold.is_by_someone)

    def _renew(self, preset_id: str, lets_go: Callable[[Hold], bool], *, resumes: bool) -> None:
        known = self._records.get(preset_id)
        if known is None or not (known.is_open or (resumes and known.cancelled_at is not None)):
            return
        holds = self.holds()
        held = [file.id for file in known.files if (hold := holds.get(file.id)) and lets_go(hold)]
        if held or (resumes and not known.is_active):
            stopped = {"paused_at": None, "cancelled_at": None} if resumes else {}
            self._records.put(preset_id, replace(known, renewed_at=time.time(), **stopped))
        for artifact_id in held:
            self._holds.delete(artifact_id)

    def _renew_file(self, artifact_id: str, lets_go: Callable[[Hold], bool]) -> None:
        hold = self.hold(artifact_id)
        if hold is None or not lets_go(hold):
            return
        for id_, install in self.all().items():
            if install.is_open and any(file.id == artifact_id for file in install.files):
                self._records.put(id_, replace(install, renewed_at=time.time()))
        self._holds.delete(artifact_id)

    def fail(self, artifact_id: str, error: DownloadFailed | NotEnoughSpace) -> None:
        """A permanent failure waits for someone; every other is tried again after a while. Who paused or cancelled
        meanwhile is obeyed."""
        hold = self.hold(artifact_id)
        if hold is not None and hold.is_by_someone:
            return
        now = time.time()
        if isinstance(error, NotEnoughSpace):
            self._holds.put(artifact_id, Hold("paused", error.message, now, now + RETRY_SECONDS))
        else:
            until = None if error.permanent else now + RETRY_SECONDS
            self._holds.put(artifact_id, Hold("failed", error.message, now, until))

    def release(self, artifact_id: str) -> None:
        self._holds.delete(artifact_id)

    def expire(self, artifact_id: str, seen: Hold) -> bool:
        """Releases the hold `seen`, whose time has come; whether it was there still. Who cancelled since is obeyed."""
        if self.hold(artifact_id) != seen:
            return False
        return self._holds.delete(artifact_id)

    def partial_bytes(self, artifact: Artifact) -> int:
        """How much of `artifact` need not be fetched: all of it, if a file of its size lies in its place."""
        target = self._workspace.model_file(artifact.folder, artifact.name)
        figures = figures_of(target)
        if figures is None and (in_place := plain_tree.find(self._workspace, artifact.folder, artifact.name)):
            figures = figures_of(in_place)
        if figures is not None and figures.st_size == artifact.size_bytes:
            return figures.st_size
        return journal.bytes_kept(target, (artifact.url, *artifact.mirrors), artifact.sha256)

    def drop_partial(self, artifact: Artifact) -> None:
        """What was fetched of `artifact` is gone; nobody may be fetching it. Raises OSError."""
        journal.discard(self._workspace.model_file(artifact.folder, artifact.name))


class Wanted(Struct, frozen=True):
    """A file to fetch; `asked_at` is when it was last asked for."""

    artifact: Artifact
    asked_at: float
    needed_by: int


def wanted(view: View, now: float) -> list[Wanted]:
    """The files to fetch now: those of the presets that someone put first, then in the order in which they make
    something usable: what most waiting presets need, then small before large."""
    return [] if view.schedule.is_paused else _to_fetch(view, now)


def _to_fetch(view: View, now: float) -> list[Wanted]:
    """Also while all downloads are paused."""
    found: dict[str, Wanted] = {}
    places: dict[str, int] = {}
    for install in view.installs.values():
        if not install.is_active:
            continue
        for artifact in install.files:
            hold = view.holds.get(artifact.id)
            if view.is_present(artifact) or (hold is not None and (hold.until is None or hold.until > now)):
                continue
            known = found.get(artifact.id, Wanted(artifact, 0.0, 0))
            found[artifact.id] = Wanted(known.artifact, max(known.asked_at, install.asked_at), known.needed_by + 1)
            place = view.schedule.place(install.preset_id)
            places[artifact.id] = min(places.get(artifact.id, place), place)
    return sorted(
        found.values(),
        key=lambda entry: (places[entry.artifact.id], -entry.needed_by, entry.artifact.size_bytes or 2**62),
    )


def wanted_only_by(wanting: Install | Preset, view: View, *, paused_too: bool = False) -> list[Artifact]:
    """The files still to come of `wanting` that no other active install wants; `paused_too`: nor one that is paused."""
    id_ = wanting.preset_id if isinstance(wanting, Install) else wanting.id
    others = {
        file.id
        for other in view.installs.values()
        if (other.is_active or (paused_too and other.is_open)) and other.preset_id != id_
        for file in other.files
    }
    return [file for file in wanting.files if not view.is_present(file) and file.id not in others]


def finished(view: View) -> list[Install]:
    """Installs whose last file has come in since anyone looked; also of those that were cancelled, through others."""
    return [
        install
        for install in view.installs.values()
        if install.completed_at is None and all(view.is_present(file) for file in install.files)
    ]


def check_space(
    preset: Preset, view: View, free_bytes: int, reserve_bytes: int, partial_bytes: Mapping[str, int]
) -> None:
    """Raises NotEnoughSpace when `preset` does not fit beside the reserve and what other installs have to fetch."""
    ours = {file.id: file for file in preset.files if not view.is_present(file)}
    needed = sum(missing_bytes(file, partial_bytes.get(file.id, 0)) for file in ours.values())
    promised = promised_bytes(view, ours) + view.uploading_bytes
    free = max(free_bytes - reserve_bytes - promised, 0)
    if needed > free:
        raise no_room(f"preset '{preset.id}':", needed, free, reserve_bytes, promised)


def promised_bytes(view: View, but: Collection[str]) -> int:
    """What the installs under way have to fetch yet, without the files whose ids are in `but`."""
    others = [entry.artifact for entry in _to_fetch(view, time.time()) if entry.artifact.id not in but]
    return sum(missing_bytes(file, _done(view, file.id)) for file in others)


def as_preset(install: Install) -> Preset:
    """What is still known of a preset that left the catalogue while it was being installed."""
    return Preset(id=install.preset_id, name=install.name, kind="image", description="", files=install.files)


def added(artifact: Artifact) -> Preset:
    """A single file, asked for by its address, as what is installed. It is no reason to keep the file: it stands in no
    catalogue."""
    return Preset(id=f"{ADDED}{artifact.id}", name=artifact.name, kind="image", description="", files=(artifact,))


def lacking(title: str, files: Iterable[Artifact]) -> Preset:
    """What a workflow lacks, as what is installed; the same files are the same install. As one that was `added`, it is
    no reason to keep them."""
    files = tuple(files)
    digest = hashlib.blake2b("\n".join(sorted(file.id for file in files)).encode(), digest_size=10).hexdigest()
    return Preset(id=f"{OF_WORKFLOW}{digest}", name=title, kind="image", description="", files=files)


def stands_in_no_catalogue(preset_id: str) -> bool:
    return preset_id.startswith((ADDED, OF_WORKFLOW))


def still_needed_by(artifact: Artifact, leaving: Preset, presets: Iterable[Preset], view: View) -> list[Preset]:
    """The other presets that would break without `artifact`."""
    users = users_of(artifact.id, presets, view, brought={file.id for file in leaving.files})
    return [preset for preset in users if preset.id != leaving.id]


def users_of(
    artifact_id: str, presets: Iterable[Preset], view: View, brought: Collection[str] = frozenset()
) -> list[Preset]:
    """Those of `presets` that would break without the file: those asked for, and those whose files came with the
    volume, unless they were uninstalled.

    `brought`: ids of files that came with another preset. One that is complete because of what others brought, and
    nobody asked for, is no reason to keep anything: a dozen templates use the same files.
    """
    having = [preset for preset in presets if any(file.id == artifact_id for file in preset.files)]
    return [
        preset
        for preset in having
        if preset.id in view.installs or (preset.id not in view.removed and _came_by_itself(preset, view, brought))
    ]


def _came_by_itself(preset: Preset, view: View, brought: Collection[str]) -> bool:
    """Whether it is complete, and a file of it is here that no install brought."""
    if not all(view.is_present(file) for file in preset.files):
        return False
    asked_for = {file.id for install in view.installs.values() for file in install.files}
    return any(file.id not in asked_for and file.id not in brought for file in preset.files)


def missing_bytes(artifact: Artifact, done: int) -> int:
    """None of a file whose size is not known. Not below zero: what is there may be of another, larger version."""
    return max((artifact.size_bytes or 0) - done, 0)


def _done(view: View, artifact_id: str) -> int:
    live = view.progress.get(artifact_id)
    return max(live.bytes_done if live else 0, view.kept.get(artifact_id, 0))
