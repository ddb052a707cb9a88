"""Every preset known: ComfyUI's official templates, the curated files in `presets/`, and the user's own on the volume.

Where two have the same id, the user's comes before the curated one, and that before the official one.
"""

import operator
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from services import yaml_files
from services.artifacts import Artifact
from services.errors import NotFound
from services.presets import InvalidPreset, Origin, Preset, Problem, Where, parse_preset
from services.templates import PassedOver, Templates, TemplateSet
from services.workspace import Workspace
from services.yaml_files import Document, InvalidYaml

_T = TypeVar("_T")


class Conflict(Struct, frozen=True):
    """A model file that has more than one address: each with the ids of the presets that name it, most named first."""

    artifact_id: str
    folder: str
    name: str
    urls: dict[str, tuple[str, ...]]


class Catalogue:
    """Every preset known, by id. `problems` are what could not be read; they never take the others down.

    `passed_over`: files of presets at addresses that are not used.
    """

    def __init__(
        self,
        presets: Iterable[Preset] = (),
        problems: Iterable[Problem] = (),
        passed_over: Iterable[PassedOver] = (),
    ) -> None:
        self.presets: dict[str, Preset] = {preset.id: preset for preset in presets}
        self.passed_over = tuple(passed_over)
        self._aliases, clashes = _aliases(self.presets)
        # A catalogue made from another one finds the same clashes anew.
        self.problems = tuple(dict.fromkeys([*problems, *clashes]))
        self._by_artifact: dict[str, tuple[Preset, ...]] = {}
        self._by_file_name: dict[str, tuple[Preset, ...]] = {}
        for preset in self:
            for file in preset.files:
                _append(self._by_artifact, file.id, preset)
                _append(self._by_file_name, _last_part(file.name), preset)

    def __iter__(self) -> Iterator[Preset]:
        return iter(self.presets.values())

    def __len__(self) -> int:
        return len(self.presets)

    def get(self, preset_id: str) -> Preset:
        """The preset with this id, else the one with this alias. Raises NotFound."""
        try:
            return self.presets.get(preset_id) or self.presets[self._aliases[preset_id]]
        except KeyError:
            raise NotFound(f"there is no preset '{preset_id[:100]}'") from None

    def knows(self, preset_id: str) -> bool:
        """By its id or an alias."""
        return preset_id in self.presets or preset_id in self._aliases

    @property
    def aliases(self) -> Mapping[str, str]:
        """The id that each alias stands for."""
        return self._aliases

    @property
    def artifact_ids(self) -> Collection[str]:
        """Of every file that any preset brings."""
        return self._by_artifact.keys()

    def presets_with(self, artifact_id: str) -> tuple[Preset, ...]:
        return self._by_artifact.get(artifact_id, ())

    def presets_with_file_name(self, name: str) -> tuple[Preset, ...]:
        """Presets that bring a file called `name`, whatever its folder."""
        return self._by_file_name.get(_last_part(name), ())

    def sized(self, sizes: Mapping[str, int]) -> "Catalogue":
        """The same presets, with the sizes that are known of addresses where they name none themselves."""
        presets = [_with_sizes(preset, sizes) for preset in self]
        if all(map(operator.is_, presets, self)):
            return self
        return Catalogue(presets, self.problems, self.passed_over)

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        """The files with more than one address. Each preset keeps the one that it names itself."""
        found = []
        for id_, presets in self._by_artifact.items():
            if len(urls := self._urls(id_)) > 1:
                file = next(file for file in presets[0].files if file.id == id_)
                found.append(Conflict(id_, file.folder, file.name, urls))
        return tuple(found)

    def _urls(self, artifact_id: str) -> dict[str, tuple[str, ...]]:
        urls: dict[str, tuple[str, ...]] = {}
        for preset in self.presets_with(artifact_id):
            for file in preset.files:
                if file.id == artifact_id:
                    _append(urls, file.url, preset.id)
        for other in self.passed_over:
            # Another preset may have taken its id.
            is_named = other.preset_id in self.presets and self.presets[other.preset_id].origin == "official"
            if is_named and other.file.id == artifact_id:
                _append(urls, other.file.url, other.preset_id)
        return dict(sorted(urls.items(), key=lambda entry: (-len(entry[1]), entry[0])))


def load_catalogue(curated: Path, workspace: Workspace) -> Catalogue:
    """All three sources; the curated presets are those below `curated`."""
    return with_users(load_shipped(curated), workspace)


