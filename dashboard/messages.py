"""The shapes that the API and the WebSocket share, made from what the services know."""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from dashboard.formats import duration_text, speed_text
from dashboard.shelf import Shelf
from services import installs, removals, standing, vram
from services.base_models import Source
from services.boot import Step
from services.catalogue import Catalogue
from services.gpus import Gpu
from services.health import ComfyUIHealth
from services.installs import View
from services.metrics import Cpu, Memory, Network
from services.model_facts import ModelFact, ModelFacts
from services.model_headers import format_of
from services.models import ModelFile
from services.presets import Kind, Origin, Preset, Problem
from services.processes import Process
from services.progress import FileState
from services.removals import Kept
from services.runs import QueueItem, Run
from services.schedule import Schedule
from services.standing import InstallStatus, PresetState
from services.volume import State


class InstallMessage(InstallStatus, frozen=True, kw_only=True):
    """An install's progress, with texts for people beside the figures."""

    joined: bool
    speed: str
    eta: str


class PresetSummary(Struct, frozen=True):
    """`workflow`: its name for `/api/workflows/{name}` and `execute`, for those that can be run from here.

    `origin`: official ones are ComfyUI's own templates, and carry what its index says of them: `usage` (how often one
    is run, of no unit), `open_source`, `min_comfyui_version`, `tutorial`. `estimated_bytes`: to show while
    `size_bytes` is not known. `weights_bytes`: what of it is in a card's memory at the same time, at least;
    `vram_bytes`: as measured.
    """

    id: str
    aliases: tuple[str, ...]
    origin: Origin
    name: str
    kind: Kind
    description: str
    tags: tuple[str, ...]
    size_bytes: int | None
    estimated_bytes: int | None
    vram_bytes: int | None
    weights_bytes: int | None
    usage: int | None
    file_count: int
    files_present: int
    missing_bytes: int | None
    state: PresetState
    progress: float | None
    speed: str
    eta: str
    error: str | None
    workflow: str | None


class PresetFile(Struct, frozen=True):
    """`shared_with`: names of the other presets that bring this file."""

    id: str
    folder: str
    name: str
    url: str
    size_bytes: int | None
    sha256: str | None
    state: FileState
    error: str | None
    shared_with: tuple[str, ...]


class PresetDetail(PresetSummary, frozen=True, kw_only=True):
    files: tuple[PresetFile, ...]
    licence: str | None
    source: str | None
    open_source: bool | None
    min_comfyui_version: str | None
    tutorial: str | None


class PresetList(Struct, frozen=True):
    presets: tuple[PresetSummary, ...]
    problems: tuple[Problem, ...]


class DownloadList(Struct, frozen=True):
    """`paused`: all of them are, and those that are asked for later."""

    downloads: tuple[InstallMessage, ...]
    paused: bool


class ScheduleMessage(Struct, frozen=True):
    """What was said about all downloads. `order`: ids of the presets that come first."""

    paused: bool
    order: tuple[str, ...]


class Uninstalled(Struct, frozen=True):
    """`dry_run`: nothing was done; this is what would be."""

    removed: tuple[str, ...]
    kept: tuple[Kept, ...]
    freed_bytes: int
    dry_run: bool


class Checked(Struct, frozen=True):
    sha256: str
    checked_against: str


class Model(Struct, frozen=True):
    """`root`: the tree it lies in, relative to the volume; what lies in another than `models` cannot be deleted.

    Of the head of the file, None until it was read: `format`, `dtype` (of most of its bytes), `parameters`,
    `base_model` and what told that, `problem` (why it cannot be loaded).
    `verified`, `sha256`: None until someone computed its digest. `presets`: ids of those that bring it; `installed_by`:
    of those that would break without it. `workflows`: names of the saved ones that name it. `last_used`: by a run, Unix
    seconds.
    """

    id: str
    folder: str
    name: str
    size_bytes: int
    modified: float
    format: str
    dtype: str | None
    parameters: int | None
    base_model: str | None
    base_model_from: Source | None
    problem: str | None
    sha256: str | None
    verified: Checked | None
    presets: tuple[str, ...]
    installed_by: tuple[str, ...]
    workflows: tuple[str, ...]
    last_used: float | None
    root: str


class ModelList(Struct, frozen=True):
    """`total` and `total_bytes`: of all that match. `is_complete`: False while the volume is read for the first time;
    more will come."""

    models: tuple[Model, ...]
    total: int
    total_bytes: int
    is_complete: bool


class ModelType(Struct, frozen=True):
    folder: str
    count: int
    size_bytes: int


class ModelTypes(Struct, frozen=True):
    types: tuple[ModelType, ...]


class Disk(Struct, frozen=True):
    path: str
    used_bytes: int | None
    free_bytes: int | None
    total_bytes: int | None
    filesystem: str | None


class WorkspaceState(Struct, frozen=True):
    state: State
    message: str
    remedy: str


