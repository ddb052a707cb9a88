"""The model files that a prompt names and ComfyUI does not offer, and the ways to each."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from services.artifacts import Artifact, model_id
from services.catalogue import Catalogue
from services.installs import Hold, View
from services.model_folders import KNOWN_FOLDERS, folder_of_input, is_model
from services.model_places import OURS
from services.models import ModelFile
from services.presets import InvalidPreset, Preset, check_file
from services.workflows.declared import DYNAMIC_COMBO, Declared
from services.workflows.origins import Origins
from services.workflows.report import Candidate, MissingModel, Verdict, shown

PRESETS_MAX = 20
CANDIDATES_MAX = 10
_NAME_CHARACTERS_MAX = 1_000
# Whole repositories call their files so: one of this name is not the same one.
_NO_NAMES = {"model", "diffusion_pytorch_model", "pytorch_model", "pytorch_lora_weights", "adapter_model"}


class Known(Struct, frozen=True):
    """What is on the volume, and what could come: one reading of it. `folders`: those that ComfyUI looks into;
    `sizes`: bytes of files by address, as far as hosts said."""

    catalogue: Catalogue
    view: View
    models: Mapping[str, ModelFile]
    folders: tuple[str, ...] = KNOWN_FOLDERS
    sizes: Mapping[str, int] = {}


class Offer(Struct, frozen=True):
    """What an input offers: all of it, and by the last part of each in lower case. `folder`: the one of the volume that
    most of it lies in, None where that is not one alone."""

    names: frozenset[str]
    by_base: Mapping[str, tuple[str, ...]]
    folder: str | None


class Need(Struct, frozen=True):
    """An input that names a file which is not among its choices. `name` has `/`, `value` is as the workflow has it."""

    node_id: str
    class_type: str
    title: str
    input: str
    value: str
    name: str
    folder: str | None
    offer: Offer


def looks_like_model(class_type: str, input_: Declared, value: Any) -> bool:
    """Whether `value`, which is not among the input's choices, names a model file."""
    if not isinstance(value, str) or not 0 < len(value) <= _NAME_CHARACTERS_MAX or input_.is_file:
        return False
    if input_.type == DYNAMIC_COMBO:
        return False
    return is_model(folder_of_input(class_type, input_.name) or "", value)


