"""`preset-manager uninstall`"""

import argparse
import os
import time
from collections.abc import Collection
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from services import journal, log, removals
from services.artifacts import Artifact
from services.presets import Preset
from services.references import SavedWorkflows
from services.removals import Kept, Removal
from services.workflows import Workflows
from tools.preset_manager import output, words
from tools.preset_manager.context import Context
from tools.preset_manager.endings import Ending

# How long a worker may take to let go of a file, and how often is looked whether it did.
LET_GO_SECONDS = 3.0
LOOK_SECONDS = 0.1

_log = log.get("uninstalling")


class Leaving(Struct, frozen=True):
    """A file that goes; `size_bytes`: what becomes free with it, partial data too."""

    id: str
    folder: str
    name: str
    size_bytes: int


class Uninstalled(Struct, frozen=True):
    """What was removed, or would be (`dry_run`)."""

    presets: tuple[str, ...]
    removed: tuple[Leaving, ...]
    kept: tuple[Kept, ...]
    freed_bytes: int
    dry_run: bool


def run(context: Context, asked: argparse.Namespace) -> Ending:
    presets = context.presets(asked.ids)
    found = _removals(context, presets)
    planned = _outcome(context, presets, found, dry_run=asked.dry_run)
    _show(context, planned)
    if asked.dry_run:
        context.output.document(planned)
        return Ending.DONE
    if not planned.removed and not any(preset.id in context.installs.all() for preset in presets):
        context.output.document(planned)
        return Ending.DONE
    if not asked.yes and (ending := _ask(context, planned)) is not None:
        return ending
    # While someone was asked, another may have been installed that needs one of the files.
    now = _removals(context, presets)
    freed = sum(
        _remove(context, preset, {*found[preset.id].leaving} & {*now[preset.id].leaving} | {*now[preset.id].in_place})
        for preset in presets
    )
    context.output.say(f"Uninstalled; {words.size(freed)} became free", "green")
    context.output.document(replace(planned, freed_bytes=freed))
    return Ending.DONE


def _removals(context: Context, presets: list[Preset]) -> dict[str, Removal]:
    """As if all of `presets` had gone already: they do not keep one another's files."""
    view, leaving = context.whole_view(), {preset.id for preset in presets}
    gone = replace(
        view,
        installs={id_: install for id_, install in view.installs.items() if id_ not in leaving},
        removed=view.removed | leaving,
    )
    references = SavedWorkflows(context.workspace).references()
    return {
        preset.id: removals.of_preset(preset, context.catalogue, gone, context.models, references) for preset in presets
    }


def _outcome(context: Context, presets: list[Preset], found: dict[str, Removal], *, dry_run: bool) -> Uninstalled:
    going = {file.id: file for preset in presets for file in preset.files if file.id in found[preset.id].leaving}
    kept = {kept.id: kept for removal in found.values() for kept in removal.kept}
    leaving = [
        Leaving(id_, file.folder, file.name, _size(files))
        for id_, file in going.items()
        if (files := _files(context, file))
    ]
    return Uninstalled(
        presets=tuple(preset.id for preset in presets),
        removed=tuple(leaving),
        kept=tuple(entry for entry in kept.values() if entry.id in context.models),
        freed_bytes=sum(file.size_bytes for file in leaving),
        dry_run=dry_run,
    )


def _files(context: Context, artifact: Artifact) -> list[Path]:
    target = context.workspace.model_file(artifact.folder, artifact.name)
    return [file for file in (target, journal.part_file(target)) if file.is_file() and not file.is_symlink()]


def _size(files: list[Path]) -> int:
    """What becomes free; the bytes of a file with further names stay."""
    return sum(figures.st_size for file in files if (figures := file.stat()).st_nlink == 1)


def _show(context: Context, planned: Uninstalled) -> None:
    out = context.output
    shown = output.table("", "FOLDER", "FILE", "SIZE", gives_way="FILE", right={"SIZE"})
    for file in planned.removed:
        shown.add_row(output.state("goes", "failed"), file.folder, output.cut(file.name), words.size(file.size_bytes))
    for kept in planned.kept:
        size = context.models[kept.id].size_bytes
        shown.add_row(output.state("stays", "installed"), kept.folder, output.cut(kept.name), words.size(size))
    if planned.removed or planned.kept:
        out.show(shown)
    for kept in planned.kept:
        out.say(f"{kept.folder}/{kept.name} stays: {kept.reason}", "yellow")
    verb = "would become" if planned.dry_run else "will become"
    out.say(f"{words.size(planned.freed_bytes)} {verb} free" if planned.removed else "There is nothing to remove")


def _ask(context: Context, planned: Uninstalled) -> Ending | None:
    """How it ends without doing anything; None to go on."""
    if not context.output.is_terminal:
        context.output.complain("nobody can be asked here: say --yes to uninstall, or --dry-run to look only")
        return Ending.USAGE
    is_wanted = context.output.confirm(f"Uninstall {', '.join(planned.presets)}?")
    return None if is_wanted else Ending.FAILED


def _remove(context: Context, preset: Preset, leaving: Collection[str]) -> int:
    """The bytes that became free. First of all it is no longer wanted: what is removed would be fetched again."""
    context.installs.remove(preset)
    _let_go(context, leaving)
    freed = 0
    removed: list[str] = []
    kept: list[str] = []
    for file in preset.files:
        path = context.workspace.model_file(file.folder, file.name)
        is_here = os.path.lexists(path)
        if file.id in leaving:
            context.installs.release(file.id)
            freed += context.index.delete_artifact(file)
        if is_here:
            (removed if file.id in leaving else kept).append(f"{file.folder}/{file.name}")
    _log.info("preset_uninstalled", preset_id=preset.id, removed=removed, kept=kept, freed_bytes=freed)
    Workflows(context.workspace).delete_of_preset(preset)
    context.suite.ring()
    return freed


def _let_go(context: Context, ids: Collection[str]) -> None:
    """Until no worker holds them: what is being downloaded would come back after it was removed."""
    moving = {id_ for id_, live in context.suite.progress().items() if live.is_moving} & set(ids)
    context.suite.stop(ids)
    until = time.monotonic() + LET_GO_SECONDS
    while moving and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        moving = {id_ for id_, live in context.suite.progress().items() if live.is_moving} & moving
