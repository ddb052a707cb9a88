"""`preset-manager show`"""

import argparse

from msgspec import Struct
from rich.table import Table

from services import vram
from services.installs import Install
from services.presets import Preset
from services.standing import InstallStatus
from tools.preset_manager import output, words
from tools.preset_manager.context import Context
from tools.preset_manager.endings import Ending


class Detail(Struct, frozen=True):
    """`preset`: as the catalogue has it. `status`: how far it is, as `GET /api/presets/{id}/status` says it."""

    preset: Preset
    status: InstallStatus
    install: Install | None


def run(context: Context, asked: argparse.Namespace) -> Ending:
    preset = context.sized(context.preset(asked.id))
    view = context.view(preset.files)
    detail = Detail(preset, context.status(preset), view.installs.get(preset.id))
    _show(context, detail)
    context.output.document(detail)
    return Ending.DONE


def _show(context: Context, detail: Detail) -> None:
    preset, status, out = detail.preset, detail.status, context.output
    out.say(preset.name, "bold")
    if preset.description:
        out.say(preset.description)
    out.say()
    facts = output.facts()
    for name, value in _facts(preset):
        facts.add_row(name, value)
    facts.add_row("state", output.state(words.progress(status.state, status.progress or None), status.state))
    out.show(facts)
    out.say()
    out.show(files_table(status))
    for file in status.files:
        if file.error:
            out.say(f"{file.name}: {file.error}", "red" if file.state == "failed" else "yellow")


def _facts(preset: Preset) -> list[tuple[str, str]]:
    weights = preset.vram_bytes or vram.weights_bytes(preset.files)
    found = {
        "id": preset.id,
        "also": ", ".join(preset.aliases),
        "kind": preset.kind,
        "from": {"official": "ComfyUI's templates", "user": "your presets.yaml"}.get(preset.origin, "the curated list"),
        "tags": ", ".join(preset.tags),
        "size": words.size(preset.size_bytes or preset.estimated_bytes),
        "VRAM": f"{words.size(weights)}{'' if preset.vram_bytes else ' of weights at least'}" if weights else "",
        "licence": preset.licence or "",
        "source": preset.source or "",
        "tutorial": preset.tutorial or "",
        "ComfyUI": f"{preset.min_comfyui_version} or newer" if preset.min_comfyui_version else "",
    }
    return [(name, value) for name, value in found.items() if value]


def files_table(status: InstallStatus) -> Table:
    shown = output.table("FOLDER", "FILE", "SIZE", "STATE", gives_way="FILE", right={"SIZE"})
    for file in status.files:
        done = 100 * file.bytes_done / file.bytes_total if file.bytes_total and file.state != "present" else None
        shown.add_row(
            file.folder,
            output.cut(file.name),
            words.size(file.bytes_total),
            output.state(words.progress(file.state, done or None), file.state),
        )
    return shown
