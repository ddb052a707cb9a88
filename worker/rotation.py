"""Log files: a new one every day, the last seven kept, compressed."""

import gzip
import itertools
import os
import re
import shutil
import time
from pathlib import Path

KEEP_DAYS = 7
_FIRST_DATE = re.compile(rb'"time": ?"(\d{4}-\d\d-\d\d)')
_DATED = re.compile(r".+\.log\.\d{4}-\d\d-\d\d(-\d+)?")


def rotate_daily(folder: Path, done_on: str) -> str:
    """Renames and compresses each log in `folder` that begins on an earlier day; today's date.

    `done_on` is what the last call returned. Writers reopen a renamed file by themselves. A renamed file that could
    not be compressed is, by the next call. Raises OSError.
    """
    today = time.strftime("%Y-%m-%d", time.gmtime())
    if today == done_on or not folder.is_dir():
        return done_on
    for file in folder.glob("*.log"):
        begun = _begun_on(file)
        if begun is not None and begun < today:
            file.rename(_free_name(file, begun))
    for archive in folder.glob("*.log.*.gz"):
        if archive.stat().st_mtime < time.time() - KEEP_DAYS * 86400:
            archive.unlink()
    for file in list(folder.glob("*.log.*")):
        if _DATED.fullmatch(file.name):
            _compress(file)
    return today


def _begun_on(file: Path) -> str | None:
    with file.open("rb") as opened:
        found = _FIRST_DATE.search(opened.read(4096))
    return found[1].decode() if found else None


def _free_name(file: Path, day: str) -> Path:
    """`file` with `day` behind its name; with a number as well when that is taken: a line that was written late can
    give two files the same first day."""
    for number in itertools.count():
        name = file.with_name(f"{file.name}.{day}-{number}" if number else f"{file.name}.{day}")
        if not name.exists() and not _archive_of(name).exists():
            break
    return name


def _archive_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.gz")


def _compress(file: Path) -> None:
    archive = _archive_of(file)
    partial = archive.with_name(f"{archive.name}.tmp")
    try:
        with file.open("rb") as source, gzip.open(partial, "wb") as target:
            shutil.copyfileobj(source, target)
        os.replace(partial, archive)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    file.unlink()
