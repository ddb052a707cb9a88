"""What installing a preset would do: which files are here, which have to be fetched, and whether all of it fits."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from services import installs, vram
from services.artifacts import Artifact
from services.installs import View
from services.models import ModelFile
from services.presets import Preset
from services.resolver import Fact, Trouble, locked

FilePlan = Literal["present", "unchecked", "occupied", "elsewhere", "partial", "missing"]
Fit = Literal["fits", "too_small", "no_gpu", "not_known"]


class Elsewhere(Struct, frozen=True):
    """A file on the volume that is the wanted one (`sha256`), or probably is (`name_and_size`)."""

    id: str
    folder: str
    name: str
    root: str
    size_bytes: int
    match: Literal["sha256", "name_and_size"]


class PlannedFile(Struct, frozen=True):
    """One file of a preset, before it is installed.

    `state`: `present`: here and verified. `unchecked`: a file of its name is here, and will be verified instead of
    fetched. `occupied`: another file has its name. `elsewhere`: it is on the volume under another name or folder.
    `partial`: `bytes_done` of it are here. `missing`: all of it has to come. `size_bytes`, `sha256`: None while neither
    the preset nor the host said. `trouble`: why the host would not give it.
    """

    id: str
    folder: str
    name: str
    url: str
    state: FilePlan
    size_bytes: int | None
    sha256: str | None
    commit: str | None
    bytes_done: int
    elsewhere: tuple[Elsewhere, ...]
    trouble: Trouble | None


class Vram(Struct, frozen=True):
    """`needed_bytes`: what the preset says (`measured`), else what its weights take at least (`weights`)."""

    needed_bytes: int | None
    source: Literal["measured", "weights"]
    gpu_bytes: int | None
    fit: Fit


class Plan(Struct, frozen=True):
    """Bytes. `fetch_bytes`: of the files whose size is known; `unknown_sizes`: how many have none. `free_after_bytes`:
    beside the reserve and what other installs and uploads have to bring; below zero where it does not fit."""

    preset_id: str
    name: str
    files: tuple[PlannedFile, ...]
    total_bytes: int | None
    present_bytes: int
    fetch_bytes: int
    unknown_sizes: int
    free_bytes: int
    reserve_bytes: int
    promised_bytes: int
    free_after_bytes: int
    fits: bool
    vram: Vram


class Room(Struct, frozen=True):
    """What there is: bytes on the volume, those to leave free, and the largest card's memory."""

    free_bytes: int
    reserve_bytes: int
    gpu_bytes: int | None = None


class Models:
    """The files on the volume, found by what they hold."""

    def __init__(self, models: Mapping[str, ModelFile], view: View) -> None:
        self.by_id = models
        self._by_digest: dict[str, list[ModelFile]] = {}
        self._by_look: dict[tuple[str, int], list[ModelFile]] = {}
        for id_, file in models.items():
            self._by_look.setdefault((_base(file.name), file.size_bytes), []).append(file)
            if record := view.verified.get(id_):
                self._by_digest.setdefault(record.sha256, []).append(file)

    def like(self, artifact: Artifact, view: View) -> tuple[Elsewhere, ...]:
        """Those that hold the bytes of `artifact` for certain, then those that may."""
        certain = self._by_digest.get(artifact.sha256, []) if artifact.sha256 else []
        looks = (_base(artifact.name), artifact.size_bytes or -1)
        # One whose digest is known is the wanted one or is not.
        likely = [
            file for file in self._by_look.get(looks, []) if artifact.sha256 is None or file.id not in view.verified
        ]
        found = {file.id: _elsewhere(file, "name_and_size") for file in likely}
        found |= {file.id: _elsewhere(file, "sha256") for file in certain}
        found.pop(artifact.id, None)
        return tuple(sorted(found.values(), key=lambda other: (other.match != "sha256", other.folder, other.name)))


