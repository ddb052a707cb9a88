"""The workflows as the pages and the API show them: those on the volume, then ComfyUI's own templates."""

import asyncio
import contextlib
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote

from msgspec import Struct

from dashboard.suite import Suite
from services import embedded, log
from services.catalogue import Catalogue
from services.errors import InvalidName, NotFound, SuiteError, Unavailable
from services.presets import Kind
from services.templates import TemplateSummary
from services.workflows import SavedWorkflow, Source
from services.workflows.document import Document, node_count, read_document_file
from services.workflows.saved import Format
from services.workspace import Workspace

# Which workflows are looked for.
Wanted = Literal["user", "presets", "templates", ""]
_OUTPUTS = "/outputs/"
# How long someone who adds a workflow waits for its picture, while others are made.
PICTURE_SECONDS = 10.0

_log = log.get("workflows")


class WorkflowSummary(Struct, frozen=True):
    """`kind`: what its preset or template makes. `nodes` is None for ComfyUI's own templates (`is_official`), which
    are read when they are asked for. `modified` in Unix seconds."""

    name: str
    title: str
    source: Source
    format: Format
    nodes: int | None = None
    kind: Kind | None = None
    description: str = ""
    modified: float | None = None
    is_official: bool = False
    thumbnail_url: str | None = None


class Saved(Struct, frozen=True):
    name: str
    format: Format
    nodes: int


async def find(suite: Suite, wanted: Wanted = "", search: str = "") -> list[WorkflowSummary]:
    """By source and title, official templates last and what is used most first. `search`: words that the title, the
    name or the description must hold."""
    shelf = await suite.library.shelf()
    made = _made(suite)
    found = [_of_saved(saved, shelf.catalogue, made.get(saved.name)) for saved in shelf.workflows]
    names = {one.name for one in found}
    templates = (one for one in await suite.library.templates() if one.name not in names)
    found += [_of_template(one, made.get(one.name)) for one in templates]
    words = search.lower().split()
    return [one for one in found if (not wanted or one.source == wanted) and _fits(one, words)]


async def keep(suite: Suite, name: str, file: Path, *, replace: bool) -> Saved:
    """The workflow that `file` carries, as the user's own, with a small picture of the file if it is one.

    Raises InvalidRequest, Conflict, NotEnoughSpace, WorkspaceUnavailable.
    """
    document = await suite.workbench.run(read_document_file, file)
    saved = await save(suite, name, document, replace=replace)
    if await asyncio.to_thread(_is_picture, file):
        await keep_picture(suite, name, file)
    return saved


async def save(
    suite: Suite, name: str, document: Document, *, replace: bool = True, keep_picture: bool = False
) -> Saved:
    """Raises InvalidRequest, Conflict, NotEnoughSpace, WorkspaceUnavailable."""
    try:
        format_ = await suite.volume.write(
            lambda: suite.library.workflows.save(name, document, replace=replace, keep_picture=keep_picture)
        )
    finally:
        suite.library.forget()
    saved = Saved(name, format_, node_count(document))
    _log.info("workflow_saved", workflow=name, format=format_, nodes=saved.nodes)
    return saved


async def keep_picture(suite: Suite, name: str, file: Path) -> None:
    """A small one of the picture `file` beside the workflow, which is saved: that it has no picture is no error."""
    try:
        async with asyncio.timeout(PICTURE_SECONDS):
            picture = await suite.thumbnails.of(file)
        await suite.volume.write(suite.library.workflows.save_picture, name, picture)
    except (TimeoutError, SuiteError) as error:
        _log.warning("workflow_picture_not_kept", workflow=name, reason=str(error))
    suite.library.forget()


