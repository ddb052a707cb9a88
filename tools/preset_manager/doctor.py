"""`preset-manager doctor`"""

import argparse
from collections.abc import Callable, Iterator

from msgspec import Struct
from rich.text import Text

from services.errors import SuiteError
from tools.preset_manager import checks, output, programs, words
from tools.preset_manager.checks import Check
from tools.preset_manager.context import Context
from tools.preset_manager.endings import Ending
from tools.preset_manager.output import STYLES

NAME_COLUMNS = 20
_MARKS = {"ok": "✓", "note": "·", "warning": "!", "problem": "✗"}


class Diagnosis(Struct, frozen=True):
    """`healthy`: there is neither a problem nor a warning."""

    healthy: bool
    checks: list[Check]


def run(context: Context, _: argparse.Namespace) -> Ending:
    """Each check is shown as soon as it was made: hubs and volumes may take their time."""
    found = []
    for check in _checks(context):
        found.append(check)
        _show(context, check)
    wrong = [check for check in found if check.state in {"warning", "problem"}]
    context.output.say()
    if wrong:
        context.output.say(f"{words.count(len(wrong), 'thing')} to look at", "bold")
    else:
        context.output.say("Nothing is wrong", "bold green")
    context.output.document(Diagnosis(not wrong, found))
    return Ending.FAILED if wrong else Ending.DONE


def _checks(context: Context) -> Iterator[Check]:
    check, report = checks.of_volume(context)
    yield check
    if report.readable:
        yield from _made("space", checks.of_space, context)
    # The catalogue holds what is on the volume too, and a volume that hangs would never be read.
    if report.state != "hung":
        yield from _made("catalogue", checks.of_catalogue, context)
        yield from _made("tokens", checks.of_tokens, context)
    yield from _made("suite", programs.of_programs, context)
    if report.readable:
        yield from _made("downloads", checks.of_downloads, context)
        yield from _made("leftovers", checks.of_leftovers, context)
        yield from _made("folders", checks.of_folders, context)
        yield from _made("models", checks.of_models, context)


def _made(name: str, of: Callable[[Context], Iterator[Check]], context: Context) -> Iterator[Check]:
    """A check that breaks off says why, and the others go on."""
    try:
        yield from of(context)
    except (OSError, SuiteError) as error:
        yield Check(name, "problem", f"could not be looked at: {error}", "Look at the volume first.")


def _show(context: Context, check: Check) -> None:
    style = STYLES[check.state]
    line = output.facts()
    line.columns[0].style, line.columns[0].width = style, NAME_COLUMNS
    line.add_row(f"{_MARKS[check.state]} {check.name}", Text(check.message, style))
    context.output.show(line)
    if check.remedy:
        context.output.command(f"    → {check.remedy}")