class Finder:
    """Finds folders and ways for the models that one workflow needs."""

    def __init__(self, known: Known, origins: Origins) -> None:
        self._known = known
        self._origins = origins
        self._by_base: dict[str, list[ModelFile]] = {}
        self._folders: dict[str, set[str]] = {}
        self._by_digest: dict[str, list[ModelFile]] = {}
        for id_, file in known.models.items():
            self._by_base.setdefault(_base(file.name).lower(), []).append(file)
            self._folders.setdefault(file.name, set()).add(file.folder)
            if (record := known.view.verified.get(id_)) is not None:
                self._by_digest.setdefault(record.sha256, []).append(file)
        self._files = {(file.folder, file.name): file for file in origins.files}
        self._coming = _coming(known.view)
        # By the list of choices itself: thousands of nodes of a class share one.
        self._offers: dict[int, Offer] = {}

    def need(self, node_id: str, class_type: str, title: str, input_: Declared, value: str) -> Need:
        offer = self._offers.get(id(input_.choices))
        if offer is None:
            offer = self._offers[id(input_.choices)] = self._offer(input_.names)
        name = slashed(value)
        folder = folder_of_input(class_type, input_.name) or self._folder(name, offer)
        return Need(node_id, class_type, title, input_.name, value, name, folder, offer)

    def _offer(self, names: tuple[str, ...]) -> Offer:
        by_base: dict[str, list[str]] = {}
        for name in names:
            by_base.setdefault(_base(slashed(name)).lower(), []).append(name)
        counts = Counter(folder for name in names for folder in self._folders.get(slashed(name), ()))
        most = [folder for folder, count in counts.items() if count == max(counts.values())]
        folder = most[0] if len(most) == 1 else None
        return Offer(frozenset(names), {base: tuple(found) for base, found in by_base.items()}, folder)

    def _folder(self, name: str, offer: Offer) -> str | None:
        """Where a node that is not known here looks for it: by what the workflow says, by what else the input offers,
        by the catalogue."""
        if folder := self._origins.directories.get(_base(name)) or offer.folder:
            return folder
        folders = {file.folder for _, file in self._brought(name, None)}
        return folders.pop() if len(folders) == 1 else None

    def missing(self, needs: list[Need]) -> MissingModel:
        """The row of `needs`, which all name the same file."""
        need = needs[0]
        file = self.file(need)
        presets = self._presets(need)
        candidates = self._candidates(need, file)
        coming = self.coming(need)
        verdict: Verdict = "unknown"
        if coming is not None:
            verdict, file = "downloading", coming
        elif candidates:
            verdict = "elsewhere"
        elif presets and (file is not None or need.folder is None):
            verdict = "preset"
        elif file is not None:
            verdict = "url"
        return MissingModel(
            node_id=need.node_id,
            class_type=need.class_type,
            title=need.title,
            input=need.input,
            folder=need.folder,
            name=need.value,
            verdict=verdict,
            presets=tuple(preset.id for preset in presets),
            url=file.url if file else None,
            size_bytes=file.size_bytes if file else None,
            candidates=candidates,
            message=self._message(need, verdict, candidates, presets, file),
            needed_by=tuple(dict.fromkeys(other.node_id for other in needs)),
        )

    def coming(self, need: Need) -> Artifact | None:
        """As an install under way brings it."""
        return self._coming.get(model_id(need.folder, need.name)) if need.folder else None

    def file(self, need: Need) -> Artifact | None:
        """What would be fetched: as the workflow itself names it, else as the catalogue does. None without a folder, an
        address, or a name that a file can have."""
        if need.folder is None or model_id(need.folder, need.name) in self._known.models:
            return None
        base = _base(need.name)
        own = self._files.get((need.folder, need.name)) or self._files.get((need.folder, base))
        if need.folder not in self._known.folders:
            own = None
        brought = [file for _, file in self._brought(need.name, need.folder)]
        # The catalogue knows digests and sizes of what the workflow only has an address of.
        same = [file for file in brought if own is None or own.url in (file.url, *file.mirrors)]
        elsewhere = [file for _, file in self._brought(need.name, None)] if _is_telling(base) else []
        found = next(iter(same), own) or next(iter(elsewhere), None)
        if found is None:
            return None
        size = found.size_bytes or self._known.sizes.get(found.url)
        file = replace(found, folder=need.folder, name=need.name, size_bytes=size)
        try:
            check_file(file)
        except InvalidPreset:
            return None
        return file

    def _brought(self, name: str, folder: str | None) -> list[tuple[Preset, Artifact]]:
        """Presets with a file of this last part, in `folder` if it is given: the whole name first, then those that
        someone here wrote, then those that bring the fewest other bytes."""
        base, found = _base(name), []
        for preset in self._known.catalogue.presets_with_file_name(name):
            for file in preset.files:
                if _base(file.name) == base and folder in {None, file.folder}:
                    others = [other.size_bytes for other in preset.files if other is not file]
                    unknown = None in others
                    rank = (file.name != name, preset.origin == "official", unknown, sum(size or 0 for size in others))
                    found.append((rank, len(preset.files), preset.id, preset, file))
        return [(preset, file) for _, _, _, preset, file in sorted(found, key=lambda entry: entry[:3])]

    def _presets(self, need: Need) -> list[Preset]:
        brought = (preset for preset, _ in self._brought(need.name, need.folder))
        return list({preset.id: preset for preset in brought}.values())[:PRESETS_MAX]

    def _candidates(self, need: Need, file: Artifact | None) -> tuple[Candidate, ...]:
        base = _base(need.name).lower()
        found: dict[tuple[str, str], Candidate] = {}
        for choice in need.offer.by_base.get(base, ()):
            known = self._known.models.get(model_id(need.folder or "", slashed(choice)))
            self._add(found, need, known, choice, file)
        same = self._by_digest.get(file.sha256, []) if file and file.sha256 else []
        for model in [*same, *(self._by_base.get(base, []) if _is_telling(base) else ())]:
            # What the input does not offer is of no use to it, however near it lies.
            if need.folder is not None and (model.folder != need.folder or model.name in need.offer.names):
                self._add(found, need, model, model.name, file)
        ranked = sorted(found.values(), key=lambda one: (one.how != "use", one.folder, one.name))
        return tuple(ranked[:CANDIDATES_MAX])

    def _add(
        self,
        found: dict[tuple[str, str], Candidate],
        need: Need,
        model: ModelFile | None,
        name: str,
        file: Artifact | None,
    ) -> None:
        folder = model.folder if model else need.folder or ""
        if model is not None and file is not None and self._is_another(file, model):
            return
        how: Literal["use", "link"] = "use" if folder == (need.folder or "") else "link"
        size = model.size_bytes if model else None
        root = model.root if model else OURS
        found.setdefault((folder, name), Candidate(model_id(folder, name), folder, name, root, size, how))

    def _is_another(self, file: Artifact, model: ModelFile) -> bool:
        record = self._known.view.verified.get(model.id)
        if file.sha256 and record is not None:
            return record.sha256 != file.sha256
        return file.size_bytes not in {None, model.size_bytes}

    def _message(
        self,
        need: Need,
        verdict: Verdict,
        candidates: tuple[Candidate, ...],
        presets: list[Preset],
        file: Artifact | None,
    ) -> str:
        path = f"{shown(need.folder)}/{shown(need.name)}" if need.folder else shown(need.name)
        what = f"{shown(need.title)}, {shown(need.input)}: {path}"
        if need.folder and model_id(need.folder, need.name) in self._known.models:
            return f"{what} is on the volume, but this node does not offer it: it may be of a kind it cannot load"
        if verdict == "downloading":
            return f"{what} is on its way: wait for the download"
        if verdict == "elsewhere":
            return f"{what} is missing, but {_told(candidates[0])}"
        if verdict == "preset":
            return f"{what} is missing; the preset {shown(presets[0].name)} brings it: install it"
        if verdict == "url" and file is not None:
            return f"{what} is missing; it can be fetched from {shown(urlsplit(file.url).hostname or file.url)}"
        if need.folder is None:
            return f"{what} is missing: add it as a model, with its address and the folder this node reads"
        return f"{what} is missing, and nobody says where it is to be had: add a model by its address"


