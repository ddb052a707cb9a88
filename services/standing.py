"""How far each preset and each of its files is, from what is known of them at one moment."""

from typing import Literal

from msgspec import Struct

from services.artifacts import Artifact
from services.installs import Hold, Install, View
from services.presets import Preset
from services.progress import FileProgress, FileState
from services.schedule import Schedule

PresetState = Literal[
    "available", "partial", "queued", "downloading", "verifying", "paused", "failed", "cancelled", "installed"
]


class FileStatus(Struct, frozen=True):
    id: str
    folder: str
    name: str
    state: FileState
    bytes_done: int
    bytes_total: int | None
    bytes_per_second: float
    error: str | None
    connections: int = 0


class InstallStatus(Struct, frozen=True):
    """How far a preset is. `progress` in percent, None while a size is unknown; bytes, seconds."""

    preset_id: str
    name: str
    state: PresetState
    progress: float | None
    bytes_done: int
    bytes_total: int | None
    bytes_per_second: float
    eta_seconds: float | None
    error: str | None
    requested_at: float | None
    files: tuple[FileStatus, ...]


def status(preset: Preset, view: View) -> InstallStatus:
    install = view.installs.get(preset.id)
    wanted_ids = {file.id for other in view.installs.values() if other.is_active for file in other.files}
    files = tuple(_file_status(file, view, file.id in wanted_ids, install) for file in preset.files)
    totals = [file.bytes_total for file in files]
    total = None if None in totals else sum(size for size in totals if size)
    done = sum(file.bytes_done for file in files)
    state = _preset_state({file.state for file in files}, install)
    # What comes for others only is not this one's speed.
    rate = sum(file.bytes_per_second for file in files if file.state == state == "downloading")
    return InstallStatus(
        preset_id=preset.id,
        name=preset.name,
        state=state,
        progress=round(100 * done / total, 1) if total else None,
        bytes_done=done,
        bytes_total=total,
        bytes_per_second=rate,
        eta_seconds=round((total - done) / rate, 1) if total is not None and rate > 0 else None,
        error=next((file.error for file in files if file.error), None),
        requested_at=install.requested_at if install else None,
        files=files,
    )


def _preset_state(states: set[FileState], install: Install | None) -> PresetState:
    if states == {"present"}:
        return "installed"
    if install is not None and install.cancelled_at is not None:
        return "cancelled"
    if install is not None and install.paused_at is not None:
        return "paused"
    if install is not None and install.is_active:
        order: tuple[PresetState, ...] = ("downloading", "verifying", "queued", "failed", "paused", "cancelled")
        return next((state for state in order if state in states), "queued")
    return "partial" if "present" in states else "available"


def _file_status(artifact: Artifact, view: View, is_wanted: bool, install: Install | None) -> FileStatus:
    """`is_wanted`: by any preset that is active; `install`: of the preset it is looked at for."""
    live, hold = view.progress.get(artifact.id), view.holds.get(artifact.id)
    total = artifact.size_bytes or (live.bytes_total if live else None)
    if view.is_present(artifact):
        size = view.verified[artifact.id].size_bytes
        return FileStatus(artifact.id, artifact.folder, artifact.name, "present", size, size, 0.0, None)
    state: FileState = "missing"
    error = None
    if is_wanted:
        state, error = _state_of_wanted(live, hold, view.schedule)
    elif install is not None and (install.cancelled_at or install.paused_at):
        state = "cancelled" if install.cancelled_at else "paused"
    moves = live is not None and live.state == state and state in {"downloading", "verifying"}
    return FileStatus(
        id=artifact.id,
        folder=artifact.folder,
        name=artifact.name,
        state=state,
        bytes_done=0 if state == "missing" else _bytes_here(live, moves, view.kept.get(artifact.id, 0)),
        bytes_total=total,
        bytes_per_second=live.bytes_per_second if live and moves else 0.0,
        error=error,
        connections=live.connections if live and moves else 0,
    )


def _state_of_wanted(live: FileProgress | None, hold: Hold | None, schedule: Schedule) -> tuple[FileState, str | None]:
    """And the reason, where it is not someone's wish."""
    if hold is not None and (hold.until is None or hold.reason == "paused"):
        return hold.reason, None if hold.is_by_someone else hold.message
    if schedule.is_paused:
        return "paused", None
    if live is not None and live.state in {"downloading", "verifying"}:
        return live.state, live.error
    # A hold with an end, or a failure that found no room to be written down: it is tried again by itself.
    return "queued", hold.message if hold else live.error if live else None


def _bytes_here(live: FileProgress | None, moves: bool, kept_bytes: int) -> int:
    """What stopped says nothing of its bytes in the end, and nothing at all once Redis lost it: the volume knows."""
    reported = live.bytes_done if live else 0
    return reported if moves else max(reported, kept_bytes)
