"""`preset-manager plan`"""

import argparse
from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace
from rich.table import Table
from rich.text import Text

from services import plans
from services.gpus import Gpus
from services.installs import View
from services.plans import Models, Plan, PlannedFile, Room
from services.presets import Preset
from tools.preset_manager import hosts, output, refusals, words
from tools.preset_manager.context import Context
from tools.preset_manager.endings import Ending

_STATES = {
    "present": "here",
    "unchecked": "here, to be verified",
    "occupied": "another file has its name",
    "elsewhere": "elsewhere",
    "partial": "partly here",
    "missing": "to fetch",
}
_STYLES = {"present": "installed", "unchecked": "installed", "missing": "queued", "partial": "partial"}


class Plans(Struct, frozen=True):
    """Each by itself, and all of them as one, because they may share files."""

    plans: list[Plan]
    together: Plan


class Planned(Struct, frozen=True):
    """`presets`: as their hosts describe them."""

    presets: list[Preset]
    found: hosts.Found
    view: View
    plans: Plans


def run(context: Context, asked: argparse.Namespace) -> Ending:
    planned = make(context, context.presets(asked.ids), refresh=asked.refresh)
    for plan in planned.plans.plans:
        show(context, plan)
    if len(planned.presets) > 1:
        context.output.say("All together", "bold")
        context.output.show(_sums(planned.plans.together))
    context.output.document(planned.plans)
    if any(hosts.refused(preset, planned.found, planned.view) for preset in planned.presets):
        return Ending.REFUSED
    return Ending.DONE if planned.plans.together.fits else Ending.NO_SPACE


def make(context: Context, presets: list[Preset], *, refresh: bool = False) -> Planned:
    """Asks the hosts of what is not here."""
    files = [file for preset in presets for file in preset.files]
    view = context.view(files)
    found = hosts.ask(context, presets, view, refresh=refresh)
    known = [plans.locked_preset(preset, view, found) for preset in presets]
    room = Room(context.workspace.free_bytes(), context.config.disk_reserve_bytes, _gpu_bytes())
    # Of what lies elsewhere, the digest tells whether it is the same.
    whole = replace(view, verified={**context.index.verified(context.models), **view.verified})
    models = Models(context.models, whole)
    kept = context.kept(files)
    made = [plans.plan(preset, whole, models, found, kept, room) for preset in known]
    return Planned(known, found, view, Plans(made, plans.plan(together(known), whole, models, found, kept, room)))


def together(presets: list[Preset]) -> Preset:
    """One preset with the files of all, each once."""
    files = {file.id: file for preset in presets for file in preset.files}
    return replace(
        presets[0],
        id=", ".join(preset.id for preset in presets),
        files=tuple(files.values()),
        vram_bytes=max((preset.vram_bytes or 0 for preset in presets), default=0) or None,
    )


def _gpu_bytes() -> int | None:
    """Of the largest card."""
    return max((gpu.memory_total_bytes or 0 for gpu in Gpus().sample()), default=0) or None


def show(context: Context, plan: Plan) -> None:
    out = context.output
    out.say(plan.name, "bold")
    shown = output.table("FOLDER", "FILE", "SIZE", "STATE", gives_way="FILE", right={"SIZE"})
    for file in plan.files:
        text = "the host refuses" if _is_refused(file) else _STATES[file.state]
        style = "failed" if _is_refused(file) else _STYLES.get(file.state, file.state)
        shown.add_row(file.folder, output.cut(file.name), words.size(file.size_bytes), output.state(text, style))
    out.show(shown)
    for line in remarks(plan.files):
        out.say(line, "yellow")
    out.say()
    out.show(_sums(plan))
    out.say()


def _is_refused(file: PlannedFile) -> bool:
    return file.trouble is not None and refusals.is_refusal(file.trouble.kind)


def remarks(files: Iterable[PlannedFile]) -> list[str]:
    """What someone should know of single files."""
    files = list(files)
    lines, steps = refusals.told((file.name, file.trouble) for file in files if file.trouble is not None)
    found = [*lines, *(f"  → {step}" for step in steps)]
    for file in files:
        if file.trouble is not None:
            continue
        if file.state == "elsewhere":
            other = file.elsewhere[0]
            surely = "the same file" if other.match == "sha256" else "a file of its name and size"
            found.append(f"{file.name}: {surely} is {other.folder}/{other.name}; the dashboard can link it")
        elif file.state == "occupied":
            found.append(f"{file.folder}/{file.name} is another file: rename or delete it first")
    return list(dict.fromkeys(found))


def _sums(plan: Plan) -> Table:
    made = output.facts()
    unknown = f", and {words.count(plan.unknown_sizes, 'file')} of unknown size" if plan.unknown_sizes else ""
    made.add_row("to fetch", f"{words.size(plan.fetch_bytes)}{unknown}")
    made.add_row("free after", _free_after(plan))
    if plan.vram.needed_bytes is not None:
        made.add_row("VRAM", _vram(plan))
    return made


def _free_after(plan: Plan) -> Text:
    beside = [f"{words.size(plan.reserve_bytes)} stay in reserve"] if plan.reserve_bytes else []
    beside += [f"{words.size(plan.promised_bytes)} are for other installs"] if plan.promised_bytes else []
    of = f"of {words.size(plan.free_bytes)}{''.join(f', {part}' for part in beside)}"
    if plan.fits:
        return Text(f"{words.size(max(plan.free_after_bytes, 0))} ({of})")
    return Text(f"does not fit: {words.size(-plan.free_after_bytes)} too little ({of})", "red")


def _vram(plan: Plan) -> Text:
    vram = plan.vram
    least = "" if vram.source == "measured" else " at least, for its weights"
    card = "no GPU found" if vram.gpu_bytes is None else f"the card has {words.size(vram.gpu_bytes)}"
    style = "yellow" if vram.fit == "too_small" else ""
    return Text(f"{words.size(vram.needed_bytes)}{least} ({card})", style)
