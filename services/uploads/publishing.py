"""The end of an upload: the file is what it should be, and gets its name."""

import os
from collections.abc import Callable, Collection
from pathlib import Path

from services.errors import Conflict, InvalidRequest
from services.hashing import sha256_of
from services.links import move
from services.safetensors import looks_like_a_model, not_one
from services.uploads.chunk import space_is_named
from services.uploads.upload import Upload, data_file, gone
from services.verified import Verified, VerifiedFiles
from services.workspace import figures_of

# Not to wait for anyone to write, where someone put a pipe in its place: one check at a time is made.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def publish(
    upload: Upload,
    target: Path,
    verified: VerifiedFiles,
    named: Collection[str],
    progress: Callable[[int], None],
) -> None:
    """Hashes what was sent and gives it its name and its record. `named`: the digests by which others know the file.

    Raises InvalidRequest, with the data gone, when it is not the file it should be; Conflict, NotEnoughSpace, OSError.
    """
    data = data_file(target)
    try:
        descriptor = os.open(data, _FLAGS)
    except FileNotFoundError:
        if _was_published(upload, target, verified):
            return
        raise gone(upload) from None
    try:
        digest = _digest(upload, descriptor, progress)
        if problem := _problem_of(upload, descriptor, digest):
            data.unlink(missing_ok=True)
            raise InvalidRequest(f"{upload.name}: {problem}; what was sent was removed")
        with space_is_named():
            os.fsync(descriptor)
        mtime_ns = os.fstat(descriptor).st_mtime_ns
    finally:
        os.close(descriptor)
    if _is_taken(data, target):
        raise _taken(target)
    checked_against = "sha256" if upload.sha256 is not None or digest in named else "nothing"
    # Before the name: who is killed between the two leaves a record that nothing fits, not a file that nobody knows.
    verified.put(Verified(upload.folder, upload.name, upload.size_bytes, mtime_ns, digest, checked_against))
    _name(data, target)


def lies_there(target: Path) -> bool:
    # A link that leads nowhere has the name, too.
    return figures_of(target) is not None or target.is_symlink()


def _was_published(upload: Upload, target: Path, verified: VerifiedFiles) -> bool:
    """Whether the file has its name, and only the record of the upload was left."""
    record, figures = verified.all().get(upload.model_id), figures_of(target)
    return record is not None and figures is not None and record.holds_for(figures)


def _digest(upload: Upload, descriptor: int, progress: Callable[[int], None]) -> str:
    if os.fstat(descriptor).st_size != upload.size_bytes:
        raise gone(upload)
    try:
        return sha256_of(descriptor, upload.size_bytes, progress)
    except EOFError:
        raise gone(upload) from None


def _problem_of(upload: Upload, descriptor: int, digest: str) -> str | None:
    if upload.sha256 not in {None, digest}:
        return f"the file's sha256 is {digest}, announced was {upload.sha256}"
    if not looks_like_a_model(upload.name, descriptor, upload.size_bytes):
        return not_one(os.pread(descriptor, 64, 0))
    return None


def _is_taken(data: Path, target: Path) -> bool:
    """Whether something else has the name. `data` itself may: a check that was killed just before its end."""
    figures = figures_of(target)
    return target.is_symlink() if figures is None else not os.path.samestat(figures, data.stat())


def _name(data: Path, target: Path) -> None:
    """`data` gets its name, unless something else got it meanwhile. Raises Conflict, OSError."""
    try:
        move(data, target)
    except FileExistsError:
        if _is_taken(data, target):
            raise _taken(target) from None
        data.unlink(missing_ok=True)


def _taken(target: Path) -> Conflict:
    return Conflict(f"a file named {target.name} appeared meanwhile: rename or delete it, then complete this again")
