"""Downloads that the suite's workers make, watched until nothing of them moves any more."""

import time

from services import standing
from services.installs import View
from services.presets import Preset
from services.standing import InstallStatus
from tools.preset_manager import endings, hosts
from tools.preset_manager.context import Context
from tools.preset_manager.display import Display
from tools.preset_manager.endings import Ending

LOOK_SECONDS = 0.25
# The suite may be restarting: it is given up only when it was away for so long.
AWAY_SECONDS = 20.0
ALIVE_SECONDS = 5.0

_OVER = frozenset({"installed", "failed", "cancelled", "paused", "available", "partial"})


def follow_suite(context: Context, presets: list[Preset], *, asks_hosts: bool) -> Ending:
    """`asks_hosts`: what failed is told apart by whether its host refuses. Ctrl-C ends the watching alone."""
    try:
        with Display(context.output) as display:
            view, statuses = _follow(context, presets, display)
    except KeyboardInterrupt:
        context.output.complain("It goes on in the background: preset-manager status --follow", "yellow")
        return Ending.INTERRUPTED
    return _ending(context, presets, view, statuses, asks_hosts=asks_hosts)


def _follow(context: Context, presets: list[Preset], display: Display) -> tuple[View, list[InstallStatus]]:
    files = [file for preset in presets for file in preset.files]
    seen_at = looked_at = time.monotonic()
    while True:
        view = context.view(files)
        statuses = [standing.status(preset, view) for preset in presets]
        display.update(statuses)
        if all(status.state in _OVER for status in statuses):
            return view, statuses
        now = time.monotonic()
        if now - looked_at > ALIVE_SECONDS:
            looked_at = now
            seen_at = now if context.suite.is_running() else seen_at
        if now - seen_at > AWAY_SECONDS:
            return view, statuses
        time.sleep(LOOK_SECONDS)


def _ending(
    context: Context, presets: list[Preset], view: View, statuses: list[InstallStatus], *, asks_hosts: bool
) -> Ending:
    """And a sentence for each that is not installed."""
    found = set()
    for preset, status in zip(presets, statuses, strict=True):
        if status.state == "installed":
            context.output.say(f"{status.name} is installed", "green")
        elif status.state in {"queued", "downloading", "verifying"}:
            context.output.complain(
                f"{status.name}: the suite has stopped answering; preset-manager install {preset.id} goes on here"
            )
            found.add(Ending.FAILED)
        else:
            reason = _reason(status, view)
            context.output.complain(f"{status.name}: {reason}")
            found.add(_of_failure(context, preset, status, view, asks_hosts=asks_hosts))
    return endings.worst(found) if found else Ending.DONE


def _reason(status: InstallStatus, view: View) -> str:
    if status.state == "paused" and status.error is None:
        return "all downloads are paused: resume them in the dashboard" if view.schedule.is_paused else "is paused"
    return f"{status.state}{f': {status.error}' if status.error else ''}"


def _of_failure(context: Context, preset: Preset, status: InstallStatus, view: View, *, asks_hosts: bool) -> Ending:
    if status.state == "paused" and status.error is not None:
        # Nothing but a volume without room pauses a file by itself.
        return Ending.NO_SPACE
    if status.state == "failed" and asks_hosts and hosts.refused(preset, hosts.ask(context, [preset], view), view):
        return Ending.REFUSED
    return Ending.FAILED