class SystemStatus(Struct, frozen=True):
    cpu: Cpu
    memory: Memory
    gpus: tuple[Gpu, ...]
    disk: Disk
    network: Network
    processes: tuple[Process, ...]
    comfyui: ComfyUIHealth
    workspace: WorkspaceState
    boot: tuple[Step, ...]
    ready_seconds: float | None
    uptime_seconds: float


class QueueMessage(Struct, frozen=True):
    running: tuple[Run, ...]
    pending: tuple[QueueItem, ...]


def install_message(status: InstallStatus, *, joined: bool = False) -> InstallMessage:
    moving = status.state == "downloading"
    return InstallMessage(
        **asdict(status),
        joined=joined,
        speed=speed_text(status.bytes_per_second) if moving else "",
        eta=duration_text(status.eta_seconds) if moving else "",
    )


def preset_summary(preset: Preset, status: InstallStatus) -> PresetSummary:
    return PresetSummary(**_summary(preset, status))


def preset_detail(preset: Preset, status: InstallStatus, catalogue: Catalogue) -> PresetDetail:
    states = {file.id: file for file in status.files}
    files = tuple(
        PresetFile(
            id=file.id,
            folder=file.folder,
            name=file.name,
            url=file.url,
            size_bytes=file.size_bytes,
            sha256=file.sha256,
            state=states[file.id].state,
            error=states[file.id].error,
            shared_with=tuple(other.name for other in catalogue.presets_with(file.id) if other.id != preset.id),
        )
        for file in preset.files
    )
    return PresetDetail(
        **_summary(preset, status),
        files=files,
        licence=preset.licence,
        source=preset.source,
        open_source=preset.open_source,
        min_comfyui_version=preset.min_comfyui_version,
        tutorial=preset.tutorial,
    )


def preset_list(catalogue: Catalogue, view: View) -> PresetList:
    presets = sorted(catalogue, key=lambda preset: preset.name.lower())
    return PresetList(
        presets=tuple(preset_summary(preset, standing.status(preset, view)) for preset in presets),
        problems=catalogue.problems,
    )


def download_list(catalogue: Catalogue, view: View) -> tuple[InstallMessage, ...]:
    """Every install that is not finished: those that someone put first, then the newest first."""
    active = [install for install in view.installs.values() if install.completed_at is None]
    active.sort(key=lambda install: (view.schedule.place(install.preset_id), -install.requested_at))
    messages = [
        install_message(standing.status(catalogue.presets.get(install.preset_id) or installs.as_preset(install), view))
        for install in active
    ]
    return tuple(found for found in messages if found.state != "installed")


def schedule_message(schedule: Schedule) -> ScheduleMessage:
    return ScheduleMessage(schedule.is_paused, schedule.preset_ids)


def models(files: Iterable[ModelFile], shelf: Shelf, facts: ModelFacts) -> tuple[Model, ...]:
    return tuple(_model(file, shelf, facts.get(file)) for file in files)


def _model(file: ModelFile, shelf: Shelf, fact: ModelFact | None) -> Model:
    record, presets = shelf.view.verified.get(file.id), removals.bringing(file.id, shelf.catalogue, shelf.view)
    return Model(
        id=file.id,
        folder=file.folder,
        name=file.name,
        size_bytes=file.size_bytes,
        modified=file.mtime_ns / 1e9,
        format=fact.format if fact else format_of(file.name),
        dtype=fact.dtype if fact else None,
        parameters=fact.parameters if fact else None,
        base_model=fact.base_model if fact else None,
        base_model_from=fact.base_model_from if fact else None,
        problem=fact.problem if fact else None,
        sha256=record.sha256 if record else None,
        verified=Checked(record.sha256, record.checked_against) if record else None,
        presets=tuple(preset.id for preset in presets),
        installed_by=tuple(preset.id for preset in installs.users_of(file.id, presets, shelf.view)),
        workflows=shelf.references.of(file.folder, file.name),
        last_used=shelf.last_used.get(file.id),
        root=file.root,
    )


def _summary(preset: Preset, status: InstallStatus) -> dict[str, Any]:
    message = install_message(status)
    missing = [file.bytes_total for file in status.files if file.state != "present"]
    return {
        "id": preset.id,
        "aliases": preset.aliases,
        "origin": preset.origin,
        "name": preset.name,
        "kind": preset.kind,
        "description": preset.description,
        "tags": preset.tags,
        "size_bytes": status.bytes_total,
        "estimated_bytes": preset.estimated_bytes,
        "vram_bytes": preset.vram_bytes,
        "weights_bytes": vram.weights_bytes(preset.files),
        "usage": preset.usage,
        "file_count": len(preset.files),
        "files_present": sum(file.state == "present" for file in status.files),
        "missing_bytes": None if None in missing else sum(size for size in missing if size),
        "state": status.state,
        "progress": status.progress,
        "speed": message.speed,
        "eta": message.eta,
        "error": status.error,
        # Of an official one, the template itself.
        "workflow": preset.id if preset.workflow is not None or preset.origin == "official" else None,
    }
