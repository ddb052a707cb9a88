"""Every preset known: the curated files in `presets/`, and the user's own on the volume."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from services import yaml_files
from services.artifacts import Artifact
from services.errors import InvalidName, InvalidRequest, NotFound
from services.model_folders import LEGACY_FOLDERS
from services.presets import Preset
from services.workspace import Workspace

# What an address may be written with (RFC 3986): `urlsplit` drops a line's end, and the request then fails on it.
_VISIBLE = re.compile(r"[!-~]+")


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
    presets: list[Preset] = []
    problems: list[Problem] = []
    for file in sorted(curated.glob("*/*.yaml")):
        try:
            presets.append(parse_preset(yaml_files.read(file)))
        except (InvalidRequest, OSError) as error:
            problems.append(Problem(file.relative_to(curated.parent).as_posix(), str(error)))
    if workspace.user_presets_file.exists():
        users = _users_catalogue(workspace.user_presets_file)
        presets += users
        problems += users.problems
    return Catalogue(presets, problems)


def _users_catalogue(path: Path) -> Catalogue:
    try:
        entries = _users_entries(path)
    except (InvalidRequest, OSError) as error:
        return Catalogue(problems=[Problem(str(path), str(error))])
    presets: dict[str, Preset] = {}
    problems: list[Problem] = []
    for number, entry in enumerate(entries, start=1):
        try:
            preset = parse_preset(entry)
            if preset.id in presets:
                raise InvalidRequest(f"the id '{preset.id}' stands in this file already")
            presets[preset.id] = preset
        except InvalidRequest as error:
            problems.append(Problem(f"{path}, preset {number}", error.message))
    return Catalogue(presets.values(), problems)


def _users_entries(path: Path) -> list[Any]:
    content = yaml_files.read(path)
    entries = content.get("presets") if isinstance(content, Mapping) else None
    if not isinstance(entries, list):
        raise InvalidRequest(f"{path}: it must hold a list named 'presets'")
    return entries


def parse_preset(entry: Any) -> Preset:
    """A preset from plain values. Raises InvalidRequest, naming the field."""
    try:
        preset = msgspec.convert(entry, Preset)
    except msgspec.ValidationError as error:
        named = entry.get("id") if isinstance(entry, Mapping) else None
        raise InvalidRequest(f"preset '{str(named)[:100]}': {error}" if named else str(error)) from None
    try:
        for file in preset.files:
            _check_place(file)
            for url in (file.url, *file.mirrors):
                _check_address(url)
    except InvalidRequest as error:
        raise InvalidRequest(f"preset '{preset.id}': {error.message}") from None
    if len({file.id for file in preset.files}) < len(preset.files):
        raise InvalidRequest(f"preset '{preset.id}': two of its files have the same folder and name")
    return preset


def _check_place(file: Artifact) -> None:
    """Raises InvalidName when the file could lie anywhere but in a folder of models."""
    if file.folder in LEGACY_FOLDERS:
        raise InvalidName(f"'{file.folder}' is called '{LEGACY_FOLDERS[file.folder]}' in ComfyUI today")
    Workspace(Path("/nonexistent")).model_file(file.folder, file.name)


def _check_address(url: str) -> None:
    """Raises InvalidRequest when no file can be fetched from `url`."""
    try:
        parts = urlsplit(url)
        is_http = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        # Half a bracket, or a port that is no number.
        is_http = False
    if not is_http or not _VISIBLE.fullmatch(url):
        raise InvalidRequest(f"'{url[:200]}' is not an http address")
    if "/blob/" in parts.path and parts.hostname == "huggingface.co":
        raise InvalidRequest(f"'{url[:200]}' is a web page; the file is at /resolve/ instead of /blob/")
