"""ComfyUI's official templates, from the package `comfyui-workflow-templates-json`: those that name model files become
presets.

`templates/index.json` of the package lists them by category; `templates/<name>.json` is each one's workflow as the
editor saves it. Its nodes name the files they need in `properties.models`, in subgraphs and group nodes too.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from services.artifacts import Artifact
from services.errors import NotFound
from services.presets import InvalidPreset, Kind, Preset, PresetId, Problem, check_file, is_address

_KINDS: dict[str, Kind] = {"image": "image", "video": "video", "audio": "audio", "3d": "3d", "llm": "text"}

_PACKAGE = "comfyui-workflow-templates-json"


class PassedOver(Struct, frozen=True):
    """A file as the preset names it a second time, at another address than the one it is fetched from."""

    preset_id: str
    file: Artifact


class TemplateSet(Struct, frozen=True):
    """`count`: of all the templates that were read, with files or not."""

    presets: tuple[Preset, ...] = ()
    problems: tuple[Problem, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()
    count: int = 0


class TemplateSummary(Struct, frozen=True):
    """What the index says of one; its graph is read when it is asked for. `usage`: how often one is run, of no unit."""

    name: str
    title: str
    description: str
    kind: Kind
    usage: int | None


class Templates:
    """The templates in `folder`; None: in the package. Nothing is kept between calls."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def read(self) -> TemplateSet:
        """Those that name files, as presets. What does not fit is a problem and leaves the rest alone."""
        reading = _Reading(self._folder or _package_folder())
        reading.read()
        return reading.result()

    def summaries(self) -> tuple[TemplateSummary, ...]:
        """All of them, what is used most first. None where the index cannot be read, which `read` says."""
        found = (
            TemplateSummary(one.name, one.title, one.description, kind, one.usage)
            for one, kind in _listed(self._folder or _package_folder(), [])
        )
        return tuple(sorted(found, key=lambda one: -(one.usage or 0)))

    def graph(self, name: str) -> bytes:
        """The workflow of the template `name`, JSON as the editor saves it. Raises NotFound, OSError."""
        folder = self._folder or _package_folder()
        # Held against the index, so that `name` leads to no other file.
        if not any(name == template.name for template, _ in _listed(folder, [])):
            raise NotFound(f"there is no template '{name[:100]}'")
        return (folder / f"{name}.json").read_bytes()


def _package_folder() -> Path:
    # Here, because the boot has no use for it.
    import comfyui_workflow_templates_json  # type: ignore[import-untyped]

    return Path(comfyui_workflow_templates_json.__file__).parent / "templates"


class _Category(Struct):
    type: str
    templates: list[Raw]


class _Template(Struct, rename="camel"):
    name: PresetId
    title: str
    description: str = ""
    tags: tuple[str, ...] = ()
    usage: int | None = None
    open_source: bool | None = None
    size: int | None = None
    tutorial_url: str | None = None
    min_version: str | None = msgspec.field(default=None, name="minComfyUIVersion")


class _Model(Struct):
    name: str
    url: str
    directory: str
    hash: str | None = None
    hash_type: str | None = None


class _Properties(Struct):
    models: list[Raw] = []


class _Node(Struct):
    properties: Raw = Raw(b"{}")


class _Graph(Struct):
    nodes: list[_Node] = []
    definitions: "_Definitions | None" = None


class _Definitions(Struct):
    subgraphs: list[_Graph] = []


class _Extra(Struct, rename="camel"):
    group_nodes: dict[str, _Graph] = {}


class _Workflow(_Graph):
    extra: _Extra | None = None


_WORKFLOW = msgspec.json.Decoder(_Workflow)
_PROPERTIES = msgspec.json.Decoder(_Properties)
_MODEL = msgspec.json.Decoder(_Model)


