"""All verification records in one file: ten thousand small ones need not be opened at each start of the dashboard.

The folder's time stamp tells whether the summary is still right: records come and go by rename, never in place.
"""

import time
from pathlib import Path

import msgspec
from msgspec import Struct

from services import log
from services.cached_file import read_small
from services.errors import NotEnoughSpace
from services.verified import Verified, VerifiedFiles
from services.workspace import Workspace, figures_of, write_atomic

# What changed within this time may change again under the same time stamp.
SETTLED_SECONDS = 2.0

_log = log.get("library")


class _Summary(Struct, frozen=True):
    mtime_ns: int
    records: dict[str, Verified]


class VerifiedSummary:
    """Blocking. Safe to share between threads."""

    def __init__(self, workspace: Workspace, files: VerifiedFiles) -> None:
        self._files = files
        self._folder = workspace.config / "verified"
        self._file = workspace.config / "verified.json"
        self._summary: _Summary | None = None

    def all(self) -> dict[str, Verified]:
        """Every record, by model id. Raises OSError when the volume does not answer."""
        if self._summary is None:
            self._summary = _read(self._file)
        figures = figures_of(self._folder)
        if figures is not None and figures.st_mtime_ns == self._summary.mtime_ns:
            return self._summary.records
        return self._files.all()

    def keep(self) -> None:
        """Makes the summary right again, if it is not and no record changed just now; as far as the volume takes it.

        Raises OSError when the volume does not answer.
        """
        # Also where the summary is right: the next change finds all the others read.
        before, records, after = figures_of(self._folder), self._files.all(), figures_of(self._folder)
        if before is None or after is None or before.st_mtime_ns != after.st_mtime_ns:
            return
        known, summary = self._summary, _Summary(after.st_mtime_ns, records)
        if known is not None and known.mtime_ns == summary.mtime_ns:
            # Not to hold everything twice.
            self._summary = summary
            return
        if time.time() - summary.mtime_ns / 1e9 < SETTLED_SECONDS:
            return
        try:
            write_atomic(self._file, msgspec.json.encode(summary))
        except (NotEnoughSpace, OSError) as error:
            _log.warning("verified_summary_not_kept", file=str(self._file), reason=str(error))
            return
        self._summary = summary


def _read(file: Path) -> _Summary:
    """What cannot be read is read from the records."""
    try:
        return msgspec.json.decode(read_small(file), type=_Summary)
    except FileNotFoundError:
        return _Summary(-1, {})
    except (ValueError, RecursionError) as error:
        _log.warning("verified_summary_unreadable", file=str(file), reason=str(error))
        return _Summary(-1, {})
