"""Log files: a new one every day, the last seven kept, compressed."""

import gzip
import re
import shutil
import time
from pathlib import Path

KEEP_DAYS = 7
_FIRST_DATE = re.compile(rb'"time": ?"(\d{4}-\d\d-\d\d)')


def rotate_daily(folder: Path, done_on: str) -> str:
    """Renames and compresses each log in `folder` that begins on an earlier day; today's date.

    `done_on` is what the last call returned. Writers reopen a renamed file by themselves. Raises OSError.
    """
    today = time.strftime("%Y-%m-%d", time.gmtime())
    if today == done_on or not folder.is_dir():
        return done_on
    for file in folder.glob("*.log"):
        begun = _begun_on(file)
        if begun is not None and begun < today:
            _compress(file, file.with_name(f"{file.name}.{begun}.gz"))
    for archive in folder.glob("*.log.*.gz"):
        if archive.stat().st_mtime < time.time() - KEEP_DAYS * 86400:
            archive.unlink()
    return today


def _begun_on(file: Path) -> str | None:
    with file.open("rb") as opened:
        found = _FIRST_DATE.search(opened.read(4096))
    return found[1].decode() if found else None


def _compress(file: Path, archive: Path) -> None:
    renamed = file.with_name(file.name + ".rotating")
    file.rename(renamed)
    with renamed.open("rb") as source, gzip.open(archive, "wb") as target:
        shutil.copyfileobj(source, target)
    renamed.unlink()