class _Reading:
    """One look at all the templates: what each names first, because the address that most name is preferred."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._problems: list[Problem] = []
        self._named: list[tuple[_Template, Kind, tuple[Artifact, ...]]] = []
        self._count = 0
        # Most templates name files that others name too: checked once, held once. An error says why one does not fit.
        self._known: dict[Artifact, Artifact | InvalidPreset] = {}
        self._digests: dict[str, str | None] = {}

    def read(self) -> None:
        for template, kind in _listed(self._folder, self._problems):
            try:
                data = (self._folder / f"{template.name}.json").read_bytes()
                models = list(self._models(template.name, data)) if b'"models"' in data else []
            except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                self._problems.append(_problem(template.name, str(error)))
                continue
            self._count += 1
            files = (self._file(template.name, model) for model in models)
            if kept := tuple(dict.fromkeys(file for file in files if file)):
                self._named.append((template, kind, kept))

    def result(self) -> TemplateSet:
        votes = Counter(file for _, _, files in self._named for file in files)
        verified = {file: self._with_digest(file) for file in votes}
        presets: list[Preset] = []
        passed_over: list[PassedOver] = []
        for template, kind, files in self._named:
            chosen: dict[str, Artifact] = {}
            for file in files:
                known = chosen.setdefault(file.id, file)
                chosen[file.id] = min(known, file, key=lambda one: (-votes[one], one.url))
            passed_over += [PassedOver(template.name, file) for file in files if chosen[file.id] is not file]
            presets.append(_preset(template, kind, tuple(verified[file] for file in chosen.values())))
        return TemplateSet(tuple(presets), tuple(self._problems), tuple(passed_over), self._count)

    def _models(self, name: str, data: bytes) -> Iterator[_Model]:
        for properties in _properties(_WORKFLOW.decode(data)):
            if b'"models"' not in bytes(properties):
                continue
            try:
                entries = _PROPERTIES.decode(properties).models
            except msgspec.ValidationError as error:
                self._problems.append(_problem(name, f"properties.models: {error}"))
                continue
            for entry in entries:
                try:
                    yield _MODEL.decode(entry)
                except msgspec.ValidationError as error:
                    self._problems.append(_problem(name, f"{bytes(entry)[:200].decode(errors='replace')}: {error}"))

    def _file(self, name: str, model: _Model) -> Artifact | None:
        """None: it does not fit, and is a problem."""
        # Hugging Face's way of asking browsers to save what they get: the same bytes.
        is_there = model.url.startswith("https://huggingface.co/")
        url = model.url.removesuffix("?download=true") if is_there else model.url
        file = self._checked(Artifact(url, model.directory, model.name))
        if isinstance(file, InvalidPreset):
            self._problems.append(_problem(name, f"the file '{model.name[:100]}' is left out: {file.message}"))
            return None
        if model.hash:
            self._note_digest(name, url, model)
        return file

    def _checked(self, file: Artifact) -> Artifact | InvalidPreset:
        if file not in self._known:
            try:
                check_file(file)
                self._known[file] = file
            except InvalidPreset as error:
                self._known[file] = error
        return self._known[file]

    def _note_digest(self, name: str, url: str, model: _Model) -> None:
        digest = (model.hash or "").lower()
        if (model.hash_type or "").upper() != "SHA256":
            return
        if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            self._problems.append(_problem(name, f"'{model.hash}' is no SHA-256 of '{model.name}'"))
        elif self._digests.setdefault(url, digest) != digest:
            # Either may be wrong, and a wrong one would refuse the right bytes.
            self._digests[url] = None
            self._problems.append(_problem(name, f"'{model.name}' has another SHA-256 here than in other templates"))

    def _with_digest(self, file: Artifact) -> Artifact:
        digest = self._digests.get(file.url)
        return replace(file, sha256=digest) if digest else file


def _listed(folder: Path, problems: list[Problem]) -> Iterator[tuple[_Template, Kind]]:
    """Every template of the index, once. What does not fit is added to `problems`."""
    try:
        categories = msgspec.json.decode((folder / "index.json").read_bytes(), type=list[_Category])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        problems.append(_problem("index.json", str(error)))
        return
    seen: set[str] = set()
    for category in categories:
        if category.type not in _KINDS:
            problems.append(_problem("index.json", f"templates of the type '{category.type}' are shown as images"))
        for entry in category.templates:
            try:
                template = msgspec.json.decode(entry, type=_Template)
            except msgspec.ValidationError as error:
                problems.append(_problem("index.json", f"{bytes(entry)[:60].decode(errors='replace')}…: {error}"))
                continue
            if template.name in seen:
                problems.append(_problem("index.json", f"'{template.name}' is listed twice"))
                continue
            seen.add(template.name)
            yield template, _KINDS.get(category.type, "image")


def _properties(workflow: _Workflow) -> Iterator[Raw]:
    """Those of every node, at any depth."""
    waiting: list[_Graph] = [workflow]
    if workflow.extra:
        waiting += workflow.extra.group_nodes.values()
    while waiting:
        graph = waiting.pop(0)
        yield from (node.properties for node in graph.nodes)
        if graph.definitions:
            waiting += graph.definitions.subgraphs


def _preset(template: _Template, kind: Kind, files: tuple[Artifact, ...]) -> Preset:
    return Preset(
        id=template.name,
        name=template.title,
        kind=kind,
        description=template.description,
        files=files,
        tags=template.tags,
        origin="official",
        usage=template.usage,
        open_source=template.open_source,
        min_comfyui_version=template.min_version or None,
        # It becomes a link on a page.
        tutorial=template.tutorial_url if template.tutorial_url and is_address(template.tutorial_url) else None,
        estimated_bytes=template.size or None,
    )


def _problem(name: str, message: str) -> Problem:
    return Problem(f"{_PACKAGE}, {name}", message)
