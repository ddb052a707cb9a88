"""What can be known of three files and the presets that bring them, made by hand."""

from typing import Any

from services.artifacts import Artifact
from services.installs import Hold, Install, View
from services.presets import Preset
from services.progress import FileProgress, FileState
from services.schedule import Schedule
from services.verified import Verified

DIGEST = "0" * 64
A = Artifact("https://example.com/a", "checkpoints", "a.safetensors", size_bytes=100, sha256=DIGEST)
B = Artifact("https://example.com/b", "vae", "b.safetensors", size_bytes=50)
C = Artifact("https://example.com/c", "loras", "c.safetensors", size_bytes=10)
UNSIZED = Artifact("https://example.com/d", "loras", "d.safetensors")


def preset(id_: str, *files: Artifact) -> Preset:
    return Preset(id=id_, name=id_.lower(), kind="image", description="", files=files)


def install(wanted: Preset, **times: float) -> Install:
    return Install(wanted.id, wanted.name, 1.0, wanted.files, **times)


def here(*files: Artifact, sha256: str = DIGEST) -> dict[str, Verified]:
    return {file.id: Verified(file.folder, file.name, file.size_bytes or 1, 1, sha256, "sha256") for file in files}


def live(file: Artifact, state: FileState = "downloading", done: int = 0, **more: Any) -> dict[str, FileProgress]:
    return {file.id: FileProgress(file.id, state, bytes_done=done, bytes_total=file.size_bytes, **more)}


def view(
    *asked_for: Install,
    holds: dict[str, Hold] | None = None,
    verified: dict[str, Verified] | None = None,
    progress: dict[str, FileProgress] | None = None,
    removed: tuple[str, ...] = (),
    schedule: Schedule = Schedule(),  # noqa: B008 (frozen)
    kept: dict[str, int] | None = None,
) -> View:
    return View(
        installs={known.preset_id: known for known in asked_for},
        removed=frozenset(removed),
        holds=holds or {},
        verified=verified or {},
        progress=progress or {},
        schedule=schedule,
        kept=kept or {},
    )


FAILED = Hold("failed", "no such file", at=1.0)
RETRIED = Hold("failed", "HTTP 503", at=1.0, until=2**40)
CANCELLED = Hold("cancelled", "cancelled", at=1.0)
PAUSED = Hold("paused", "paused", at=1.0)
NO_ROOM = Hold("paused", "needs 24.0 GB, 11.2 GB free", at=1.0, until=2**40)
