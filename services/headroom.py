"""Whether the models of a run fit into a card's memory beside what is there already."""

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from services.artifacts import Artifact
from services.gpus import Gpu
from services.models import ModelFile
from services.named_models import NamedModel
from services.sizes import bytes_text
from services.vram import weights_bytes

Advice = Literal["go", "free", "warn"]


class Headroom(Struct, frozen=True):
    """`advice`: `free` what ComfyUI holds first, or `warn` with `message`."""

    advice: Advice = "go"
    message: str = ""


def judge(
    named: frozenset[NamedModel],
    before: frozenset[NamedModel],
    files: Iterable[ModelFile],
    gpus: Iterable[Gpu],
    *,
    is_idle: bool,
) -> Headroom:
    """`named`: the models of the run; `before`: those of the run before it, which ComfyUI may hold. `is_idle`: nothing
    runs that needs what is held."""
    gpu = max(gpus, key=lambda gpu: gpu.memory_total_bytes or 0, default=None)
    needed = needed_bytes(named, files)
    if gpu is None or gpu.memory_total_bytes is None or gpu.memory_used_bytes is None or needed is None:
        return Headroom()
    total, free = gpu.memory_total_bytes, gpu.memory_total_bytes - gpu.memory_used_bytes
    if needed > total:
        return Headroom(
            "warn",
            f"the models of this workflow take {bytes_text(needed)}, and {gpu.name} has {bytes_text(total)}: ComfyUI"
            " will move them to and fro, which is slow, or run out of memory",
        )
    # What is needed and held already is not needed twice.
    if needed <= free or named <= before:
        return Headroom()
    if is_idle:
        return Headroom("free")
    return Headroom(
        "warn",
        f"the models of this workflow take {bytes_text(needed)}, and {bytes_text(free)} of {gpu.name} are free: what"
        " runs before it has to let go of its own first",
    )


def needed_bytes(named: frozenset[NamedModel], files: Iterable[ModelFile]) -> int | None:
    """Of those that are there; None where none is."""
    found = {
        file.id: Artifact("", file.folder, file.name, file.size_bytes or None)
        for file in files
        if NamedModel(file.folder, file.name) in named or NamedModel(None, file.name) in named
    }
    return weights_bytes(found.values()) if found else None
