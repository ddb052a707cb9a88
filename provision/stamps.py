"""Stamps: small JSON files that are written last and say what a finished step was made from."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

Stamp = dict[str, str]


def read(path: Path) -> Stamp:
    """The stamp, empty when there is none that can be read."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return {str(name): str(value) for name, value in values.items()} if isinstance(values, dict) else {}


def write(path: Path, stamp: Stamp) -> None:
    replace_text(path, json.dumps(stamp, indent=2) + "\n")


def replace_text(path: Path, text: str) -> None:
    """Writes `text` so that a reader sees the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def digest(files: Iterable[Path], base: Path) -> str:
    """One SHA-256 over the names (relative to `base`) and contents of `files`."""
    total = hashlib.sha256()
    for file in sorted(files):
        total.update(f"{os.path.relpath(file, base)}\0{file.stat().st_size}\0".encode())
        total.update(file.read_bytes())
    return total.hexdigest()
