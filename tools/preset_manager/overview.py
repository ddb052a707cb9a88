"""`preset-manager status`"""

import argparse

from msgspec import Struct

from services import installs, standing
from services.presets import Preset
from services.standing import InstallStatus
from tools.preset_manager import details, output, words
from tools.preset_manager.context import Context
from tools.preset_manager.endings import Ending
from tools.preset_manager.following import follow_suite


class Overview(Struct, frozen=True):
    """`running`: whether the suite is there to go on. `paused`: all downloads are."""

    installs: list[InstallStatus]
    running: bool
    paused: bool


def run(context: Context, asked: argparse.Namespace) -> Ending:
    presets = [context.preset(asked.id)] if asked.id else _under_way(context)
    ending = Ending.DONE
    if asked.follow and presets:
        ending = follow_suite(context, presets, asks_hosts=False)
        if ending is Ending.INTERRUPTED:
            return ending
    view = context.view(file for preset in presets for file in preset.files)
    found = Overview(
        [standing.status(preset, view) for preset in presets], context.suite.is_running(), view.schedule.is_paused
    )
    if not asked.follow:
        _show(context, found, with_files=bool(asked.id))
    context.output.document(found)
    return ending


def _under_way(context: Context) -> list[Preset]:
    """What was asked for and is not complete, first asked first; as it was asked for."""
    wanted = [install for install in context.installs.all().values() if install.completed_at is None]
    return [installs.as_preset(install) for install in sorted(wanted, key=lambda install: install.requested_at)]


def _show(context: Context, found: Overview, *, with_files: bool) -> None:
    out = context.output
    if not found.installs:
        out.say("Nothing is under way", "dim")
        return
    shown = output.table("ID", "STATE", "DONE", "SPEED", "LEFT", gives_way="ID", right={"DONE", "SPEED", "LEFT"})
    for status in found.installs:
        shown.add_row(
            status.preset_id,
            output.state(words.progress(status.state, status.progress), status.state),
            words.size(status.bytes_done)
            + (f" of {words.size(status.bytes_total)}" if status.bytes_total is not None else ""),
            words.speed(status.bytes_per_second),
            words.duration(status.eta_seconds),
        )
    out.show(shown)
    if with_files:
        out.say()
        out.show(details.files_table(found.installs[0]))
    for status in found.installs:
        for file in status.files:
            if file.error:
                out.say(f"{file.name}: {file.error}", "red" if file.state == "failed" else "yellow")
    if found.paused:
        out.say("All downloads are paused: resume them in the dashboard", "yellow")
    elif not found.running and any(status.state in {"queued", "downloading"} for status in found.installs):
        out.say("The suite does not run: preset-manager install ID goes on here", "yellow")
