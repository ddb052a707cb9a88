"""The files that are downloaded, and where to."""

import hashlib
import itertools
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.running import ROOT

MIB = 1024**2
_PIECE_BYTES = MIB


@dataclass(frozen=True)
class Served:
    """A file as a host has it."""

    path: Path
    size_bytes: int
    sha256: str


def make(path: Path, size_bytes: int) -> Served:
    """A file of which no two pieces are the same: what lands in the wrong place is noticed."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in _pieces(size_bytes):
            file.write(piece)
            digest.update(piece)
    return Served(path, size_bytes, digest.hexdigest())


def make_sparse(path: Path, size_bytes: int) -> Served:
    """Zeros that take no space where they are served."""
    with path.open("wb") as file:
        file.truncate(size_bytes)
    with path.open("rb") as file:
        return Served(path, size_bytes, hashlib.file_digest(file, "sha256").hexdigest())


def check(path: Path, served: Served) -> None:
    """Raises RuntimeError when `path` is not what was served."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != served.sha256:
        raise RuntimeError(f"{path} came with the sha256 {found} instead of {served.sha256}")


def on_disk(name: str) -> Path:
    """A new folder below .build, which is on the disk."""
    return _fresh(ROOT / ".build" / name)


def in_memory(memory: Path, name: str, size_bytes: int) -> Path:
    """A new folder below `memory`, if that can hold `size_bytes`; on the disk otherwise."""
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2 * size_bytes:
        return _fresh(memory / name)
    return on_disk(name)


def file_system(folder: Path) -> str:
    """The type of what `folder` lies on, by /proc/mounts."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    return max((len(point), kind) for point, kind in mounts if folder.is_relative_to(point))[1]


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # nginx and the suite have users of their own.
    folder.chmod(0o755)
    return folder


def _pieces(size_bytes: int) -> Iterator[bytes]:
    noise = random.Random(0).randbytes(_PIECE_BYTES)
    for number in itertools.count():
        left = size_bytes - number * _PIECE_BYTES
        if left <= 0:
            return
        yield (number.to_bytes(8, "little") + noise[8:])[:left]
