"""`preset-manager list`"""

import argparse

from msgspec import Struct
from rich.table import Table

from services import standing
from services.presets import Preset, Problem
from services.standing import PresetState
from tools.preset_manager import output, words
from tools.preset_manager.context import Context
from tools.preset_manager.endings import Ending

# What a name needs to say anything, and what the columns beside it take.
NAME_COLUMNS = 16
OTHER_COLUMNS = 36


class Listed(Struct, frozen=True):
    """`size_bytes`: None while a file's size is not known; `estimated_bytes` is what ComfyUI's templates say then."""

    id: str
    name: str
    kind: str
    origin: str
    size_bytes: int | None
    estimated_bytes: int | None
    state: PresetState
    progress: float | None
    tags: tuple[str, ...]


class List(Struct, frozen=True):
    presets: list[Listed]
    problems: tuple[Problem, ...]


def run(context: Context, asked: argparse.Namespace) -> Ending:
    view = context.whole_view()
    found = []
    for known in context.catalogue:
        if (asked.kind and known.kind != asked.kind) or not _matches(known, asked.words):
            continue
        preset = context.sized(known)
        status = standing.status(preset, view)
        if asked.installed and status.state != "installed":
            continue
        progress = status.progress if status.state not in {"available", "installed"} else None
        found.append(
            Listed(
                preset.id,
                preset.name,
                preset.kind,
                preset.origin,
                preset.size_bytes or status.bytes_total,
                preset.estimated_bytes,
                status.state,
                progress,
                preset.tags,
            )
        )
    found.sort(key=lambda listed: (listed.kind, listed.id.lower()))
    _show(context, found)
    context.output.document(List(found, context.catalogue.problems))
    return Ending.DONE


def _matches(preset: Preset, wanted: list[str]) -> bool:
    text = " ".join((preset.id, preset.name, preset.description, *preset.tags, *preset.aliases)).lower()
    return all(word.lower() in text for word in wanted)


def _show(context: Context, found: list[Listed]) -> None:
    if found:
        context.output.show(_table(found, context.output.console.width))
        context.output.say()
    installed = sum(listed.state == "installed" for listed in found)
    context.output.say(f"{words.count(len(found), 'preset')}, {installed} installed", "dim")
    if context.catalogue.problems:
        many = words.count(len(context.catalogue.problems), "entry", "entries")
        context.output.complain(f"{many} of the catalogue cannot be used: preset-manager doctor", "yellow")


def _table(found: list[Listed], width: int) -> Table:
    """The id is what the other commands take: it stays whole, and what has no room beside it goes."""
    widest = max(len(listed.id) for listed in found)
    has_kinds = width >= widest + OTHER_COLUMNS
    has_names = width >= widest + OTHER_COLUMNS + NAME_COLUMNS
    between = (*(["NAME"] if has_names else []), *(["KIND"] if has_kinds else []))
    shown = output.table("ID", *between, "SIZE", "STATE", gives_way="NAME" if has_names else "ID", right={"SIZE"})
    for listed in found:
        told = {"NAME": output.cut(listed.name), "KIND": output.cut(listed.kind)}
        state = output.state(words.progress(listed.state, listed.progress), listed.state)
        shown.add_row(listed.id, *(told[name] for name in between), _size(listed), state)
    return shown


def _size(listed: Listed) -> str:
    if listed.size_bytes is None and listed.estimated_bytes is not None:
        return f"~{words.size(listed.estimated_bytes)}"
    return words.size(listed.size_bytes)