def plan(
    preset: Preset, view: View, models: Models, found: Mapping[str, Fact | Trouble], kept: Mapping[str, int], room: Room
) -> Plan:
    """`preset` with what is known of its files by now; `found`: what the hosts said, by address; `kept`: bytes of
    partial data by artifact id."""
    files = tuple(_planned(file, view, models, found, kept.get(file.id, 0)) for file in preset.files)
    coming = [file for file in files if file.state in {"partial", "missing", "elsewhere"}]
    fetch = sum(max((file.size_bytes or 0) - file.bytes_done, 0) for file in coming)
    promised = installs.promised_bytes(view, {file.id for file in files}) + view.uploading_bytes
    after = room.free_bytes - room.reserve_bytes - promised - fetch
    sizes = [file.size_bytes for file in files]
    return Plan(
        preset_id=preset.id,
        name=preset.name,
        files=files,
        total_bytes=None if None in sizes else sum(size for size in sizes if size),
        present_bytes=sum(file.size_bytes or 0 for file in files if file.state in {"present", "unchecked"}),
        fetch_bytes=fetch,
        unknown_sizes=sum(file.size_bytes is None for file in coming),
        free_bytes=room.free_bytes,
        reserve_bytes=room.reserve_bytes,
        promised_bytes=promised,
        free_after_bytes=after,
        fits=fetch == 0 or after >= 0,
        vram=_vram(preset, room.gpu_bytes),
    )


def _planned(
    artifact: Artifact, view: View, models: Models, found: Mapping[str, Fact | Trouble], kept_bytes: int
) -> PlannedFile:
    state, done, elsewhere = _state(artifact, view, models, kept_bytes)
    size, digest = artifact.size_bytes, artifact.sha256
    if state == "present":
        record = view.verified[artifact.id]
        size, digest = record.size_bytes, record.sha256
    said = next((answer for url in (artifact.url, *artifact.mirrors) if (answer := found.get(url))), None)
    return PlannedFile(
        id=artifact.id,
        folder=artifact.folder,
        name=artifact.name,
        url=artifact.url,
        state=state,
        size_bytes=size,
        sha256=digest,
        commit=said.commit if isinstance(said, Fact) else None,
        bytes_done=done,
        elsewhere=elsewhere,
        trouble=said if isinstance(said, Trouble) and state not in {"present", "unchecked"} else None,
    )


def _state(
    artifact: Artifact, view: View, models: Models, kept_bytes: int
) -> tuple[FilePlan, int, tuple[Elsewhere, ...]]:
    """And the bytes that are here already, and where else it lies."""
    if view.is_present(artifact):
        return "present", view.verified[artifact.id].size_bytes, ()
    if (here := models.by_id.get(artifact.id)) is not None:
        is_another = view.is_another(artifact, here.size_bytes)
        return ("occupied", 0, models.like(artifact, view)) if is_another else ("unchecked", here.size_bytes, ())
    elsewhere = models.like(artifact, view)
    if elsewhere:
        return "elsewhere", kept_bytes, elsewhere
    return ("partial", kept_bytes, ()) if kept_bytes else ("missing", 0, ())


def _vram(preset: Preset, gpu_bytes: int | None) -> Vram:
    needed = preset.vram_bytes or vram.weights_bytes(preset.files)
    if gpu_bytes is None:
        fit: Fit = "no_gpu"
    elif needed is None:
        fit = "not_known"
    else:
        fit = "fits" if needed <= gpu_bytes else "too_small"
    return Vram(needed, "measured" if preset.vram_bytes else "weights", gpu_bytes, fit)


def missing_files(preset: Preset, view: View) -> list[Artifact]:
    """Those whose hosts are worth asking: what is here is known."""
    return [file for file in preset.files if not view.is_present(file)]


def locked_preset(preset: Preset, view: View, found: Mapping[str, Fact | Trouble]) -> Preset:
    """`preset` with what its hosts said of the files to come; what is here stays what it is."""
    facts = {url: answer for url, answer in found.items() if isinstance(answer, Fact)}
    files = tuple(file if view.is_present(file) else locked(file, facts) for file in preset.files)
    return replace(preset, files=files)


def _elsewhere(file: ModelFile, match: Literal["sha256", "name_and_size"]) -> Elsewhere:
    return Elsewhere(file.id, file.folder, file.name, file.root, file.size_bytes, match)


def _base(name: str) -> str:
    return PurePosixPath(name).name
