"""What is to come, and what of it is here."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from services.artifacts import Sha256, model_id
from services.errors import Conflict, NotFound

CHUNK_BYTES = 32 * 1024 * 1024

# (first chunk, the one behind the last)
Span = tuple[int, int]
State = Literal["receiving", "checking", "done", "failed"]


class Wish(Struct, frozen=True, forbid_unknown_fields=True):
    """The file that is to come. `version` tells two files of one name and size apart, such as the time it was changed:
    with another one than before, an unfinished upload begins anew."""

    folder: str
    name: str
    size_bytes: Annotated[int, Meta(gt=0, le=2**53)]
    sha256: Sha256 | None = None
    version: Annotated[str, Meta(max_length=64)] = ""


class Upload(Struct, frozen=True):
    """`received`: the chunks that are here for certain. `touched_at`: when the last one came."""

    id: str
    folder: str
    name: str
    size_bytes: int
    touched_at: float
    sha256: str | None = None
    version: str = ""
    received: tuple[Span, ...] = ()
    state: State = "receiving"
    error: str | None = None

    @property
    def model_id(self) -> str:
        return model_id(self.folder, self.name)

    @property
    def chunks(self) -> int:
        return -(-self.size_bytes // CHUNK_BYTES)

    @property
    def bytes_done(self) -> int:
        return sum(min(end * CHUNK_BYTES, self.size_bytes) - start * CHUNK_BYTES for start, end in self.received)

    @property
    def is_whole(self) -> bool:
        return self.received == ((0, self.chunks),)

    def has(self, number: int) -> bool:
        return any(start <= number < end for start, end in self.received)

    def chunk_bytes(self, number: int) -> int:
        """How long chunk `number` is. Raises NotFound."""
        if not 0 <= number < self.chunks:
            raise NotFound(f"the upload of {self.name} has no chunk {number}: they are numbered 0 to {self.chunks - 1}")
        return min(CHUNK_BYTES, self.size_bytes - number * CHUNK_BYTES)


def data_file(target: Path) -> Path:
    return target.with_name(target.name + ".upload")


def gone(upload: Upload) -> Conflict:
    return Conflict(f"what was sent of {upload.name} is gone from the volume: begin again")


def with_chunk(spans: tuple[Span, ...], number: int) -> tuple[Span, ...]:
    """`spans` with one chunk more: in order and apart."""
    joined: list[Span] = []
    for start, end in sorted((*spans, (number, number + 1))):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return tuple(joined)