def load_shipped(curated: Path, templates: TemplateSet | None = None) -> Catalogue:
    """The official and the curated presets, which stay the same as long as the suite runs.

    `templates`: None reads those of the package.
    """
    official = templates or Templates().read()
    presets: list[Preset] = []
    problems: list[Problem] = []
    for file in sorted(curated.glob("*/*.yaml")):
        found, wrong = read_presets(file, "curated", file.relative_to(curated.parent).as_posix())
        presets += found
        problems += wrong
    facts = {url: file for preset in presets for file in preset.files for url in (file.url, *file.mirrors)}
    informed = [_with_facts(preset, facts) for preset in official.presets]
    return Catalogue([*informed, *presets], [*official.problems, *problems], official.passed_over)


def with_users(shipped: Catalogue, workspace: Workspace) -> Catalogue:
    """`shipped`, and the user's `config/presets.yaml`, whose ids win."""
    path = workspace.user_presets_file
    # lexists: a link that leads nowhere is worth a word.
    if not os.path.lexists(path):
        return shipped
    presets, problems = read_presets(path, "user", str(path))
    return Catalogue([*shipped, *presets], [*shipped.problems, *problems], shipped.passed_over)


def read_presets(path: Path, origin: Origin, source: str) -> tuple[list[Preset], list[Problem]]:
    """The presets of one file, which holds one or a list named `presets`; `source` is its name in problems."""
    try:
        document = yaml_files.read_document(path)
        entries = _entries(document)
    except InvalidYaml as error:
        return [], [Problem(_at(source, error.line), error.reason)]
    except OSError as error:
        return [], [Problem(source, f"it cannot be read: {error.strerror or error}")]
    presets: dict[str, Preset] = {}
    problems: list[Problem] = []
    for where, entry in entries:
        try:
            preset = parse_preset(entry, origin)
            if preset.id in presets:
                raise InvalidPreset(f"preset '{preset.id}': id: stands in this file already", ("id",))
            presets[preset.id] = preset
        except InvalidPreset as error:
            problems.append(Problem(_at(source, document.line_of((*where, *error.where))), error.message))
    return list(presets.values()), problems


def _entries(document: Document) -> list[tuple[Where, Any]]:
    """What should be presets, and where each stands."""
    content = document.value
    if isinstance(content, Mapping) and "id" in content and "presets" not in content:
        return [((), content)]
    entries = content.get("presets") if isinstance(content, Mapping) else None
    if not isinstance(entries, list):
        raise InvalidYaml("", "it must hold a list named 'presets'", document.line_of(("presets",)))
    return [(("presets", number), entry) for number, entry in enumerate(entries)]


def _at(source: str, line: int | None) -> str:
    return f"{source}, line {line}" if line else source


def _with_facts(preset: Preset, facts: Mapping[str, Artifact]) -> Preset:
    """`preset` with the sizes and digests that are known of the same addresses; what it says itself stays."""
    files = tuple(
        replace(file, size_bytes=file.size_bytes or known.size_bytes, sha256=file.sha256 or known.sha256)
        if (known := facts.get(file.url))
        else file
        for file in preset.files
    )
    return replace(preset, files=files) if files != preset.files else preset


def _with_sizes(preset: Preset, sizes: Mapping[str, int]) -> Preset:
    if all(file.size_bytes is not None or file.url not in sizes for file in preset.files):
        return preset
    files = (replace(file, size_bytes=file.size_bytes or sizes.get(file.url)) for file in preset.files)
    return replace(preset, files=tuple(files))


def _aliases(presets: dict[str, Preset]) -> tuple[dict[str, str], list[Problem]]:
    """Which id each alias stands for. One that is an id already, or is claimed twice, is a problem."""
    aliases: dict[str, str] = {}
    problems: list[Problem] = []
    # The user's come last, and win over an alias as they do over an id.
    for preset in reversed(presets.values()):
        for alias in preset.aliases:
            owner = alias if alias in presets else aliases.setdefault(alias, preset.id)
            if owner != preset.id or alias == preset.id:
                reason = "is an id" if alias in presets else f"stands for '{owner}' already"
                problems.append(Problem(f"preset '{preset.id}'", f"its alias '{alias}' {reason}"))
    return aliases, problems


def _last_part(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _append(index: dict[str, tuple[_T, ...]], key: str, value: _T) -> None:
    index[key] = (*index.get(key, ()), value)
