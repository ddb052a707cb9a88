"""`preset-manager install`"""

import argparse

from msgspec import Struct

from services import installs, log, plans, standing
from services.installs import View
from services.presets import Preset
from services.standing import InstallStatus
from services.workflows import Workflows
from tools.preset_manager import folders, hosts, planning, refusals, words
from tools.preset_manager.context import Context
from tools.preset_manager.endings import Ending
from tools.preset_manager.following import follow_suite

_log = log.get("installing")


class Installed(Struct, frozen=True):
    """`where`: who fetches, the `suite`'s workers or this process (`here`); None: nothing was missing."""

    installs: list[InstallStatus]
    where: str | None


def run(context: Context, asked: argparse.Namespace) -> Ending:
    presets = context.presets(asked.ids)
    view = context.view(file for preset in presets for file in preset.files)
    missing = [preset for preset in presets if standing.status(preset, view).state != "installed"]
    for preset in presets:
        if preset not in missing:
            context.output.say(f"{preset.name} is installed", "green")
    if not missing:
        return _end(context, presets, None, Ending.DONE)
    planned = planning.make(context, missing)
    if ending := _refusal(context, planned):
        return ending
    _check_space(context, planned)
    if not asked.yes and not _is_wanted(context, planned):
        return Ending.FAILED
    in_suite = not asked.here and context.suite.is_running()
    _request(context, planned, in_suite=in_suite)
    if asked.no_wait:
        return _leave(context, presets, in_suite=in_suite)
    if in_suite:
        return _end(context, presets, "suite", follow_suite(context, missing, asks_hosts=True))
    # An HTTP client and all that a download needs.
    from tools.preset_manager.fetching import fetch_here

    return _end(context, presets, "here", fetch_here(context, planned.presets))


def _refusal(context: Context, planned: planning.Planned) -> Ending | None:
    """Before anything is recorded: a host that refuses will do so again."""
    said = [entry for preset in planned.presets for entry in hosts.refused(preset, planned.found, planned.view)]
    lines, steps = refusals.told(said)
    for line in lines:
        context.output.complain(line)
    for step in steps:
        context.output.complain(f"  → {step}", "yellow")
    if not said:
        return None
    context.output.document({"error": {"type": "refused", "message": said[0][1].message, "details": planned.plans}})
    return Ending.REFUSED


def _check_space(context: Context, planned: planning.Planned) -> None:
    """Raises NotEnoughSpace, for all of them as one: they may share files."""
    one = planning.together(planned.presets)
    kept = context.kept(one.files)
    free = context.workspace.free_bytes()
    installs.check_space(one, planned.view, free, context.config.disk_reserve_bytes, kept)


def _is_wanted(context: Context, planned: planning.Planned) -> bool:
    plan = planned.plans.together
    names = ", ".join(preset.name for preset in planned.presets)
    if not context.output.is_terminal:
        return True
    known = [words.size(plan.fetch_bytes)] if plan.fetch_bytes or not plan.unknown_sizes else []
    unknown = [f"{words.count(plan.unknown_sizes, 'file')} of unknown size"] if plan.unknown_sizes else []
    return context.output.confirm(f"Fetch {' and '.join(known + unknown)} for {names}?")


def _request(context: Context, planned: planning.Planned, *, in_suite: bool) -> None:
    """As a click does. Raises NotEnoughSpace, OSError."""
    folders.make(context.workspace)
    for preset in planned.presets:
        joined = context.installs.request(preset)
        Workflows(context.workspace).save_of_preset(preset)
        fetch = [f"{file.folder}/{file.name}" for file in plans.missing_files(preset, planned.view)]
        _log.info("install_requested", preset_id=preset.id, joined=joined, fetch=fetch)
    if in_suite:
        context.suite.allow([file.id for preset in planned.presets for file in preset.files])
        context.suite.ring()


def _leave(context: Context, presets: list[Preset], *, in_suite: bool) -> Ending:
    goes_on = "it goes on in the background" if in_suite else "it begins when the suite starts"
    context.output.say(f"Recorded; {goes_on}: preset-manager status")
    return _end(context, presets, "suite", Ending.DONE)


def _end(context: Context, presets: list[Preset], where: str | None, ending: Ending) -> Ending:
    view: View = context.view(file for preset in presets for file in preset.files)
    context.output.document(Installed([standing.status(preset, view) for preset in presets], where))
    return ending
