"""One downloadable file, and the id that it shares with the model file it becomes."""

import hashlib
from typing import Annotated

from msgspec import Meta, Struct

# Not `$` alone: Python lets a line's end stand behind it.
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}(?!\n)$")]
Size = Annotated[int, Meta(gt=0)]


class Artifact(Struct, frozen=True, forbid_unknown_fields=True):
    """One downloadable file: where it comes from and the model file it becomes.

    `mirrors`: where else the same bytes can be had, in the order in which they are tried.
    """

    url: str
    folder: str
    name: str
    size_bytes: Size | None = None
    sha256: Sha256 | None = None
    mirrors: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return model_id(self.folder, self.name)


def model_id(folder: str, name: str) -> str:
    """The id of the model file `name` in `folder`: the same for a file on disk and for one still to be fetched."""
    return hashlib.blake2b(f"{folder}/{name}".encode(), digest_size=10).hexdigest()
