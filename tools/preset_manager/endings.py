"""How `preset-manager` ends: one number for each thing that a script may want to tell apart."""

from collections.abc import Collection
from enum import IntEnum

from services.errors import DownloadFailed, NotEnoughSpace, NotFound, SuiteError
from tools.preset_manager.refusals import is_refusal


class Ending(IntEnum):
    """The exit codes. `USAGE` is argparse's own."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNKNOWN = 3
    NO_SPACE = 4
    REFUSED = 5
    INTERRUPTED = 130


MEANINGS = {
    Ending.DONE: "done",
    Ending.FAILED: "something failed, or doctor found something",
    Ending.USAGE: "wrong arguments or settings",
    Ending.UNKNOWN: "no such preset",
    Ending.NO_SPACE: "not enough space on the volume",
    Ending.REFUSED: "the host refuses: a licence, a token, or the file is gone",
    Ending.INTERRUPTED: "interrupted",
}


def of_error(error: SuiteError) -> Ending:
    if isinstance(error, NotFound):
        return Ending.UNKNOWN
    if isinstance(error, NotEnoughSpace):
        return Ending.NO_SPACE
    if isinstance(error, DownloadFailed) and is_refusal(error.details.get("kind")):
        return Ending.REFUSED
    return Ending.FAILED


def worst(found: Collection[Ending]) -> Ending:
    """Of several failures, the one that someone can do most about."""
    return next(ending for ending in (Ending.NO_SPACE, Ending.REFUSED, Ending.FAILED) if ending in found)
