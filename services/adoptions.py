"""Files that were copied in by hand: which of them are to be hashed, so that it is known what they are.

What was asked for is one record: there may be ten thousand files. It is not written anew after each, since a file that
was hashed has its verification record, and is left out when the list is read again.
"""

import os
import stat
from collections.abc import Callable, Collection, Iterable

from msgspec import Struct

from services.catalogue import Catalogue
from services.errors import InvalidRequest, NotFound
from services.hashing import sha256_of
from services.link_targets import LinkTargets
from services.models import ModelFile
from services.placing import path_of
from services.records import RecordFolder
from services.verified import Verified, VerifiedFiles
from services.workspace import Workspace, figures_of

# A file that changes while it is read is read this often before it is given up.
ATTEMPTS = 3

_KEY = "asked"


class Asked(Struct, frozen=True):
    """The models to hash, first to last."""

    files: tuple[ModelFile, ...]


class StillChanging(InvalidRequest):
    """The file changes while it is read: someone is still copying it."""

    type = "still_changing"


class Adoptions:
    """What was asked for, of one workspace. Blocking; one writer at a time."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._records = RecordFolder(workspace.config / "adoptions", Asked)
        self._verified = VerifiedFiles(workspace)

    def unfinished(self) -> tuple[ModelFile, ...]:
        """What was asked for and is not hashed yet. Raises OSError."""
        asked = self._records.get(_KEY)
        if asked is None:
            return ()
        known = self._verified.all()
        return tuple(file for file in asked.files if not self._is_hashed(file, known.get(file.id)))

    def put(self, files: Iterable[ModelFile]) -> None:
        """Raises NotEnoughSpace, OSError."""
        listed = tuple(files)
        if listed:
            self._records.put(_KEY, Asked(listed))
        else:
            self._records.delete(_KEY)

    def _is_hashed(self, file: ModelFile, record: Verified | None) -> bool:
        if record is None:
            return False
        try:
            figures = figures_of(path_of(self._workspace, file))
        except NotFound:
            return False
        return figures is not None and record.holds_for(figures)


def digests_named(catalogue: Catalogue, model_id: str) -> frozenset[str]:
    """The sha256 digests by which presets know the model."""
    files = (file for preset in catalogue.presets_with(model_id) for file in preset.files if file.id == model_id)
    return frozenset(file.sha256 for file in files if file.sha256 is not None)


def hash_file(
    workspace: Workspace, file: ModelFile, named: Collection[str], progress: Callable[[int], None]
) -> Verified:
    """The record of `file` as it is now. `named`: the digests by which others know it. `progress` is told how many
    bytes were read, and may end it by raising.

    Raises NotFound when the file is gone, StillChanging, OSError.
    """
    for _ in range(ATTEMPTS):
        try:
            found = _hash_once(workspace, file, progress)
        except FileNotFoundError:
            raise NotFound(f"{file.folder}/{file.name} is gone") from None
        if found is not None:
            figures, digest = found
            checked_against = "sha256" if digest in named else "nothing"
            return Verified(file.folder, file.name, figures.st_size, figures.st_mtime_ns, digest, checked_against)
    raise StillChanging(f"{file.folder}/{file.name} changes while it is read: check it again when it is copied")


def _hash_once(
    workspace: Workspace, file: ModelFile, progress: Callable[[int], None]
) -> tuple[os.stat_result, str] | None:
    """The figures of the file and its digest; None when it changed meanwhile."""
    path = path_of(workspace, file)
    # Not to wait for anyone to write, where someone put a pipe in its place.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise NotFound(f"{file.folder}/{file.name} is no file any more")
        if not LinkTargets.of(workspace).takes_opened(descriptor, file.path):
            # Its digest would stand where everyone reads it.
            raise NotFound(f"{file.folder}/{file.name} is a link to what is no model")
        try:
            digest = sha256_of(descriptor, before.st_size, progress)
        except EOFError:
            return None
        after = path.stat()
        is_same = os.path.samestat(before, after) and _version(before) == _version(after)
        return (after, digest) if is_same else None
    finally:
        os.close(descriptor)


def _version(figures: os.stat_result) -> tuple[int, int]:
    return figures.st_size, figures.st_mtime_ns