async def picture(suite: Suite, name: str) -> Path:
    """The one beside the workflow, else of what it made last. Raises NotFound, Unavailable."""
    try:
        beside = await suite.volume.run(suite.library.workflows.picture, name)
    except NotFound:
        # Official templates, and those of presets that nothing saved.
        beside = None
    if beside is not None:
        return beside
    if (made := _made(suite).get(name)) is not None and not _is_older(suite, name, made):
        return await suite.thumbnails.of(made.file)
    raise NotFound(f"there is no picture of the workflow '{name[:100]}'")


async def rename(suite: Suite, name: str, new: str) -> Saved:
    """Raises NotFound, InvalidRequest, Conflict, NotEnoughSpace, WorkspaceUnavailable."""
    shown = None
    with contextlib.suppress(NotFound, Unavailable):
        # What it made, it made under its old name.
        shown = await picture(suite, name)
    try:
        await suite.volume.write(suite.library.workflows.rename, name, new)
        if shown is not None and shown.exists():
            await suite.volume.write(suite.library.workflows.save_picture, new, shown)
    finally:
        suite.library.forget()
    document = await suite.library.document(new)
    _log.info("workflow_renamed", workflow=name, name=new)
    return Saved(new, "graph" if document.graph is not None else "prompt", node_count(document))


async def delete(suite: Suite, name: str) -> None:
    """Raises NotFound, InvalidName, WorkspaceUnavailable."""
    try:
        await suite.volume.write(suite.library.workflows.delete, name)
    finally:
        suite.library.forget()
    _log.info("workflow_deleted", workflow=name)


def _is_picture(file: Path) -> bool:
    with file.open("rb") as opened:
        return embedded.is_picture(opened)


class _Made(Struct, frozen=True):
    """A picture that a workflow made."""

    file: Path
    prompt_id: str
    submitted_at: float


def _made(suite: Suite) -> dict[str, _Made]:
    """By workflow, the newest picture among the outputs of its runs."""
    workspace, found = Workspace(suite.settings.workspace), {}
    for run in suite.runs.recent():
        if run.workflow is None or run.state != "success" or run.workflow in found:
            continue
        for output in run.outputs:
            with contextlib.suppress(InvalidName):
                if output.media == "image" and output.url.startswith(_OUTPUTS):
                    file = workspace.output_file(unquote(output.url.removeprefix(_OUTPUTS)))
                    found[run.workflow] = _Made(file, run.prompt_id, run.submitted_at)
                    break
    return found


def _is_older(suite: Suite, name: str, made: _Made) -> bool:
    """Another workflow may have had the name then."""
    saved = {one.name: one.modified for one in suite.library.newest().workflows}
    return made.submitted_at < saved.get(name, 0.0)


def _of_saved(saved: SavedWorkflow, catalogue: Catalogue, made: _Made | None) -> WorkflowSummary:
    shown = None if saved.picture_modified is None else f"{saved.picture_modified:.0f}"
    if shown is None and made is not None and made.submitted_at >= saved.modified:
        shown = made.prompt_id
    preset = catalogue.presets.get(saved.name) if saved.source == "presets" else None
    return WorkflowSummary(
        saved.name,
        saved.title,
        saved.source,
        saved.format,
        saved.nodes,
        kind=preset.kind if preset else None,
        description=preset.description if preset else "",
        modified=saved.modified,
        thumbnail_url=_thumbnail_url(saved.name, shown),
    )


def _of_template(template: TemplateSummary, made: _Made | None) -> WorkflowSummary:
    return WorkflowSummary(
        template.name,
        template.title,
        "templates",
        "graph",
        kind=template.kind,
        description=template.description,
        is_official=True,
        thumbnail_url=_thumbnail_url(template.name, made.prompt_id if made else None),
    )


def _thumbnail_url(name: str, version: str | None) -> str | None:
    return f"/api/workflows/{quote(name, safe='')}/thumbnail?v={version}" if version else None


def _fits(summary: WorkflowSummary, words: list[str]) -> bool:
    if not words:
        return True
    text = f"{summary.title} {summary.name} {summary.description}".lower()
    return all(word in text for word in words)