def needs_of(found: Iterable[Need]) -> list[list[Need]]:
    """Those that name one file together, in order."""
    rows: dict[tuple[str | None, str], list[Need]] = {}
    for need in found:
        rows.setdefault((need.folder, need.name), []).append(need)
    return list(rows.values())


def slashed(name: str) -> str:
    """As ComfyUI lists it here; workflows made on Windows have backslashes."""
    return name.replace("\\", "/")


def _coming(view: View) -> dict[str, Artifact]:
    """What installs bring now, or as soon as they go on by themselves."""
    return {
        file.id: file
        for install in view.installs.values()
        if install.is_active
        for file in install.files
        if not view.is_present(file) and not _is_given_up(view.holds.get(file.id))
    }


def _is_given_up(hold: Hold | None) -> bool:
    return hold is not None and hold.until is None


def _told(candidate: Candidate) -> str:
    where = f"{candidate.root}/…/{shown(candidate.name)}" if candidate.root != OURS else shown(candidate.name)
    if candidate.how == "use":
        return f"{candidate.folder or 'the same folder'} has {where}: use that instead"
    return f"{candidate.folder} has {where}: link it"


def _is_telling(base: str) -> bool:
    return PurePosixPath(base).stem.lower() not in _NO_NAMES


def _base(name: str) -> str:
    return name.rsplit("/", 1)[-1]
