"""Presets: a named set of model files, and the workflow that uses them."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from services.artifacts import Artifact, Size

Kind = Literal["image", "video", "audio", "3d", "upscale"]
# A file name on every volume. Not `$` alone: Python lets a line's end stand behind it.
PresetId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]{0,98}[A-Za-z0-9_-])?(?!\n)$")]


class Preset(Struct, frozen=True, forbid_unknown_fields=True):
    """A named set of model files, and the workflow that uses them (a file name beside the preset, API format)."""

    id: PresetId
    name: str
    kind: Kind
    description: str
    files: Annotated[tuple[Artifact, ...], Meta(min_length=1)]
    tags: tuple[str, ...] = ()
    vram_bytes: Size | None = None
    licence: str | None = None
    source: str | None = None
    workflow: dict[str, Any] | None = None

    @property
    def size_bytes(self) -> int | None:
        sizes = [file.size_bytes for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size)
