"""Every preset known: the curated files in `presets/`, and the user's own on the volume."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from services import yaml_files
from services.errors import InvalidName, InvalidRequest, NotFound
from services.model_folders import LEGACY_FOLDERS
from services.presets import Preset
from services.workspace import Workspace


class Problem(Struct, frozen=True):
    """A preset, or a file of presets, that could not be read."""

    source: str
    message: str


class Catalogue:
    """Every preset known, by id. `problems` are what could not be read; they never take the others down."""

    def __init__(self, presets: Iterable[Preset] = (), problems: Iterable[Problem] = ()) -> None:
        self.presets: dict[str, Preset] = {preset.id: preset for preset in presets}
        self.problems = tuple(problems)

    def __iter__(self) -> Iterator[Preset]:
        return iter(self.presets.values())

    def __len__(self) -> int:
        return len(self.presets)

    def get(self, preset_id: str) -> Preset:
        try:
            return self.presets[preset_id]
        except KeyError:
            raise NotFound(f"there is no preset '{preset_id[:100]}'") from None

    def presets_with(self, artifact_id: str) -> list[Preset]:
        return [preset for preset in self if any(file.id == artifact_id for file in preset.files)]

    def presets_with_file_name(self, name: str) -> list[Preset]:
        """Presets that bring a file called `name`, whatever its folder."""
        wanted = name.rsplit("/", 1)[-1]
        return [preset for preset in self if any(file.name.rsplit("/", 1)[-1] == wanted for file in preset.files)]


def load_catalogue(curated: Path, workspace: Workspace) -> Catalogue:
    """The curated presets below `curated`, then the user's `config/presets.yaml`, whose ids win."""
    presets: dict[str, Preset] = {}
    problems: list[Problem] = []
    for file in sorted(curated.glob("*/*.yaml")):
        _collect(
            file.relative_to(curated.parent).as_posix(), lambda file=file: [yaml_files.read(file)], presets, problems
        )
    if workspace.user_presets_file.exists():
        seen: set[str] = set()
        _collect(
            str(workspace.user_presets_file),
            lambda: _user_entries(workspace.user_presets_file),
            presets,
            problems,
            seen,
        )
    return Catalogue(presets.values(), problems)


def _user_entries(path: Path) -> list[Any]:
    content = yaml_files.read(path)
    entries = content.get("presets") if isinstance(content, Mapping) else None
    if not isinstance(entries, list):
        raise InvalidRequest(f"{path}: it must hold a list named 'presets'")
    return entries


def _collect(
    source: str, read: Any, presets: dict[str, Preset], problems: list[Problem], seen: set[str] | None = None
) -> None:
    try:
        entries = read()
    except (InvalidRequest, OSError) as error:
        problems.append(Problem(source, str(error)))
        return
    for number, entry in enumerate(entries, start=1):
        where = f"{source}, preset {number}" if seen is not None else source
        try:
            preset = parse_preset(entry)
        except InvalidRequest as error:
            problems.append(Problem(where, error.message))
            continue
        if seen is not None and preset.id in seen:
            problems.append(Problem(where, f"the id '{preset.id}' stands in this file already"))
            continue
        if seen is not None:
            seen.add(preset.id)
        presets[preset.id] = preset


def parse_preset(entry: Any) -> Preset:
    """A preset from plain values. Raises InvalidRequest, naming the field."""
    try:
        preset = msgspec.convert(entry, Preset)
    except msgspec.ValidationError as error:
        named = entry.get("id") if isinstance(entry, Mapping) else None
        raise InvalidRequest(f"preset {named!r}: {error}" if named else str(error)) from None
    anywhere = Workspace(Path("/"))
    for file in preset.files:
        try:
            if file.folder in LEGACY_FOLDERS:
                raise InvalidName(f"'{file.folder}' is called '{LEGACY_FOLDERS[file.folder]}' in ComfyUI today")
            anywhere.model_file(file.folder, file.name)
        except InvalidName as error:
            raise InvalidRequest(f"preset '{preset.id}': {error.message}") from None
        if urlsplit(file.url).scheme not in {"http", "https"} or not urlsplit(file.url).hostname:
            raise InvalidRequest(f"preset '{preset.id}': '{file.url[:200]}' is not an http address")
        if "/blob/" in urlsplit(file.url).path and urlsplit(file.url).hostname == "huggingface.co":
            raise InvalidRequest(
                f"preset '{preset.id}': '{file.url}' is a web page; the file is at /resolve/ instead of /blob/"
            )
    if len({file.id for file in preset.files}) < len(preset.files):
        raise InvalidRequest(f"preset '{preset.id}': two of its files have the same folder and name")
    return preset
